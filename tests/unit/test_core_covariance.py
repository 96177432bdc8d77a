"""The covariance that the gate keeps, against its definition worked out one pair at a time."""

from __future__ import annotations

import math

import numpy as np

from engine.core.costs import Costs
from engine.core.decide import no_limits
from engine.core.simulate import Scan, SimBars
from engine.core.step import new_state, warm_up
from engine.domain import NO_SHOCKS, NS_PER_S, Sleeve
from engine.limits import risk_limits
from engine.settings import SystemConfig

N, N_BARS, HORIZON = 5, 90, 20.0


def by_definition(closes: np.ndarray) -> np.ndarray:
    covariance, seen, last = np.zeros((N, N)), [0] * N, [0.0] * N
    for row in closes:
        moved = [math.nan] * N
        for i in range(N):
            if row[i] > 0.0:
                moved[i] = math.log(row[i] / last[i]) if seen[i] else math.nan
                seen[i], last[i] = seen[i] + 1, row[i]
        for i in range(N):
            for j in range(N):
                if moved[i] == moved[i] and moved[j] == moved[j]:
                    alpha = max(2.0 / (HORIZON + 1.0), 1.0 / (min(seen[i], seen[j]) - 1))
                    covariance[i, j] += alpha * (moved[i] * moved[j] - covariance[i, j])
    return covariance


def test_covariance_is_that_of_every_pair_with_holes_and_a_late_symbol():
    closes = 100.0 * np.exp(np.cumsum(np.random.default_rng(4).normal(0.0, 0.01, (N_BARS, N)), axis=0))
    closes[:30, 2] = np.nan
    closes[60:63, 4] = np.nan
    params = SystemConfig(strategy="trend").params()._replace(shocks=NO_SHOCKS, vol_horizon_bars=HORIZON)
    for n_bars in (3, 25, 45, 62, N_BARS):  # young; one not yet there; one young; a hole; all of them old
        found = warm_up(new_state(N, params), closes[:n_bars], params).covariance
        np.testing.assert_allclose(found, by_definition(closes[:n_bars]), rtol=1e-12, atol=0.0)
        np.testing.assert_array_equal(found, found.T)


def test_given_weights_do_the_same_with_and_without_a_covariance_that_no_limit_reads():
    rng = np.random.default_rng(5)
    closes = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, (N_BARS, N)), axis=0))
    ts_close = np.arange(1, N_BARS + 1, dtype=np.int64) * 3600 * NS_PER_S
    bars = SimBars(ts_close, closes, closes, np.zeros((0, N)))
    base = SystemConfig().params()._replace(shocks=NO_SHOCKS, sleeve=int(Sleeve.EXTERNAL), max_drawdown=0.2)
    weight, scans = rng.uniform(-0.3, 0.3, (N_BARS, N)), []
    for limits in (risk_limits(), risk_limits(max_net_weight=1e9)):
        scan = Scan(bars, no_limits(N), Costs(0.0004, 0.0001), base._replace(risk=limits), 10_000.0)
        scan.external_weight[:] = weight
        scan.advance(N_BARS)
        scans.append(scan)
    without, kept = scans
    np.testing.assert_array_equal(without.track.equity, kept.track.equity)
    np.testing.assert_array_equal(without.fills.qty, kept.fills.qty)
    assert not without.state.covariance.any()
    assert kept.state.covariance.all()
    assert len(kept.fills.qty) > 100

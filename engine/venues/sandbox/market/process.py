"""The price process of the simulated market, in steps of any length.

Log price of asset i moves by

    dx_i = beta_i drift dt + sigma_i(t) (l_i dW + sqrt(1 - l_i^2) dB_i) + common jump + own jump

* sigma_i(t) = level_i exp(f + s + u_i) x regime x season: three log-Ornstein-Uhlenbeck factors (fast and slow common
  ones, one per asset), a Markov regime (calm, normal, stressed) and a weekly season. Their product gives clustered
  volatility and fat tails; level_i is set so that the long-run variance, jumps included, is the asset's.
* Jumps are Poisson with Student-t sizes; the common ones hit all assets in proportion to beta, both kinds come more
  often in stress.
* Drift is a Markov regime too: up, flat or down for about a week each, +-70 % a year for the market. Against 50 %
  volatility that makes trends real and hard to harvest: somebody who knew the regime would earn a Sharpe ratio near
  1.2, a trend follower who has to infer it from prices earns a small part of that, before costs. Nothing else is
  predictable: there is no mean reversion and no signal in volume or book.

History (5-minute and 1-minute steps) and live trading (100 ms steps) call the same equations; the OU factors are
discretised exactly, volatility is constant within a step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.venues.sandbox.market.assets import Asset
from engine.venues.sandbox.market.bars import HOUR_MS

F8 = npt.NDArray[np.float64]
I8 = npt.NDArray[np.int64]

YEAR_S = 365.0 * 86_400.0
CALM, NORMAL, STRESSED = 0, 1, 2

# Half-lives in seconds and stationary standard deviations of the log-volatility factors f, s, u.
_FAST, _SLOW, _OWN = (3 * 3600.0, 0.25), (6 * 86_400.0, 0.38), (8 * 3600.0, 0.20)
_REGIME_VOL = np.array([0.65, 1.0, 2.2])
_REGIME_STAY_S = np.array([36.0, 40.0, 9.0]) * 3600.0
_REGIME_NEXT = np.array([[0.0, 0.95, 0.05], [0.65, 0.0, 0.35], [0.10, 0.90, 0.0]])
_DRIFT_PER_YEAR = np.array([0.70, 0.0, -0.70])
_DRIFT_STAY_S = np.array([7.0, 6.0, 6.0]) * 86_400.0
_DRIFT_NEXT = np.array([[0.0, 0.6, 0.4], [0.5, 0.0, 0.5], [0.4, 0.6, 0.0]])
_COMMON_JUMPS_PER_YEAR, _COMMON_JUMP = 50.0, 0.010
_OWN_JUMPS_PER_YEAR, _OWN_JUMP = 60.0, 0.009
_REGIME_JUMPS = np.array([0.5, 1.0, 4.0])
_JUMP_DOF = 4.0
_MARKET_VOL = 0.5

_HOURS = np.arange(24)
# UTC: quiet from 02 to 06, busy when America and Europe overlap.
_DAY_CURVE = 1.0 + 0.28 * np.cos((_HOURS - 14.5) / 24 * 2 * np.pi) + 0.10 * np.cos((_HOURS - 1.0) / 12 * 2 * np.pi)
_WEEKEND = 0.72
_SEASON = np.tile(_DAY_CURVE, 7) * np.repeat([1.0, 1.0, 1.0, 1.0, 1.0, _WEEKEND, _WEEKEND], 24)
_SEASON /= _SEASON.mean()


def season(time_ms: I8 | int) -> F8:
    """Return the weekly pattern of volatility (mean 1) at UTC times in ms, linear between full hours."""
    # 1970-01-01 was a Thursday, hour 72 of a week that starts on Monday.
    hours = np.asarray(time_ms, dtype=np.float64) / HOUR_MS + 72.0
    whole = np.floor(hours)
    low = whole.astype(np.int64) % 168
    share = hours - whole
    pattern: F8 = _SEASON[low] * (1 - share) + _SEASON[(low + 1) % 168] * share
    return pattern


def _stationary(stay: F8, jump_to: F8) -> F8:
    rate = jump_to / stay[:, None] - np.diag(1.0 / stay)
    system = np.vstack((rate.T, np.ones(len(stay))))
    shares: F8 = np.linalg.lstsq(system, np.array([0.0] * len(stay) + [1.0]), rcond=None)[0]
    return shares


class Parameters(NamedTuple):
    """Arrays over assets (S,), derived once from the assets' assumptions."""

    level: F8
    loading: F8
    beta: F8
    own_jump: F8
    annual_vol: F8


def parameters(assets: list[Asset]) -> Parameters:
    """Solve for the volatility level that gives each asset its long-run variance, jumps included."""
    vol = np.array([a.annual_vol for a in assets])
    loading = np.array([a.loading for a in assets])
    beta = vol * loading / (_MARKET_VOL * 0.9)
    share = _stationary(_REGIME_STAY_S, _REGIME_NEXT)
    t_var = _JUMP_DOF / (_JUMP_DOF - 2)
    more = share @ _REGIME_JUMPS
    own_jump = _OWN_JUMP * vol / _MARKET_VOL
    jump_var = t_var * more * (
        _COMMON_JUMPS_PER_YEAR * (_COMMON_JUMP * beta) ** 2 + _OWN_JUMPS_PER_YEAR * own_jump**2
    )  # fmt: skip
    log_var = _FAST[1] ** 2 + _SLOW[1] ** 2 + _OWN[1] ** 2
    inflation = np.exp(2 * log_var) * (share @ _REGIME_VOL**2) * np.mean(_SEASON**2)
    return Parameters(np.sqrt((vol**2 - jump_var) / inflation), loading, beta, own_jump, vol)


@dataclass
class State:
    """Where the process stands: two scalars and (S,) arrays of log-volatility, the regimes."""

    fast: float
    slow: float
    own: F8
    regime: int
    drift: int


class Steps(NamedTuple):
    """A simulated stretch: (N, S) log returns and diffusive deviations, (N,) regimes and season."""

    log_return: F8
    deviation: F8
    regime: I8
    vol_ratio: F8


def initial_state(n_assets: int, rng: np.random.Generator) -> State:
    """Draw a state from the stationary distribution."""
    regime = int(rng.choice(3, p=_stationary(_REGIME_STAY_S, _REGIME_NEXT)))
    drift = int(rng.choice(3, p=_stationary(_DRIFT_STAY_S, _DRIFT_NEXT)))
    fast, slow = rng.standard_normal(2) * (_FAST[1], _SLOW[1])
    return State(float(fast), float(slow), rng.standard_normal(n_assets) * _OWN[1], regime, drift)


def vol_ratio(state: State) -> F8:
    """Return each asset's volatility (S,) relative to its long-run level, without the season."""
    ratio: F8 = np.exp(state.fast + state.slow + state.own) * _REGIME_VOL[state.regime]
    return ratio


def simulate(
    par: Parameters, state: State, start_ms: int, n_steps: int, dt_s: float, rng: np.random.Generator
) -> Steps:
    """Run the process over `n_steps` equal steps and leave `state` at their end.

    Parameters
    ----------
    par, state : see `parameters`, `State` (changed in place)
    start_ms : int
        UTC ms of the beginning of the first step (for the season).
    n_steps : int
    dt_s : float
        Length of a step in seconds.
    rng : numpy Generator

    Returns
    -------
    Steps
        Log returns (N, S), the standard deviation of their diffusive part (N, S), regimes (N,), and volatility
        relative to its long-run level without the season (N, S).
    """
    n_assets = len(par.level)
    regime = _markov(state.regime, _REGIME_STAY_S, _REGIME_NEXT, n_steps, dt_s, rng)
    drift = _markov(state.drift, _DRIFT_STAY_S, _DRIFT_NEXT, n_steps, dt_s, rng)
    common = np.column_stack(
        [
            _ou(np.array([x]), *factor, n_steps, dt_s, rng)[:, 0]
            for x, factor in ((state.fast, _FAST), (state.slow, _SLOW))
        ]
    )
    own = _ou(state.own, *_OWN, n_steps, dt_s, rng)
    ratio = np.exp(common.sum(axis=1)[:, None] + own) * _REGIME_VOL[regime][:, None]
    middle_ms = start_ms + ((np.arange(n_steps) + 0.5) * dt_s * 1000.0).astype(np.int64)
    deviation = ratio * season(middle_ms)[:, None] * (par.level * np.sqrt(dt_s / YEAR_S))
    market = rng.standard_normal((n_steps, 1))
    noise = rng.standard_normal((n_steps, n_assets))
    log_return = deviation * (par.loading * market + np.sqrt(1 - par.loading**2) * noise)
    log_return += (_DRIFT_PER_YEAR[drift] * (dt_s / YEAR_S))[:, None] * par.beta
    log_return += _jumps(par, regime, dt_s, rng)
    state.fast, state.slow = float(common[-1, 0]), float(common[-1, 1])
    state.own = own[-1].copy()
    state.regime, state.drift = int(regime[-1]), int(drift[-1])
    return Steps(log_return, deviation, regime, ratio)


def extremes(open_log: F8, close_log: F8, deviation: F8, rng: np.random.Generator) -> tuple[F8, F8]:
    """Draw the highest and lowest log price within steps whose ends are known.

    The maximum of a Brownian bridge from a to b with variance v is (a + b + sqrt((b - a)^2 - 2 v ln U)) / 2; the
    minimum mirrors it. High and low are drawn independently of each other.
    """
    total, gap = open_log + close_log, (close_log - open_log) ** 2
    variance = 2.0 * deviation**2
    high = 0.5 * (total + np.sqrt(gap + variance * rng.standard_exponential(total.shape)))
    low = 0.5 * (total - np.sqrt(gap + variance * rng.standard_exponential(total.shape)))
    return high, low


def activity(time_ms: I8 | int, vol_ratio: F8) -> F8:
    """Return taker activity relative to its average: busier in busy hours and when volatility is high."""
    pattern = np.asarray(season(time_ms)) ** 1.3
    if np.ndim(vol_ratio) > np.ndim(pattern):
        pattern = pattern[..., None]
    busy: F8 = np.clip(pattern * vol_ratio**0.8, 0.45, 6.0)
    return busy


def _ou(x0: F8, half_life_s: float, deviation: float, n: int, dt_s: float, rng: np.random.Generator) -> F8:
    """Exact Ornstein-Uhlenbeck path (n, K) after x0 (K,), in blocks of one triangular product each."""
    a = 0.5 ** (dt_s / half_life_s)
    block = min(128, n)
    powers = a ** np.arange(block + 1)
    lag = np.subtract.outer(np.arange(block), np.arange(block))
    kernel = np.where(lag >= 0, powers[np.maximum(lag, 0)], 0.0)
    shocks = rng.standard_normal((n, len(x0))) * (deviation * np.sqrt(1 - a * a))
    path: F8 = np.empty_like(shocks)
    x = x0
    for i in range(0, n, block):
        part = shocks[i : i + block]
        k = len(part)
        path[i : i + k] = kernel[:k, :k] @ part + powers[1 : k + 1, None] * x
        x = path[i + k - 1]
    return path


def _markov(now: int, stay: F8, jump_to: F8, n: int, dt_s: float, rng: np.random.Generator) -> I8:
    """Path (n,) of a continuous-time Markov chain sampled at the end of each step."""
    path = np.empty(n, dtype=np.int64)
    i = 0
    while i < n:
        # A stay is exponential, so restarting it at each call changes nothing.
        steps = int(rng.geometric(-np.expm1(-dt_s / stay[now])))
        path[i : i + steps - 1] = now
        i += steps - 1
        if i < n:
            now = int(rng.choice(len(stay), p=jump_to[now]))
            path[i] = now
            i += 1
    return path


def _jumps(par: Parameters, regime: I8, dt_s: float, rng: np.random.Generator) -> F8:
    more = _REGIME_JUMPS[regime] * (dt_s / YEAR_S)
    out = np.zeros((len(regime), len(par.level)))
    hit = np.flatnonzero(rng.random(len(regime)) < -np.expm1(-_COMMON_JUMPS_PER_YEAR * more))
    out[hit] += rng.standard_t(_JUMP_DOF, (len(hit), 1)) * (_COMMON_JUMP * par.beta)
    rows, columns = np.nonzero(rng.random(out.shape) < -np.expm1(-_OWN_JUMPS_PER_YEAR * more)[:, None])
    out[rows, columns] += rng.standard_t(_JUMP_DOF, len(rows)) * par.own_jump[columns]
    return out

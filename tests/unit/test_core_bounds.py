"""The kernels once more with every array index checked, in a process of their own: compiled code checks none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import numpy as np
from engine.core.costs import Costs
from engine.core.decide import no_limits
from engine.core.frictions import Assumptions
from engine.core.simulate import SimBars, simulate
from engine.settings import SystemConfig

rng = np.random.default_rng(0)
n = 400
close = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, (n, 2)), axis=0))
opens = np.vstack([close[:1], close[:-1]])
high, low = np.maximum(opens, close) * 1.01, np.minimum(opens, close) * 0.99
moments = np.arange(n) * 3600 * 10**9 + 10**9
bars = SimBars(moments, opens, close, np.full((n, 2), 1e-5), high, low, np.full((n, 2), 1e3))
params = SystemConfig(decision_interval="1h", trend_horizons_hours=(4.0, 8.0), volatility_horizon_hours=8.0,
                      rebalance_band=0.0, use_gate_drawdown=False).params()
venue = Assumptions(0.1, 2, 0.5, 0.03, 0.5, 0.03, 0.02, 0.02)
result = simulate(bars, no_limits(2), Costs(0.0004, 0.0001, 0.0002, 0.5, 0.01, 1.0), params, 1e4, venue)
print(len(result.fills.qty), repr(float(result.track.equity[-1])))
"""


@pytest.mark.slow
def test_kernels_stay_inside_their_arrays(tmp_path):
    answers = []
    for check in ("1", "0"):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_BOUNDSCHECK": check}
        if check == "1":
            environment["NUMBA_CACHE_DIR"] = str(tmp_path)
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=110
        )
        assert done.returncode == 0, done.stderr[-2000:]
        answers.append(done.stdout)
    assert answers[0] == answers[1]
    assert int(answers[0].split()[0]) > 100

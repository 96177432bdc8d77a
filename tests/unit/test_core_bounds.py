"""The kernels once more where every array index is checked, in processes of their own: compiled code checks none."""

import os
import subprocess
import sys
from pathlib import Path

from engine.core.costs import Costs
from engine.core.decide import no_limits
from engine.core.frictions import Assumptions
from engine.core.matching import SimBars
from engine.core.simulate import simulate
from engine.domain import NO_SHOCKS

ROOT = Path(__file__).resolve().parents[2]


def small_run():
    """A trend book of two symbols in a market that answers, with stops, targets, delay and thin volume."""
    import numpy as np

    from engine.settings import SystemConfig

    rng = np.random.default_rng(0)
    n = 120
    close_px = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, (n, 2)), axis=0))
    open_px = np.vstack([close_px[:1], close_px[:-1]])
    high_px, low_px = np.maximum(open_px, close_px) * 1.01, np.minimum(open_px, close_px) * 0.99
    moments = np.arange(n) * 3600 * 10**9 + 10**9
    bars = SimBars(moments, open_px, close_px, np.full((n, 2), 1e-5), high_px, low_px, np.full((n, 2), 1e3))
    params = SystemConfig(
        decision_interval="1h", trend_horizons_hours=(4.0, 8.0), volatility_horizon_hours=8.0, rebalance_band=0.0,
        use_gate_drawdown=False,
    ).params()._replace(shocks=NO_SHOCKS)  # fmt: skip
    venue = Assumptions(0.1, 2, 0.5, 0.03, 0.5, 0.03, 0.02, 0.02)
    result = simulate(bars, no_limits(2), Costs(0.0004, 0.0001, 0.0002, 0.5, 0.01, 1.0), params, 1e4, venue)
    return len(result.fills.qty), result.track.equity.tolist()


def in_own_process(switch, *command):
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'unit'}", switch: "1"}
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
    return done.stdout


def test_interpreted_kernels_give_the_same_run_and_stay_inside_their_arrays():
    answer = in_own_process("NUMBA_DISABLE_JIT", "-c", "import test_core_bounds as t; print(repr(t.small_run()))")
    n_fills, equity = small_run()
    assert answer.strip() == repr((n_fills, equity))
    assert n_fills > 100


def test_kernels_that_python_calls_stay_inside_their_arrays():
    tests = ["tests/unit/test_core_account.py", "-k", "fill", "-q", "-p", "no:randomly", "-p", "no:cacheprovider"]
    assert "passed" in in_own_process("NUMBA_BOUNDSCHECK", "-m", "pytest", "-o", "addopts=", *tests)

"""A zoo of strategies: every cheating or broken one is flagged, no honest one is."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from zoo_world import BEST, COINS, write_files, zoo_bars

from engine.domain import NS_PER_DAY, NS_PER_S
from engine.research import canaries, montecarlo
from engine.research.backtest import BacktestConfig, BacktestResult, run_backtest
from engine.research.critique import CANARY_SENTENCES
from engine.research.ledger import Ledger, Trial
from engine.research.made_up import total_gain

HERE = Path(__file__).parent
CHEATERS = sorted(path.stem for path in (HERE / "cheaters").glob("*.py"))
HONEST = sorted(path.stem for path in (HERE / "honest").glob("*.py"))
BARS = zoo_bars()

# what must speak up about each, at least: a canary, or words of a blocker
FLAGGED = {
    "future_close_from_file": {"outside_knowledge", "imports pathlib"},
    "future_close_from_frame": {"future_shift", "imports sys"},
    "centred_window": {"outside_knowledge", "opens a file"},
    "centred_signals": {"repaint"},
    "leaked_scaler": {"opens a file"},
    "scaler_on_everything": {"repaint"},
    "survivors": {"survivorship"},
    "same_bar_fill": {"fills"},
    "printed_money": {"fills", "shuffled"},
    "memory_of_earlier_runs": {"lookahead"},
    "unseeded_luck": {"lookahead", "without a fixed seed"},
    "clock": {"asks the clock"},
    "rewrites_the_past": {"changes the flags"},
    "known_days": {"outside_knowledge"},
    "known_days_late": {"outside_knowledge"},
    "churner": {"No costs were charged"},
    "best_of_a_thousand": {"Skill is not established after 1,000 trials"},
}
UNPROMOTABLE = {"holder", "reversal"}  # honest, but nothing to trade on


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr(montecarlo, "N_DRAWS", 300)


@cache
def history(folder: Path) -> Path:
    write_files(BARS, folder / "data")
    np.savez(folder / "history.npz", ts_close=BARS.ts_close, close=BARS.close_px)
    return folder


def run(path: Path, home: Path, **params) -> BacktestResult:
    limits = {"use_gate_book": "off"}  # the zoo is about strategies
    return run_backtest(BacktestConfig(bars=BARS, strategy=str(path), params=limits | params, home=home))


def cheat(name: str, tmp_path: Path) -> BacktestResult:
    path, params = HERE / "cheaters" / f"{name}.py", {}
    if name == "future_close_from_file":
        params = {"folder": str(history(tmp_path) / "data")}
    elif name in ("centred_window", "leaked_scaler"):
        params = {"history_file": str(history(tmp_path) / "history.npz")}
    elif name in ("known_days", "known_days_late"):
        up = np.diff(BARS.close_px[:, 0], append=0.0) > 0
        text, path = path.read_text(), tmp_path / path.name
        signs = "".join("+" if later else "-" for later in np.append(True, up)[: len(up) + 1])
        path.write_text(text.replace("@SIGNS@", signs))
    elif name == "churner":
        params = {"fee": 0, "slippage": 0}
    elif name == "best_of_a_thousand":
        params = {"rule": tried_a_thousand(tmp_path)}
    return run(path, tmp_path, **params)


def tried_a_thousand(home: Path) -> int:
    """Do what a sweep does: put the daily returns of a thousand rules into the ledger, and return the best one."""
    moves = np.nan_to_num(BARS.close_px[1:] / BARS.close_px[:-1] - 1.0)
    week = (BARS.ts_close[:-1] - 1_640_995_200 * NS_PER_S) // (7 * NS_PER_DAY)
    trials = []
    for rule in range(999):
        toss = np.random.default_rng(rule).choice([-0.2, 0.2], (60, len(COINS)))
        earned = (toss[week] * moves).sum(axis=1)
        daily = np.add.reduceat(earned, np.arange(0, len(earned), 3))
        trials.append(Trial(f"rule {rule}", daily.mean() / daily.std(), daily))
    Ledger(home).record_many(BARS.fingerprint, trials)
    return int(np.argmax([trial.sharpe for trial in trials]))


def told(result: BacktestResult) -> set[str]:
    return {name for name, verdict in result.canaries.items() if verdict == "fail"} | set(result.honesty["blockers"])


def test_every_cheater_has_its_line():
    assert set(CHEATERS) == set(FLAGGED)
    assert len(CHEATERS) >= 10 <= len(HONEST)
    best = np.argsort(total_gain(BARS))[-2:]
    assert {COINS[i] for i in best} == set(BEST)  # so that the survivors are truly chosen with hindsight


@pytest.mark.parametrize("name", CHEATERS)
def test_cheaters_and_broken_ones_are_flagged(name, tmp_path, monkeypatch):
    if name.endswith("_late"):  # as if they waited for longer than any canary looks
        monkeypatch.setattr(canaries, "CANARY_BARS_USER", 200)
        monkeypatch.setattr(canaries, "MADE_UP_BARS_USER", 300)
    result = cheat(name, tmp_path)
    found = told(result)
    for expected in FLAGGED[name]:
        assert any(expected in sentence for sentence in found), (expected, result.canaries, result.honesty["blockers"])
    assert result.honesty["promotable"] is False
    for canary in set(result.canaries) & found:
        assert any(CANARY_SENTENCES[canary] in sentence for sentence in result.honesty["blockers"])
        assert CANARY_SENTENCES[canary] in " ".join(result.honesty["critique"][:4])


@pytest.mark.parametrize("name", HONEST)
def test_honest_ones_are_not_flagged(name, tmp_path):
    result = run(HERE / "honest" / f"{name}.py", tmp_path)
    assert set(result.canaries.values()) == {"pass"}, result.canaries
    assert len(result.canaries) == 7 if name == "vectorised_trend" else 6
    assert not [sentence for sentence in result.honesty["blockers"] if "of the strategy" in sentence]
    assert result.honesty["promotable"] == (name not in UNPROMOTABLE), (result.metrics, result.honesty["blockers"])

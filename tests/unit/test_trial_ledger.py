"""The ledger of trials: a sweep's members are counted once each, in one go."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from engine.research.ledger import Ledger, Trial


def test_many_trials_are_remembered_with_their_returns(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.record_many("a" * 64, [Trial("one", 0.1, np.array([0.01, 0.02])), Trial("two", math.nan, np.array([0.0]))])
    found = ledger.trials("a" * 64)
    assert [(trial.key, trial.sharpe) for trial in found] == [("one", 0.1), ("two", 0.0)]
    assert found[0].returns.tolist() == [0.01, 0.02]
    assert ledger.trials("b" * 64) == []


def test_a_trial_that_was_counted_is_not_counted_again(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.record("a" * 64, "one", 0.1, np.array([0.01]))
    again = [Trial("one", 0.3, np.array([0.5])), Trial("two", 0.2, np.array([0.1])), Trial("two", 0.2, np.array([0.1]))]
    ledger.record_many("a" * 64, again)
    assert [(trial.key, trial.sharpe) for trial in ledger.trials("a" * 64)] == [("one", 0.1), ("two", 0.2)]


def test_a_line_that_was_torn_does_not_take_the_next_trial_with_it(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.record("a" * 64, "one", 0.1, np.array([0.01]))
    with (tmp_path / "research" / "trials.jsonl").open("a") as file:
        file.write('{"dataset": "aaaa", "key": "to')  # killed, or the disk was full
    ledger.record("a" * 64, "two", 0.2, np.array([0.02]))
    ledger.record("a" * 64, "three", 0.3, np.array([0.03]))
    assert [trial.key for trial in ledger.trials("a" * 64)] == ["one", "two", "three"]
    assert (tmp_path / "research" / "trials.jsonl").read_text().count("\n\n") == 0

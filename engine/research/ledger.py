"""Every backtest on a data set is a trial, counted whether or not anybody wants it counted."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np

from engine.domain import F8

N_BLOCKS = 8
"""Time blocks of the overfitting test: C(8, 4) = 70 ways to choose the in-sample half."""

MIN_DAYS = 10 * N_BLOCKS


class Trial(NamedTuple):
    """One remembered run on a data set."""

    key: str  # hash of strategy, parameters and span
    sharpe: float  # per period, not annualised
    returns: F8  # (T,) per period


class Ledger:
    """Trials on disk, one JSON line each, returns beside them.

    Parameters
    ----------
    home : Path
        The data folder; ``research/`` is made in it.
    """

    def __init__(self, home: Path) -> None:
        self._folder = home / "research"

    def record(self, dataset: str, key: str, sharpe: float, returns: F8) -> None:
        """Remember a run. The same key on the same data set is one trial, however often it runs."""
        self.record_many(dataset, [Trial(key, sharpe, returns)])

    def record_many(self, dataset: str, trials: Sequence[Trial]) -> None:
        """Remember all members of a sweep in one go; ``sharpe`` may be NaN where there is none."""
        known = self._keys(dataset)
        fresh = {trial.key: trial for trial in trials if trial.key not in known}
        if not fresh:
            return
        returns_folder = self._folder / "returns"
        returns_folder.mkdir(parents=True, exist_ok=True)
        lines = []
        for key, trial in fresh.items():
            temporary = returns_folder / f"{key}.{os.getpid()}.tmp.npy"
            np.save(temporary, trial.returns)
            temporary.replace(returns_folder / f"{dataset[:16]}-{key}.npy")
            sharpe = trial.sharpe if np.isfinite(trial.sharpe) else None
            lines.append(json.dumps({"dataset": dataset, "key": key, "sharpe": sharpe}) + "\n")
        with (self._folder / "trials.jsonl").open("a", encoding="utf-8") as ledger:
            ledger.write("".join(lines))

    def _rows(self, dataset: str) -> Iterator[tuple[str, float, Path]]:
        path = self._folder / "trials.jsonl"
        if not path.is_file():
            return
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue  # the last line of a run that was killed while writing
            stored = self._folder / "returns" / f"{dataset[:16]}-{row['key']}.npy"
            if row["dataset"] == dataset and stored.is_file():
                yield row["key"], float(row["sharpe"] if row["sharpe"] is not None else 0.0), stored

    def _keys(self, dataset: str) -> set[str]:
        return {key for key, _, _ in self._rows(dataset)}

    def trials(self, dataset: str) -> list[Trial]:
        """Return what was tried on a data set, oldest first."""
        rows = {key: Trial(key, sharpe, np.load(stored)) for key, sharpe, stored in self._rows(dataset)}
        return list(rows.values())


def overfitting_probability(returns: F8) -> float | None:
    """Return the share of splits in which the best trial in sample is below the median out of sample.

    Parameters
    ----------
    returns : (T, M) float64
        Per-period returns of M trials over the same periods.

    Returns
    -------
    float in [0, 1] or None
        None when M < 2 or T is below ``MIN_DAYS``.

    Notes
    -----
    Combinatorially symmetric cross-validation. Source: Bailey, Borwein, Lopez de Prado & Zhu (2017). A trial without
    variation counts with a Sharpe ratio of 0. Ties share their mean rank.
    """
    n_periods, n_trials = returns.shape
    if n_trials < 2 or n_periods < MIN_DAYS:
        return None
    blocks = np.array_split(returns, N_BLOCKS)
    below = 0.0
    splits = list(combinations(range(N_BLOCKS), N_BLOCKS // 2))
    for chosen in splits:
        inside = _sharpes(np.concatenate([blocks[i] for i in chosen]))
        outside = _sharpes(np.concatenate([blocks[i] for i in range(N_BLOCKS) if i not in chosen]))
        best = outside[int(np.argmax(inside))]
        rank = np.sum(outside < best) + 0.5 * (np.sum(outside == best) + 1)
        below += 1.0 if rank / (n_trials + 1) < 0.5 else 0.5 if rank / (n_trials + 1) == 0.5 else 0.0
    return below / len(splits)


def _sharpes(returns: F8) -> F8:
    deviation = returns.std(axis=0, ddof=1)
    mean = returns.mean(axis=0)
    return np.divide(mean, deviation, out=np.zeros_like(mean), where=deviation > 1e-15)

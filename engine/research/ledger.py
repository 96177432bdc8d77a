"""Every backtest on a data set is a trial, counted whether or not anybody wants it counted."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from engine.domain import F8, I8
from engine.research.identity import load_sketch, same_market, save_sketch, sketch
from engine.research.loading import BarTable

NO_MOMENTS = np.zeros(0, dtype=np.int64)


class Trial(NamedTuple):
    """One remembered run on a data set."""

    key: str  # hash of strategy, parameters and span
    sharpe: float  # per period, not annualised; 0 is read where there was none
    returns: F8  # (T,) per period
    moments: I8 = NO_MOMENTS  # (T,) ns, end of each period; empty when not told
    per_year: float = 365.0  # periods a year


class Ledger:
    """Trials on disk, one JSON line each, returns beside them.

    Data sets that show the same market moves share one count: see ``engine.research.identity``.

    Parameters
    ----------
    home : Path
        The data folder; ``research/`` is made in it.
    """

    def __init__(self, home: Path) -> None:
        self._folder = home / "research"

    def know(self, bars: BarTable) -> None:
        """Remember a data set, and which of the known ones it resembles. Call with all bars, before any cut by date."""
        folder = self._folder / "datasets"
        path = folder / f"{bars.fingerprint[:24]}.npz"
        if path.is_file():
            return
        folder.mkdir(parents=True, exist_ok=True)
        new = sketch(bars)
        alike = [known.stem for known in sorted(folder.glob("*.npz"))
                 if not known.stem.endswith(".part") and same_market(new, load_sketch(known))]  # fmt: skip
        self._append("related.jsonl", [{"one": path.stem, "other": other} for other in alike])
        save_sketch(new, path)

    def related(self, dataset: str) -> set[str]:
        """Return the beginnings of the fingerprints of data sets that show the same moves, its own included."""
        own = dataset[:24]
        pairs = [{row["one"], row["other"]} for row in self._rows("related.jsonl")]
        return {own}.union(*(pair for pair in pairs if own in pair))

    def record(
        self, dataset: str, key: str, sharpe: float, returns: F8, moments: I8 = NO_MOMENTS, per_year: float = 365.0
    ) -> None:
        """Remember a run. The same key on the same data is one trial, however often it runs; see ``Trial``."""
        self.record_many(dataset, [Trial(key, sharpe, returns, moments, per_year)])

    def record_many(self, dataset: str, trials: Sequence[Trial]) -> None:
        """Remember all members of a sweep in one go; ``sharpe`` may be NaN where there is none.

        Parameters
        ----------
        dataset : str
            Fingerprint of the bars.
        trials : sequence of Trial
            Those whose key is already on the record are left out.
        """
        known = {row["key"] for row in self._trial_rows(dataset)}
        fresh = list({trial.key: trial for trial in trials if trial.key not in known}.values())
        folder = self._folder / "returns"
        folder.mkdir(parents=True, exist_ok=True)
        rows = []
        for _, group in groupby(fresh, key=lambda trial: (len(trial.returns), trial.moments.tobytes())):
            rows += self._stored(folder, dataset, list(group))
        self._append("trials.jsonl", rows)

    def _stored(self, folder: Path, dataset: str, trials: list[Trial]) -> list[dict[str, Any]]:
        """Write trials over the same periods to one file; return their lines for the ledger."""
        n_periods = len(trials[0].returns)
        ends = trials[0].moments / 1e9 if len(trials[0].moments) == n_periods else np.full(n_periods, np.nan)
        name = f"{dataset[:16]}-{trials[0].key}.npy"
        temporary = folder / f"{name}.{os.getpid()}.tmp.npy"
        np.save(temporary, np.vstack([ends, *(trial.returns for trial in trials)]))
        temporary.replace(folder / name)
        return [
            {"dataset": dataset, "key": trial.key, "sharpe": trial.sharpe if np.isfinite(trial.sharpe) else None,
             "per_year": trial.per_year, "file": name, "row": row}
            for row, trial in enumerate(trials, start=1)
        ]  # fmt: skip

    def trials(self, dataset: str) -> list[Trial]:
        """Return what was tried on a data set or on one that resembles it, oldest first.

        A trial whose returns are missing still counts.
        """
        files: dict[str, F8] = {}
        found: dict[str, Trial] = {}
        for row in self._trial_rows(dataset):
            name = row["file"]
            if name not in files:
                path = self._folder / "returns" / name
                files[name] = np.load(path) if path.is_file() else np.zeros((0, 0))
            stored = files[name]
            returns, moments = np.empty(0), NO_MOMENTS
            if len(stored) > row["row"]:
                returns = stored[row["row"]]
                if not np.isnan(stored[0]).any():
                    moments = np.round(stored[0] * 1e9).astype(np.int64)
            sharpe = 0.0 if row["sharpe"] is None else float(row["sharpe"])
            found[row["key"]] = Trial(row["key"], sharpe, returns, moments, row["per_year"])
        return list(found.values())

    def _trial_rows(self, dataset: str) -> list[dict[str, Any]]:
        related = self.related(dataset)
        return [row for row in self._rows("trials.jsonl") if row["dataset"][:24] in related and "file" in row]

    def _rows(self, name: str) -> list[dict[str, Any]]:
        path = self._folder / name
        if not path.is_file():
            return []
        rows = []
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                continue  # the last line of a run that was killed while writing
        return rows

    def _append(self, name: str, rows: list[dict[str, Any]]) -> None:
        if rows:
            path = self._folder / name
            # a run that was killed while writing, or a full disk, leaves half a line: it must not swallow the next one
            begin = "" if _ends_with_its_line(path) else "\n"
            with path.open("a", encoding="utf-8") as file:
                file.write(begin + "".join(json.dumps(row) + "\n" for row in rows))  # one write: two runs do not mix


def _ends_with_its_line(path: Path) -> bool:
    if not path.is_file() or path.stat().st_size == 0:
        return True
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def same_periods(trials: list[Trial], moments: I8, returns: F8, coverage: float = 0.9) -> F8:
    """Return the returns of a run and of every trial over the periods that they have in common: (T', M).

    Parameters
    ----------
    trials : list of Trial
    moments : (T,) int64 ns
        Periods of the run.
    returns : (T,) float64
        Its returns; the first column of the answer.
    coverage : float
        A trial that has fewer than this share of the run's periods is left out.
    """
    present = np.ones(len(moments), dtype=bool)
    columns = [returns]
    for trial in trials:
        at = np.arange(len(moments))
        if len(trial.moments):
            at = np.minimum(np.searchsorted(trial.moments, moments), len(trial.moments) - 1)
            here = trial.moments[at] == moments
        else:  # not told: only runs of the same length are taken for runs over the same time
            here = np.full(len(moments), len(trial.returns) == len(moments))
        if here.mean() < coverage or np.array_equal(trial.returns[at], returns):
            continue
        present &= here
        columns.append(trial.returns[at])
    return np.column_stack(columns)[present]

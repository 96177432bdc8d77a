"""Walk-forward: every month is forecast by a model fitted to what was known before it; a killed run goes on.

A task is one learner with one seed; it goes through the months in order, so that it can start each from the last. Each
month's forecasts are kept in a file of its own, written whole or not at all, with the fitted state beside the newest.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from engine.domain import NS_PER_DAY
from engine.errors import DataError
from models.catalogue import ENTRIES, Entry, build
from models.forecast import Learnable, Panel, Prediction
from models.splits import monthly_folds, months_of

VALID_DAYS = 60
"""The last days before a month are kept for stopping, penalties and residuals."""

TRAIN_DAYS = 4 * 365
"""Learners see so many days before a month: what is older comes from another market, and costs time."""

FEWEST_TRAIN_DAYS = 180


class Month(NamedTuple):
    """One step of a walk-forward; slices of the rows of a Learnable."""

    name: str  # such as 2021-03
    train: slice
    valid: slice
    test: slice


class Task(NamedTuple):
    """What one worker does: a learner with a seed, through all months."""

    name: str
    seed: int
    folder: Path  # of this learner and seed


def months(data: Learnable, first_ns: int, last_ns: int) -> list[Month]:
    """Return the steps that judge the bars closing after ``first_ns`` and up to ``last_ns``, by calendar month.

    See ``models.splits.monthly_folds`` for how the parts are kept apart. A month with fewer than ``FEWEST_TRAIN_DAYS``
    of bars before it is left out.

    Raises
    ------
    DataError
        No month is left.
    """
    ts_close = data.panel.ts_close
    step_ns = int(np.median(np.diff(ts_close)))
    per_day = NS_PER_DAY // step_ns
    earliest = int(ts_close[0]) + FEWEST_TRAIN_DAYS * NS_PER_DAY
    begins, ends = max(first_ns, earliest), min(last_ns, int(ts_close[-1]))
    if begins >= ends:
        raise DataError(
            f"no month can be judged: the bars span {(ts_close[-1] - ts_close[0]) / NS_PER_DAY:.0f} days, and each "
            f"judged month needs {FEWEST_TRAIN_DAYS} days before it; give earlier bars or a later start"
        )
    first_month, last_month = months_of(np.array([begins, ends]))
    first_month += 1 if begins == earliest and begins > first_ns else 0
    first_row, last_row = (int(np.searchsorted(ts_close, moment, side="right")) for moment in (first_ns, last_ns))
    folds = monthly_folds(
        ts_close, str(first_month), str(last_month), VALID_DAYS * per_day, TRAIN_DAYS * per_day
    )  # fmt: skip
    found = []
    for fold in folds:
        test = slice(max(fold.test.start, first_row), min(fold.test.stop, last_row))
        if test.stop > test.start:
            name = str(months_of(ts_close[test.start : test.start + 1])[0])
            found.append(Month(name, fold.train, fold.valid, test))
    return found


def keep_learnable(data: Learnable, folder: Path) -> None:
    """Write a Learnable as plain arrays, which workers then share without copying."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {f"panel_{name}": value for name, value in data.panel._asdict().items() if name != "symbols"}
    arrays |= {name: getattr(data, name) for name in ("features", "sigma", "target", "ts_known")}
    for name, value in arrays.items():
        np.save(folder / f"{name}.npy", np.ascontiguousarray(value), allow_pickle=False)
    (folder / "symbols.json").write_text(json.dumps(data.panel.symbols))


def kept_learnable(folder: Path) -> Learnable:
    """Read what ``keep_learnable`` wrote, mapped from disk."""
    read = {path.stem: np.load(path, mmap_mode="r", allow_pickle=False) for path in folder.glob("*.npy")}
    symbols = tuple(json.loads((folder / "symbols.json").read_text()))
    panel = Panel(symbols, **{name.removeprefix("panel_"): a for name, a in read.items() if name.startswith("panel_")})
    return Learnable(panel, read["features"], read["sigma"], read["target"], read["ts_known"])


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays as a whole file or not at all."""
    unfinished = path.with_suffix(f".{os.getpid()}.tmp")
    with unfinished.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    unfinished.replace(path)


def _read(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _keep_state(folder: Path, month: str, learner: Any) -> None:
    tensors, settings = learner.state()
    _write(folder / f"{month}.state", {**tensors, "__settings__": np.array(json.dumps(settings))})
    for older in folder.glob("*.state"):
        if older.stem < month:
            older.unlink()


def _resumed(learner: Any, folder: Path, before: str) -> bool:
    """Load the state that was kept after the month before; return whether there was one."""
    path = folder / f"{before}.state"
    if not path.is_file():
        return False
    tensors = _read(path)
    learner.load(tensors, json.loads(str(tensors.pop("__settings__"))))
    return True


def _note(task: Task, month: str, text: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {task.name} seed {task.seed} {month} {text}", file=sys.stderr, flush=True)


def run_task(task: Task, dataset: Path, steps: list[Month]) -> str:
    """Fit and forecast month after month, skipping what is there already.

    Returns
    -------
    str
        Empty, or why the learner failed: one learner's mistake must not cost the others their hour, so whatever it
        raises ends it alone and is told in the table.
    """
    try:
        entry = ENTRIES[task.name]
        task.folder.mkdir(parents=True, exist_ok=True)
        if "torch" in sys.modules or entry.needs_torch:
            import torch

            torch.set_num_threads(1)
        _through(task, entry, kept_learnable(dataset), steps)
    except Exception as error:
        _note(task, "", "failed:\n" + traceback.format_exc())
        return f"{type(error).__name__}: {error}"
    return ""


def _through(task: Task, entry: Entry, data: Learnable, steps: list[Month]) -> None:
    learner = build(task.name)
    fitted = 0
    for k, step in enumerate(steps):
        path = task.folder / f"{step.name}.npz"
        due = k % entry.retrain_months == 0
        if path.is_file():
            continue
        if k > 0 and fitted != k and not _resumed(learner, task.folder, steps[k - 1].name):
            due = True  # nothing is kept of the months before: start afresh here
        started, started_cpu = time.perf_counter(), time.process_time()
        losses = learner.fit(data, step.train, step.valid, task.seed, lambda *_: True) if due else {}
        said = _said(learner, entry, data, step.test)
        seconds, cpu_s = time.perf_counter() - started, time.process_time() - started_cpu
        report = {name: float(loss) for name, loss in losses.items() if isinstance(loss, int | float)}
        _write(path, {**said, "__report__": np.array(json.dumps({**report, "seconds": seconds, "cpu_s": cpu_s}))})
        _keep_state(task.folder, step.name, learner)
        fitted = k + 1
        _note(task, step.name, f"({k + 1} of {len(steps)}) {seconds:.1f} s, of the processor {cpu_s:.1f} s")


def _said(learner: Any, entry: Entry, data: Learnable, rows: slice) -> dict[str, np.ndarray]:
    if entry.is_policy:
        if not hasattr(learner, "rollout"):  # a policy without paper books
            return {"wish": np.asarray(learner.weights(data, rows), dtype=np.float32)}
        rollout = learner.rollout(data, rows)
        return {"wish": rollout.wish.astype(np.float32), "earned": rollout.earned.astype(np.float32)}
    said = learner.predict(data, rows)
    return {"quantile": said.quantile.astype(np.float32), "prob_up": said.prob_up.astype(np.float32)}


def months_done(folder: Path, steps: list[Month]) -> int:
    """Return how many months of a task are there."""
    return sum((folder / f"{step.name}.npz").is_file() for step in steps)


def gathered(folder: Path, steps: list[Month]) -> Prediction:
    """Return the forecasts of all months together, float32; rows are those of the months' bars in order."""
    parts = [_read(folder / f"{step.name}.npz") for step in steps]
    return Prediction(*(np.concatenate([part[name] for part in parts]) for name in ("quantile", "prob_up")))


def gathered_wish(folder: Path, steps: list[Month]) -> np.ndarray:
    """Return the wishes of a policy in all months together."""
    return np.concatenate([_read(folder / f"{step.name}.npz")["wish"] for step in steps])


def blended_wish(
    folders: list[Path], steps: list[Month], data: Learnable, retrain_months: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return what an ensemble of kept policies wishes for in all months, and how it weighed them.

    What ``models.agents.AgentEnsemble`` does, without training its members again: they are weighed when they are
    trained, by what they earned on the validation rows of their first training and in all months since.

    Returns
    -------
    ((T', N) wishes, (months, M) weights)
    """
    from models.agents import Rollout, blended, daily_earned, shares_of, shown_by

    first = [fit_reports(folder, steps[:1])[0] for folder in folders]
    evidence = np.array([[report[f"valid_{name}"] for name in ("days", "sum", "squares")] for report in first])
    shares, wishes, weights = shares_of(evidence), [], []
    for k, step in enumerate(steps):
        if k % retrain_months == 0:
            shares = shares_of(evidence)
        parts = [_read(folder / f"{step.name}.npz") for folder in folders]
        wishes.append(blended(np.array([part["wish"] for part in parts]), shares))
        weights.append(shares)
        for own, part in zip(evidence, parts, strict=True):
            own += shown_by(daily_earned(Rollout(part["wish"], part["earned"].astype(np.float64)), data, step.test))
    return np.concatenate(wishes), np.array(weights)


def fit_reports(folder: Path, steps: list[Month]) -> list[dict[str, float]]:
    """Return what each month's fit told: losses, seconds, and those of the processor."""
    return [json.loads(str(_read(folder / f"{step.name}.npz")["__report__"])) for step in steps]


def kept_cpu_s(folder: Path, steps: list[Month]) -> float:
    """Return the seconds of a processor that the months which are there took."""
    done = [step for step in steps if (folder / f"{step.name}.npz").is_file()]
    return sum(report.get("cpu_s", report["seconds"]) for report in fit_reports(folder, done))

"""Judges every learner by walk-forward: what it knew of directions and ranges, and what that earned after costs."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from engine.domain import NS_PER_DAY
from models.catalogue import BASE, ENTRIES, entry_of, source_hash, version_of
from models.ensemble import Skill, Weights, combine, skill_of, weights_from
from models.forecast import HORIZONS, Learnable, Prediction
from models.judging import ENSEMBLE, Judged, judged_forecasts
from models.policy import Policy
from models.tallies import Tally, day_index
from models.walkforward import (
    Month,
    Task,
    blended_wish,
    gathered,
    gathered_wish,
    keep_learnable,
    kept_cpu_s,
    kept_learnable,
    months_done,
    run_task,
)

__all__ = ["ENSEMBLE", "Judged", "Plan", "Policy", "cpu_s_of", "judge_all", "learn_all", "prepared", "unfinished"]

RECORD_DAYS = 730
"""The ensemble weighs members by their forecasts of so many days before a month."""

SLOWEST_FIRST = ("transformer", "lstm", "agents", "sac", "ppo", "a2c", "boosting")
REPORT_S = 30.0


class Plan(NamedTuple):
    """What is evaluated and where its parts are kept."""

    names: tuple[str, ...]  # of learners; the base rate is always among them
    seeds: int
    steps: tuple[Month, ...]
    folder: Path  # of this data; holds the dataset and a folder for each learner and seed
    n_jobs: int

    @property
    def rows(self) -> slice:
        """The judged bars."""
        return slice(self.steps[0].test.start, self.steps[-1].test.stop)

    def seeds_of(self, name: str) -> range:
        """Return the seeds of a learner: one where nothing is random."""
        return range(self.seeds if entry_of(name).has_randomness else 1)

    def done_seeds(self, name: str) -> list[int]:
        """Return the seeds with which a learner, or all that it blends, went through every month."""
        parts = entry_of(name).members or (name,)
        return [seed for seed in self.seeds_of(name) if all(self._is_done(part, seed) for part in parts)]

    def _is_done(self, name: str, seed: int) -> bool:
        return months_done(self.task(name, seed).folder, list(self.steps)) == len(self.steps)

    @property
    def tasks(self) -> list[Task]:
        """All that has to be learned: the first seed of everybody, the slowest first, then the second."""
        order = {name: k for k, name in enumerate(SLOWEST_FIRST)}
        tasks = [self.task(name, seed) for name in self.names if not entry_of(name).members
                 for seed in self.seeds_of(name)]  # fmt: skip
        return sorted(tasks, key=lambda task: (task.seed, order.get(task.name, len(order))))

    def seconds_of(self, name: str) -> float:
        """Return the mean seconds of a processor that one month's fit and forecast took."""
        parts, seeds = entry_of(name).members or (name,), self.done_seeds(name)
        took = [kept_cpu_s(self.task(part, seed).folder, list(self.steps)) for part in parts for seed in seeds]
        return sum(took) / max(len(seeds), 1) / len(self.steps)

    def task(self, name: str, seed: int) -> Task:
        """Return the work of one learner with one seed; a learner without randomness has one seed for all."""
        seed = seed if entry_of(name).has_randomness else 0
        return Task(name, seed, self.folder / f"{name}-{seed}-{version_of(name)}")


def prepared(data: Learnable, names: Iterable[str], seeds: int, steps: list[Month], cache: Path, n_jobs: int) -> Plan:
    """Keep the data where workers find it and return the plan.

    Folders are named by what forecasts depend on: the data, the steps, and the code of inputs and learners. So a killed
    run goes on, and a changed one starts afresh.
    """
    digest = hashlib.sha256(repr((data.panel.symbols, steps)).encode())
    for array in (data.panel.ts_close, data.panel.close_px, data.target):
        digest.update(np.ascontiguousarray(array).data)
    digest.update(np.ascontiguousarray(np.nan_to_num(data.features).sum(axis=(1, 2), dtype=np.float64)).data)
    digest.update(source_hash(("models.walkforward",)).encode())
    folder = cache / digest.hexdigest()[:12]
    if not (folder / "dataset" / "symbols.json").is_file():
        keep_learnable(data, folder / "dataset")
    wanted = [BASE, *(part for name in names for part in (*entry_of(name).members, name))]
    return Plan(tuple(dict.fromkeys(wanted)), seeds, tuple(steps), folder, n_jobs)


def learn_all(plan: Plan) -> dict[str, str]:
    """Fit and forecast everything that is not there yet, in worker processes; return who failed and why."""
    tasks = plan.tasks
    todo = [task for task in tasks if months_done(task.folder, list(plan.steps)) < len(plan.steps)]
    stop = threading.Event()
    teller = threading.Thread(target=_tell_progress, args=(plan, tasks, stop), daemon=True)
    teller.start()
    try:
        outcomes = _in_workers(run_task, [(task, plan.folder / "dataset", list(plan.steps)) for task in todo], plan)
    finally:
        stop.set()
        teller.join()
    failed = {task.name: f"seed {task.seed}: {why}" for task, why in zip(todo, outcomes, strict=True) if why}
    return failed | {
        name: f"its member {part} failed" for name in plan.names for part in entry_of(name).members if part in failed
    }


def unfinished(plan: Plan) -> dict[str, str]:
    """Return who has not gone through all months with any seed yet, and how far it came."""
    found = {}
    for name in plan.names:
        if not plan.done_seeds(name):
            parts = entry_of(name).members or (name,)
            done = min(months_done(plan.task(part, 0).folder, list(plan.steps)) for part in parts)
            found[name] = f"not finished, {done} of {len(plan.steps)} months were done"
    return found


def cpu_s_of(plan: Plan) -> float:
    """Return the seconds of a processor that everything which is kept of this plan took to learn."""
    return sum(kept_cpu_s(task.folder, list(plan.steps)) for task in plan.tasks)


def _in_workers(function: Callable[..., Any], arguments: list[tuple[Any, ...]], plan: Plan) -> list[Any]:
    """Call a function for each tuple of arguments in fresh processes of one thread each, or here for one job."""
    if plan.n_jobs == 1 or len(arguments) < 2:
        return [function(*each) for each in arguments]
    from joblib import Parallel, delayed, parallel_config
    from joblib.externals.loky import get_reusable_executor

    with parallel_config(backend="loky", inner_max_num_threads=1):
        outcomes = list(Parallel(n_jobs=plan.n_jobs, batch_size=1)(delayed(function)(*each) for each in arguments))
    get_reusable_executor().shutdown(wait=True)  # only workers that have ended are counted by the clock of a process
    return outcomes


def _tell_progress(plan: Plan, tasks: list[Task], stop: threading.Event) -> None:
    """Say now and then how many months are done and how long the rest may take."""
    started, steps = time.time(), list(plan.steps)
    before = sum(months_done(task.folder, steps) for task in tasks)
    while not stop.wait(REPORT_S):
        done = sum(months_done(task.folder, steps) for task in tasks)
        left = len(tasks) * len(steps) - done
        rate = (time.time() - started) / max(done - before, 1)
        print(
            f"{done} of {done + left} months done, about {left * rate / 60.0:.0f} min left", file=sys.stderr, flush=True
        )


def judge_all(plan: Plan, failed: dict[str, str]) -> dict[str, list[Judged]]:
    """Judge every learner with each seed that has all of its months, then the ensemble of the forecasters.

    The ensemble is judged with the seeds that all of its random members have.
    """
    whole = [name for name in plan.names if name not in failed]
    work = [(plan, name, seed) for name in whole for seed in plan.done_seeds(name)]
    found: dict[str, list[Judged]] = {name: [] for name in whole}
    for judged in _in_workers(judged_learner, work, plan):
        found[judged.name].append(judged)
    members = [name for name in whole if name != BASE and not ENTRIES[name].is_policy]
    if members:
        skills = {name: {judged.seed: judged.tallies["skill"] for judged in found[name]} for name in members}
        random = [set(own) for name, own in skills.items() if ENTRIES[name].has_randomness]
        seeds = sorted(set.intersection(*random)) if random else [0]
        rounds = [(plan, seed, {name: own.get(seed, own[0]) for name, own in skills.items()}) for seed in seeds]
        found[ENSEMBLE] = _in_workers(judged_ensemble, rounds, plan)
    return found


def judged_learner(plan: Plan, name: str, seed: int) -> Judged:
    """Judge one learner with one seed from its kept forecasts."""
    task, steps = plan.task(name, seed), list(plan.steps)
    data, entry = kept_learnable(plan.folder / "dataset"), ENTRIES[name]
    if entry.members:
        folders = [plan.task(part, seed).folder for part in entry.members]
        wish, shares = blended_wish(folders, steps, data, entry.retrain_months)
        return Judged(name, seed, {}, [], wish, dict(zip(entry.members, shares.T, strict=True)))
    if entry.is_policy:
        return Judged(name, seed, {}, [], np.asarray(gathered_wish(task.folder, steps), dtype=np.float64), {})
    said = gathered(task.folder, steps)
    base = said if name == BASE else gathered(plan.task(BASE, 0).folder, steps)
    return judged_forecasts(name, seed, said, base, data, plan.rows, {})


def judged_ensemble(plan: Plan, seed: int, skills: dict[str, Tally]) -> Judged:
    """Judge the ensemble of one seed, weighed each month by what its members had shown before."""
    data, steps = kept_learnable(plan.folder / "dataset"), list(plan.steps)
    base = gathered(plan.task(BASE, 0).folder, steps)
    said = {name: gathered(plan.task(name, seed).folder, steps) for name in skills}
    first, ts_close = plan.rows.start, np.asarray(data.panel.ts_close)
    quantile, prob_up = np.empty_like(base.quantile), np.empty_like(base.prob_up)
    listed: list[Weights] = []
    for step in steps:
        rows = slice(step.test.start - first, step.test.stop - first)
        weights = weights_from(_skills_before(skills, ts_close, first, step.test.start))
        members = {name: Prediction(one.quantile[rows], one.prob_up[rows]) for name, one in said.items()}
        combined = combine(members, Prediction(base.quantile[rows], base.prob_up[rows]), weights)
        quantile[rows], prob_up[rows] = combined.prediction
        listed.append(weights)
    shares = {name: np.stack([weights.member[k] for weights in listed]) for k, name in enumerate(skills)}
    shares[BASE] = np.stack([weights.base for weights in listed])
    return judged_forecasts(ENSEMBLE, seed, Prediction(quantile, prob_up), base, data, plan.rows, shares)


def _skills_before(skills: dict[str, Tally], ts_close: np.ndarray, first: int, row: int) -> dict[str, Skill]:
    """Return the skills shown on judged days whose outcomes are known when the bar ``row`` closes.

    A day counts once all of its forecasts have outcomes: the longest horizon after its end.
    """
    since = day_index(ts_close[first : row + 1])
    reach = int(-(-HORIZONS[-1] * np.median(np.diff(ts_close[first - 1 : row + 1])) // NS_PER_DAY))
    until = max(int(since[-1]) - reach, 0)
    window = slice(max(until - RECORD_DAYS, 0), until)
    return {name: skill_of(sums[window], counts[window]) for name, (sums, counts) in skills.items()}


def single_threaded() -> None:
    """Make this process and all it starts use one thread for arithmetic each; call before numpy's first product."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(name, "1")

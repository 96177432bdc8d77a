"""One training: learners judged on bars they have not seen, weighed by that, learned anew up to the end, and stored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from engine.domain import NS_PER_DAY
from engine.errors import ModelError, WorkstationError
from models.catalogue import ENTRIES, SEEDS, available, build, entry_of
from models.features import feature_hash
from models.forecast import Cancelled, Learnable, Prediction, Progress
from models.judging import Judged
from models.registry import Manifest, Training, hash_of_panel, save_model
from models.set_evidence import judged_set
from models.sets import BASE, ENSEMBLE, EnsembleRecord
from models.splits import EMBARGO_BARS

TRAIN_SHARE, VALID_SHARE = 0.7, 0.1
"""Shares of the bars that are learned from and that decide when to stop; the rest judges, unseen."""

VALID_DAYS = 60
"""The newest days are kept back from the learners that will be used, for stopping, penalties and residuals: as in
``models.walkforward``, which brings the learning libraries and is not imported here; a test holds them equal."""

FEWEST_DAYS_OF_BARS = 160
"""A fifth of them judges, and before 30 judged days nobody can be said to have skill."""
EXPIRES_AFTER_DAYS = 60
FIT_S = {"lstm": 35.0, "transformer": 45.0, "boosting": 5.0}
"""What one fit takes on a core of an AMD EPYC, on two years of ten symbols; the number of bars hardly matters."""
OTHERS_S = 2.5

Report = Callable[[str, float, dict[str, float]], bool]
"""Told which learner is at work, the share of the whole training that is done, and the newest losses with the ``seed``
at work; False cancels."""


class Parts(NamedTuple):
    """Which bars do what; each part lies ``EMBARGO_BARS`` behind the one before, and labels are purged at its end."""

    train: slice  # what is learned from until it is judged
    valid: slice  # decides when to stop, and penalties
    judged: slice  # seen by nobody before
    train_again: slice  # what the learners that will be used learn from
    valid_again: slice  # decides for these


class TrainedSet(NamedTuple):
    """What a training gave."""

    models: dict[str, Any]  # by learner, the base rate among them
    record: EnsembleRecord
    metrics: dict[str, dict[str, dict[str, float]]]  # by learner and for the ensemble, from the judged bars alone
    losses: dict[str, dict[str, float]]
    judged: slice
    failed: dict[str, str]  # learners that did not get through, and why
    found: dict[str, list[Judged]]  # everything about the judged bars, by learner and for the ensemble, over seeds


def forecasters(names: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the learners of a training, the base rate first; by default all that forecast.

    Raises
    ------
    ConfigError
        A name that there is not, or that gives positions and not forecasts.
    """
    wanted = names or tuple(name for name in available() if not ENTRIES[name].is_policy)
    for name in wanted:
        if entry_of(name).is_policy:
            raise ModelError(f"{name} gives positions and not forecasts: it is not part of an ensemble of forecasts")
    return tuple(dict.fromkeys((BASE, *wanted)))


def expected_seconds(names: tuple[str, ...], seeds: int = SEEDS) -> float:
    """Return about how long a training takes, seconds of one core: a fit for each seed, and that of what is used."""
    return sum(FIT_S.get(name, OTHERS_S) * (len(seeds_of(name, 0, seeds)) + 1) for name in names)


def seeds_of(name: str, seed: int, seeds: int) -> range:
    """Return the seeds with which a learner is judged, first that of the one to be used; one if none is random."""
    return range(seed, seed + (seeds if entry_of(name).has_randomness else 1))


def train_set(data: Learnable, names: tuple[str, ...], seed: int, report: Report, seeds: int = SEEDS) -> TrainedSet:
    """Train every learner and find out what each is worth.

    Each learns from the first 70 % of the bars, stops by the next 10 % and is judged by the rest, with several seeds
    where something is random: what one of them shows is partly luck. Then one of its kind learns anew, as every month
    of the walk-forward does it, because it will be used on what follows: from all bars but the newest ``VALID_DAYS``,
    by which it stops (a tenth of the bars where that is less). So what is used has learned from bars that judged its
    like; no figure is taken of it. Nothing starts from a set in force: that one has seen the judged bars.

    Parameters
    ----------
    data : Learnable
    names : tuple of str
        As ``forecasters`` gives them.
    seed : int
        The first, and that of the learners that will be used.
    report : Report
    seeds : int
        How many.

    Returns
    -------
    TrainedSet
        A learner that fails, with any seed, is left out with its reason; the others go on.

    Raises
    ------
    Cancelled
        A person cancelled.
    ModelError
        Too few bars, or the base rate itself could not be learned.
    """
    parts = parts_of(data)
    done, whole = 0.0, expected_seconds(names, seeds)
    models: dict[str, Any] = {}
    said: dict[str, dict[int, Prediction]] = {}
    losses: dict[str, dict[str, float]] = {}
    failed: dict[str, str] = {}
    for name in names:
        cost = expected_seconds((name,), seeds) / whole
        try:
            said[name] = _shown(data, name, parts, seeds_of(name, seed, seeds), (report, done, cost))
            again, at = build(name), len(said[name])
            told = _within(report, name, seed, done + cost * at / (at + 1), cost / (at + 1))
            losses[name] = again.fit(data, parts.train_again, parts.valid_again, seed, told)
            models[name] = kept(again, name)
        except Cancelled:
            raise
        except Exception as error:  # whatever it is, it ends this learner alone
            failed[name] = why_failed(error)
            said.pop(name, None)
        done += cost
    if BASE not in models:
        raise ModelError(f"the base rate could not be learned: {failed.get(BASE)}")
    found = judged_set(data, parts.judged, said, seed)
    return TrainedSet(models, found.record, found.metrics, losses, parts.judged, failed, found.found)


def _shown(
    data: Learnable, name: str, parts: Parts, seeds: range, within: tuple[Report, float, float]
) -> dict[int, Prediction]:
    """Return what a learner says of the judged bars with each seed; ``within``: who is told, begin and share."""
    report, begin, cost = within
    said, part = {}, cost / (len(seeds) + 1)
    for k, seed in enumerate(seeds):
        model = build(name)
        model.fit(data, parts.train, parts.valid, seed, _within(report, name, seed, begin + k * part, part))
        said[seed] = model.predict(data, parts.judged)
    return said


def why_failed(error: Exception) -> str:
    """Return an error as a sentence; one that this program did not foresee is told with its kind."""
    return str(error) if isinstance(error, WorkstationError) else f"{type(error).__name__}: {error}"


def kept(model: Any, name: str) -> Any:
    """Return a fitted model that the registry will take.

    Raises
    ------
    ModelError
        A tensor holds NaN: found here, it costs this one; found when a set is stored, it would cost the set.
    """
    broken = [key for key, value in model.state()[0].items() if value.dtype.kind == "f" and np.isnan(value).any()]
    if broken:
        raise ModelError(f"{name} learned nothing usable: its tensor {broken[0]} holds NaN")
    return model


def parts_of(data: Learnable) -> Parts:
    """Return which bars of a training do what.

    Raises
    ------
    ModelError
        Too few bars.
    """
    ts_close = data.panel.ts_close
    n_bars = len(ts_close)
    days = (ts_close[-1] - ts_close[0]) / NS_PER_DAY if n_bars else 0.0
    if days < FEWEST_DAYS_OF_BARS:
        raise ModelError(
            f"{days:.0f} days of bars are too few to learn from and to be judged by: give at least "
            f"{FEWEST_DAYS_OF_BARS}. Import a data set, or let the engine gather history."
        )
    first, second = round(TRAIN_SHARE * n_bars), round((TRAIN_SHARE + VALID_SHARE) * n_bars)
    newest = int(np.searchsorted(ts_close, ts_close[-1] - VALID_DAYS * NS_PER_DAY, side="right"))
    newest = max(newest, n_bars - round(VALID_SHARE * n_bars))
    return Parts(
        slice(0, first - EMBARGO_BARS), slice(first, second - EMBARGO_BARS), slice(second, n_bars),
        slice(0, newest - EMBARGO_BARS), slice(newest, n_bars),
    )  # fmt: skip


def _within(report: Report, name: str, seed: int, begin: float, share: float) -> Progress:
    return lambda done, losses: report(name, begin + share * done, {**losses, "seed": float(seed)})


def store_set(
    home: Path, data: Learnable, trained: TrainedSet, version: str, interval: str, seed: int, ts_now: int
) -> Manifest:
    """Write a set to the registry; the ensemble comes last, so that a set without one is not a set.

    Parameters
    ----------
    home : Path
        The data folder.
    data : Learnable
    trained : TrainedSet
    version : str
    interval : str
        Length of the bars, such as ``1h``.
    seed : int
    ts_now : int, ns

    Returns
    -------
    Manifest
        The ensemble's.
    """
    ts_close = data.panel.ts_close
    common: dict[str, Any] = {
        "version": version, "interval": interval, "symbols": data.panel.symbols, "ts_first": int(ts_close[0]),
        "ts_last": int(ts_close[-1]), "data_hash": hash_of_panel(data.panel, slice(None)),
        "features_hash": feature_hash(), "seed": seed, "ts_trained": ts_now,
        "ts_expires": ts_now + EXPIRES_AFTER_DAYS * NS_PER_DAY,
    }  # fmt: skip
    failures = "; ".join(f"{name} failed: {why}" for name, why in trained.failed.items()) or "none in training"
    for name, model in trained.models.items():
        _store(home, model, name, trained.metrics.get(name, {}), entry_of(name).said, "", common)
    return _store(
        home, trained.record, ENSEMBLE, trained.metrics[ENSEMBLE], "wishes beside the trend rule, by what it earned",
        failures, common,
    )  # fmt: skip


def _store(
    home: Path, model: Any, name: str, metrics: dict[str, dict[str, float]], use: str, failures: str,
    common: dict[str, Any],
) -> Manifest:  # fmt: skip
    training = Training(name=name, kind=name, metrics=metrics, intended_use=use, known_failures=failures, **common)
    return save_model(home, model, training)


__all__ = [
    "Cancelled", "Parts", "Report", "TrainedSet", "expected_seconds", "forecasters", "kept", "parts_of", "store_set",
    "train_set", "why_failed",
]  # fmt: skip

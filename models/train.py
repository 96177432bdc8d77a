"""From files of bars to a stored set with a role: what the command line and the engine's training runs call."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from engine.domain import INTERVAL_S, NS_PER_S
from engine.errors import DataError, ModelError
from engine.research.loading import BarTable, cut, funding_file, load_bars, nanoseconds
from models.beside import AGENTS, Beside, store_beside, train_beside, wanted_of
from models.catalogue import ENTRIES, SEEDS
from models.dataset import learnable
from models.features import feature_hash
from models.fit import (
    TRAIN_SHARE,
    VALID_SHARE,
    Report,
    TrainedSet,
    expected_seconds,
    store_set,
    train_set,
    why_failed,
)
from models.forecast import Cancelled, Learnable, Panel
from models.panel import Series, panel_from_bars
from models.registry import Manifest, load_model, read_manifest
from models.roles import enter, promote, read_roles
from models.set_evidence import training_evidence, with_results, write_evidence
from models.sets import BASE, ENSEMBLE, list_sets, load_set
from models.shown import why_share

INTERVAL = "1h"
ENOUGH_FUNDING = 0.5
FROM_START = 0.02
"""Share of a training that the inputs take."""

UNTIL_JUDGED = 0.96
"""Share after which only the tables are left to be worked out."""


class TrainRequest(NamedTuple):
    """What to train, and on what."""

    data: Path
    names: tuple[str, ...]  # forecasters and agents; empty for all of both
    symbols: tuple[str, ...] = ()
    start: str | None = None
    end: str | None = None
    funding: Path | None = None
    seed: int = 0
    seeds: int = SEEDS
    reason: str = ""
    actor: str = ""


def load_learnable(request: TrainRequest) -> Learnable:
    """Read the bars and the funding, and work out inputs and targets.

    Raises
    ------
    DataError
        Files that cannot be read, or bars of another length than an hour.
    """
    bars = load_bars(request.data, request.symbols)
    if bars.interval_s != INTERVAL_S[INTERVAL]:
        raise DataError(
            f"the bars of {request.data.name} are {bars.interval_s} s long; models learn from bars of "
            f"{INTERVAL_S[INTERVAL]} s: give hourly candles"
        )
    bars = cut(bars, _moment(request.start), _moment(request.end))
    return learnable(with_enough_funding(panel_from_bars(bars, _funding(request.funding, bars))))


def with_enough_funding(panel: Panel) -> Panel:
    """Return a panel without its funding where fewer than half of its bars know one.

    Where it is unknown, inputs made of it are 0. Whoever has mostly seen zeros learns nothing of rates, and must not be
    shown any later, which a set without funding among its inputs is not (``models.live_set``).
    """
    priced = np.isfinite(panel.close_px)
    known = float((np.isfinite(panel.funding) & priced).sum()) / max(float(priced.sum()), 1.0)
    return panel if known >= ENOUGH_FUNDING else panel._replace(funding=np.full(panel.funding.shape, np.nan))


def train_and_store(home: Path, request: TrainRequest, ts_now: int, report: Report) -> dict[str, Any]:
    """Train a set, keep it and give it its role; return what ``described_set`` says of it.

    Parameters
    ----------
    home : Path
        The data folder.
    request : TrainRequest
    ts_now : int, ns
        Names the set and begins its life.
    report : Report

    Raises
    ------
    Cancelled
        Nothing was kept.
    DataError, ModelError
        Likewise, with what to do.
    """
    data = load_learnable(request)
    report("inputs", FROM_START, {})
    wanted = wanted_of(request.names, request.seeds)
    share = UNTIL_JUDGED * expected_seconds(wanted.forecasters, wanted.seeds) / wanted.seconds
    trained = train_set(data, wanted.forecasters, request.seed, _part(report, FROM_START, share), wanted.seeds)
    beside = train_beside(data, wanted.agents, request.seed, _part(report, share, UNTIL_JUDGED), wanted.seeds)
    if not report("evidence", UNTIL_JUDGED, {}):
        raise Cancelled
    failed, result = trained.failed | beside.failed, None
    try:
        result = training_evidence(
            data, trained.judged, trained.found | beside.found, failed, trained.record.weights, wanted.seeds
        )
        trained, beside = _with_results(trained, beside, result)
    except Exception as error:  # tables are no reason to lose what has been learned
        failed |= {"evidence": why_failed(error)}
    version = time.strftime("%Y%m%d-%H%M%S", time.gmtime(ts_now / NS_PER_S))
    store_beside(home, data, beside, version, request.seed, ts_now)
    store_set(home, data, trained, version, INTERVAL, request.seed, ts_now)
    _give_role(home, version, ts_now, request)
    written, problem = _written(home, version, result)
    return described_set(home, version) | {"failed": failed | problem, "losses": _plain(trained), "written": written}


def _with_results(trained: TrainedSet, beside: Beside, result: dict[str, Any]) -> tuple[TrainedSet, Beside]:
    """Return what is to be stored, with each one's net Sharpe ratio among its metrics."""
    metrics = {name: with_results(own, result, name) for name, own in trained.metrics.items()}
    own = beside.metrics
    if own:
        own = with_results(own, result, AGENTS)
        for name in beside.found:
            own = own if name == AGENTS else with_results(own, result, name, f"{name}_net_sharpe")
    return trained._replace(metrics=metrics), beside._replace(metrics=own)


def _written(home: Path, version: str, result: dict[str, Any] | None) -> tuple[str | None, dict[str, str]]:
    """Write the evidence beside the set's manifest; return where, or why not."""
    if result is None:
        return None, {}
    try:
        return str(write_evidence(home / "models" / ENSEMBLE / version, result)), {}
    except OSError as error:  # the manifest has the figures
        return None, {"evidence": f"its tables could not be written: {error}"}


def _give_role(home: Path, version: str, ts_now: int, request: TrainRequest) -> None:
    """Let the set challenge the one in force, or put it into force where that one can no longer be used."""
    champion = read_roles(home).champion
    enter(home, version, ts_now, request.reason, request.actor)
    if champion is None:
        return
    try:
        load_set(home, champion, feature_hash(), ts_now)
    except ModelError as error:  # with nobody in force there is nobody to be compared with
        promote(home, version, ts_now, f"the set in force cannot be used: {error}", request.actor)


def run(
    request: dict[str, Any], report: Callable[[float], None], stop: Callable[[], bool], note: Callable[..., None]
) -> tuple[dict[str, Any], dict[str, float]]:
    """Train as a run of the engine; return the set as ``described_set`` says it, and its members' weights.

    Notes are ``{"name", "seed", "share", "step", "train", "valid"}``: the learner at work, and points of its curve.
    """
    wanted = TrainRequest(
        data=Path(request["path"]), names=tuple(request["models"]), symbols=tuple(request["symbols"]),
        start=request["start"], end=request["end"],
        funding=None if request["funding"] is None else Path(request["funding"]), seed=request["seed"],
        seeds=request["seeds"], reason=request["reason"], actor=request["actor"],
    )  # fmt: skip
    steps: dict[tuple[str, int], int] = {}

    def told(name: str, share: float, losses: dict[str, float]) -> bool:
        report(share)
        seed = int(losses.get("seed", wanted.seed))
        steps[name, seed] = step = steps.get((name, seed), 0) + 1
        if len(losses) > 1 or step == 1:
            note({
                "name": name, "seed": seed, "share": share, "step": step, "train": _loss(losses, "train"),
                "valid": _loss(losses, "valid"),
            })  # fmt: skip
        return not stop()

    try:
        answer = train_and_store(Path(request["home"]), wanted, time.time_ns(), told)
    except Cancelled:
        return {}, {}
    return answer, answer["weights"]


def _loss(losses: dict[str, float], part: str) -> float | None:
    """Return the sum of a part's two losses, None where it was not told."""
    found = [value for key, value in losses.items() if key.startswith(part) and np.isfinite(value)]
    return float(sum(found)) if found else None


def listed_sets(home: Path) -> list[dict[str, Any]]:
    """Return every set, newest first: version, role, dates, symbols, each member's mean weight in the forecast over
    horizons, and the ``share`` of a decision with ``why_share``.
    """
    roles = read_roles(home)
    return [_row(home, manifest, roles) for manifest in reversed(list_sets(home))]


def described_set(home: Path, version: str) -> dict[str, Any]:
    """Return one set with a row for each member: ``name``, ``said`` use, ``metrics`` and ``weight``.

    Raises
    ------
    ModelError
        There is no such set.
    """
    manifest = read_manifest(home, ENSEMBLE, version)
    row = _row(home, manifest, read_roles(home))
    members = []
    agents = (AGENTS,) if (home / "models" / AGENTS / version).is_dir() else ()
    for name in (BASE, *row["weights"], ENSEMBLE, *agents):
        try:
            metrics, trouble = read_manifest(home, name, version).metrics, None
        except ModelError as error:
            metrics, trouble = {}, str(error)
        members.append({
            "name": name, "metrics": metrics, "trouble": trouble,
            "weight": metrics["share"]["mean"] if name == AGENTS and metrics else row["weights"].get(name),
        })  # fmt: skip
    span = manifest.ts_last - manifest.ts_first
    judged = manifest.ts_first + int((TRAIN_SHARE + VALID_SHARE) * span)
    return row | {"models": members, "ts_judged": judged, "failed": {}}


def retirable(home: Path, name: str) -> str:
    """Return what a name stands for, ``Set`` or ``Learner``.

    Raises
    ------
    ModelError
        Neither, or the base rate, without which a set says nothing.
    """
    if name == BASE:
        raise ModelError("the base rate cannot be retired: without it a set says nothing. Retire the set instead.")
    if name in ENTRIES:
        return "Learner"
    versions = [manifest.version for manifest in list_sets(home)]
    if name not in versions:
        raise ModelError(
            f"there is no set and no learner {name!r}; sets are {', '.join(versions) or 'none yet'}, and learners "
            f"{', '.join(ENTRIES)}"
        )
    return "Set"


def _row(home: Path, manifest: Manifest, roles: Any) -> dict[str, Any]:
    # what a set weighs may be looked at however old it is, and whatever inputs it learned on
    record = load_model(home, ENSEMBLE, manifest.version, manifest.features_hash, manifest.ts_trained).model
    weights = {name: float(np.mean(record.weights.member[k])) for k, name in enumerate(record.weights.names)}
    role = {roles.champion: "champion", roles.challenger: "challenger"}.get(manifest.version, "retired")
    return {
        "version": manifest.version, "role": role, "symbols": list(manifest.symbols), "interval": manifest.interval,
        "ts_first": manifest.ts_first, "ts_last": manifest.ts_last, "ts_trained": manifest.ts_trained,
        "ts_expires": manifest.ts_expires, "seed": manifest.seed, "weights": weights,
        "share": manifest.metrics.get("share", {}).get("mean", 0.0), "why_share": why_share(manifest.metrics),
    }  # fmt: skip


def _part(report: Report, begin: float, end: float) -> Report:
    return lambda name, share, losses: report(name, begin + (end - begin) * share, losses)


def _plain(trained: TrainedSet) -> dict[str, dict[str, float]]:
    """Return the losses that JSON can hold: NaN says nothing."""
    return {
        name: {key: float(value) for key, value in losses.items() if np.isfinite(value)}
        for name, losses in trained.losses.items()
    }


def _moment(day: str | None) -> int | None:
    if day is None:
        return None
    try:
        return int(np.datetime64(day, "ns").astype(np.int64))
    except ValueError as error:
        raise DataError(f"{day!r} is not a day; write it as 2024-12-31") from error


def _funding(folder: Path | None, bars: BarTable) -> dict[str, Series]:
    found: dict[str, Series] = {}
    if folder is None:
        return found
    for symbol in bars.symbols:
        file = funding_file(folder, symbol)
        if file is not None:
            table = pq.read_table(file)
            ts = nanoseconds(table.column("timestamp"), file.name)
            found[symbol] = Series(ts, table.column("rate").to_numpy().astype(np.float64))
    return found

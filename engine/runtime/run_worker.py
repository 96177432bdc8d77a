"""The process of one run: it does the work, sends progress and sends one outcome."""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import structlog

log = structlog.get_logger("jobs")

CURVE_POINTS = 4000  # a screen shows no more
SWEEP_FIGURES = (
    "in_sample_sharpe", "out_of_sample_sharpe", "sharpe", "total_return", "max_drawdown", "final_equity",
)  # fmt: skip
COMMON = ("funding", "strategy", "params", "start", "end", "cash", "costs")
MORE = {
    "sweep": ("grid", "n_random", "seed", "choose_by"),
    "walkforward": (
        "grid", "n_random", "seed", "choose_by", "train_days", "test_days", "anchored", "purge_days", "embargo_days",
    ),
}  # fmt: skip

Report = Callable[[float], None]
Note = Callable[[dict[str, Any]], None]
"""Takes something to keep with the run while it goes on, such as a point of a learning curve."""


def _fields(kind: str, request: dict[str, Any]) -> dict[str, Any]:
    wanted = {name: request[name] for name in (*COMMON, *MORE.get(kind, ())) if request[name] is not None}
    found = wanted | {"data": request["path"], "symbols": tuple(request["symbols"])}
    found |= {"home": Path(request["home"])}  # the engine's own: one count of trials, and its certificates
    if kind in MORE:
        found |= {"folder": Path(request["folder"]), "backend": request["backend"], "address": request["address"]}
    return found


def _backtest(request: dict[str, Any], report: Report, stop: Callable[[], bool]) -> tuple[dict[str, Any], Any]:
    from engine.research.backtest import BacktestConfig, run_backtest

    found = run_backtest(BacktestConfig(**_fields("backtest", request)), report, stop).to_json(CURVE_POINTS)
    return found, found["metrics"]


def _sweep(request: dict[str, Any], report: Report, stop: Callable[[], bool]) -> tuple[dict[str, Any], Any]:
    from engine.research.sweep import SweepConfig, run_sweep

    found = run_sweep(SweepConfig(**_fields("sweep", request)), report, stop).to_json()
    best = found["best_row"] or {}
    chosen = {name: best.get(name) for name in SWEEP_FIGURES}
    told = {"n_trials": found["n_trials"], "trials": found["trials"], "params": best.get("params")}
    return found, chosen | told | {"deflated_sharpe": found["deflated_sharpe"]["value"], "pbo": found["pbo"]["value"]}


def _walk_forward(request: dict[str, Any], report: Report, stop: Callable[[], bool]) -> tuple[dict[str, Any], Any]:
    from engine.research.walkforward import WalkForwardConfig, run_walk_forward

    config = WalkForwardConfig(**_fields("walkforward", request))
    found = run_walk_forward(config, report, stop).to_json(CURVE_POINTS)
    told = {"n_folds": len(found["folds"]), "trials": found["trials"]}
    return found, found["metrics"] | told | {"deflated_sharpe": found["deflated_sharpe"]["value"]}


def _portfolio(request: dict[str, Any], report: Report, stop: Callable[[], bool]) -> tuple[dict[str, Any], Any]:
    from engine.errors import DataError
    from engine.research.sleeve_report import sleeve_report

    def pace(share: float) -> None:
        report(share)
        if stop():
            raise DataError("cancelled before it was finished")

    found = sleeve_report(
        request["bars"], request["rates"], request["risk_params"], request["own"], pace, request["cost"]
    )
    return found, {"days": found["days"]}


def _elsewhere(
    request: dict[str, Any], report: Report, stop: Callable[[], bool], note: Note
) -> tuple[dict[str, Any], Any]:
    """Run what the engine was given as ``module:function`` for this kind: it must not know it itself."""
    module, _, function = request["worker"].partition(":")
    found: tuple[dict[str, Any], Any] = getattr(importlib.import_module(module), function)(request, report, stop, note)
    return found


WORK = {"backtest": _backtest, "sweep": _sweep, "walkforward": _walk_forward, "portfolio": _portfolio}


def work(kind: str, request: dict[str, Any], sender: Connection, cancelled: Event) -> None:
    """Run one thing in this process and send its outcome; a person reads the error, so it is one sentence.

    An engine that is gone ends the run at its next report.
    """
    from engine.errors import WorkstationError

    sent_at = 0.0

    def note(said: dict[str, Any]) -> None:
        sender.send(("note", said))

    def progress(share: float) -> None:
        nonlocal sent_at
        if time.monotonic() - sent_at > 0.1:
            sent_at = time.monotonic()
            sender.send(("progress", share))

    try:
        if kind in WORK:
            result, metrics = WORK[kind](request, progress, cancelled.is_set)
        else:
            result, metrics = _elsewhere(request, progress, cancelled.is_set, note)
        payload = {"result": json.dumps(result, allow_nan=False), "metrics": json.dumps(metrics)}
        sender.send(("cancelled", {}) if cancelled.is_set() else ("done", payload))
    except (WorkstationError, ValueError) as error:
        sender.send(("cancelled", {"error": str(error)}) if cancelled.is_set() else ("failed", {"error": str(error)}))
    except BrokenPipeError:
        log.warning("the engine is gone, the run ends", kind=kind)
    except Exception as error:
        log.exception("run failed")
        sender.send(("failed", {"error": f"{type(error).__name__}: {error}"}))
    finally:
        sender.close()

"""The capital ladder: paper, minimum size, a tenth, full. A rung is reached by evidence on the record, or by override.

``capital_share`` is the fraction of the configured limits that live trading may use. It is worked out from the record
each time, so evidence that has gone stale takes capital away as surely as new evidence gives it.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from engine.domain import NS_PER_DAY, Mode
from engine.errors import CommandRefused, ConfigError
from engine.research import certificate, verdicts
from engine.runtime.drift import drift_verdict
from engine.runtime.drills import drill_verdict
from engine.runtime.evidence import both, of_mode
from engine.settings import SystemConfig
from storage.database import Database

MAX_BAD_RECONCILES = 0.01
MAX_DRAWDOWN_USED = 0.5  # of the drawdown limit
MIN_REASON = 20
OVERRIDE_KEY = "ladder.override"


class Rung(NamedTuple):
    """A step of the ladder: its share of the configured limits and what must have been shown before."""

    name: str
    title: str
    share: float
    paper_days: int
    live_days: int
    needs_drift: bool


LADDER = (
    Rung("paper", "Paper", 0.0, 0, 0, False),
    Rung("minimum", "Minimum size", 0.01, 7, 0, False),
    Rung("tenth", "10 %", 0.10, 14, 7, True),
    Rung("full", "Full", 1.0, 30, 30, True),
)
RUNGS = {rung.name: index for index, rung in enumerate(LADDER)}


class Evidence(NamedTuple):
    """What the record shows of the strategy in force; NaN is unknown."""

    strategy: str
    paper_days: int  # UTC days with at least one decision of this strategy
    live_days: int
    reconciles: int
    bad_reconciles: int  # comparisons that found a difference
    max_drawdown: float  # fraction of peak
    drawdown_limit: float
    drill_ok: bool
    drill_detail: str
    parity_ok: bool
    parity_detail: str
    backtest_ok: bool
    backtest_detail: str
    drift_ok: bool
    drift_detail: str


def evidence(store: Database, now_ns: int) -> Evidence:
    """Gather what the record of this data folder shows, paper and live together."""
    config = SystemConfig.model_validate(_known(store.recall("config", {})))
    began = now_ns - 90 * NS_PER_DAY
    days = "SELECT count(DISTINCT ts_decided // ?) AS n FROM decisions WHERE strategy = ? AND ts_decided >= ?"
    compared = both(
        store,
        "SELECT count(*) AS n, count(*) FILTER (value > 0) AS bad FROM metrics WHERE name = 'reconcile' AND ts >= ?",
        [began],
    )
    falls = [row["fall"] for row in both(store, "SELECT max(drawdown) AS fall FROM equity WHERE ts >= ?", [began])]
    known_falls = [fall for fall in falls if fall is not None]
    drill_ok, drill_detail = drill_verdict(store, now_ns)
    parity_ok, parity_detail = parity(store.path.parent, config)
    backtest_ok, backtest_detail = verdicts.standing(store.path.parent, config)
    drift_ok, drift_detail = drift_verdict(store, config.strategy, now_ns)
    return Evidence(
        config.strategy,
        sum(r["n"] for r in of_mode(store, Mode.PAPER, days, [NS_PER_DAY, config.strategy, began])),
        sum(r["n"] for r in of_mode(store, Mode.LIVE, days, [NS_PER_DAY, config.strategy, began])),
        sum(row["n"] for row in compared),
        sum(row["bad"] for row in compared),
        max(known_falls, default=math.nan),
        config.max_total_drawdown,
        drill_ok, drill_detail, parity_ok, parity_detail, backtest_ok, backtest_detail, drift_ok, drift_detail,
    )  # fmt: skip


def parity(home: Path, config: SystemConfig) -> tuple[bool, str]:
    """Return whether the version in force has a certificate of this folder that passed, and the sentence that says why.

    A version is the strategy's source, its own parameters and the code that decides; limits are not part of it.
    """
    try:
        version = certificate.version_now(home, config)["version"]
        found = certificate.read(home, version)
    except ConfigError as error:
        return False, f"{error}."
    if found is None:
        return False, (
            f"This version of {config.strategy} ({version[:8]}) has no certificate: make one on the Health page or "
            "with python -m engine certify. It takes a minute or several."
        )
    if found["status"] != "pass":
        first = (found.get("sentences") or ["no difference was named"])[0]
        return False, f"Backtest, paper and live did not decide alike: {first}."
    return True, f"{found['decisions']} decisions alike to the bit, version {version[:8]}."


def conditions(rung: Rung, found: Evidence) -> list[dict[str, Any]]:
    """Return a rung's conditions as ``name``, ``ok`` and ``detail``."""
    if rung.share == 0.0:
        return []
    bad_share = found.bad_reconciles / found.reconciles if found.reconciles else math.nan
    allowed_fall = found.drawdown_limit * MAX_DRAWDOWN_USED
    checks = [
        _check(
            "Paper days", found.paper_days >= rung.paper_days,
            f"{found.paper_days} of {rung.paper_days} days with decisions of {found.strategy} in the last 90.",
        ),
        _check(
            "Books agree", bad_share <= MAX_BAD_RECONCILES,
            f"{found.bad_reconciles} of {found.reconciles} comparisons with the venue found a difference; "
            f"{MAX_BAD_RECONCILES:.0%} is the limit." if found.reconciles else "Never compared with the venue yet.",
        ),
        _check(
            "Drawdown", found.max_drawdown <= allowed_fall,
            f"Largest fall {found.max_drawdown:.2%}; {allowed_fall:.2%} is the limit (half of the drawdown limit)."
            if math.isfinite(found.max_drawdown) else "No equity on the record yet.",
        ),
        _check("Drill", found.drill_ok, found.drill_detail),
        _check("Parity", found.parity_ok, found.parity_detail),
        _check("Backtest", found.backtest_ok, found.backtest_detail),
    ]  # fmt: skip
    if rung.live_days:
        detail = f"{found.live_days} of {rung.live_days} days with live decisions."
        checks.append(_check("Live days", found.live_days >= rung.live_days, detail))
    if rung.needs_drift:
        checks.append(_check("Drift", found.drift_ok, found.drift_detail))
    return checks


def ladder(store: Database, now_ns: int) -> dict[str, Any]:
    """Return the ladder as the screen shows it.

    Returns
    -------
    dict
        ``rung`` (name), ``share`` (0 to 1), ``rungs`` (each with name, title, share, conditions, reached, by_override)
        and ``overrides``, newest first.
    """
    found, given = evidence(store, now_ns), override_in_force(store)
    allowed_to = RUNGS.get(given["rung"], 0) if given else 0
    rows, climbing, highest = [], True, 0
    for index, rung in enumerate(LADDER):
        checks = conditions(rung, found)
        climbing = climbing and all(check["ok"] for check in checks)
        if climbing or index <= allowed_to:
            highest = index
        rows.append({
            "name": rung.name, "title": rung.title, "share": rung.share, "conditions": checks,
            "reached": climbing or index <= allowed_to, "by_override": not climbing and index <= allowed_to,
        })  # fmt: skip
    return {"rung": LADDER[highest].name, "share": LADDER[highest].share, "rungs": rows, "overrides": overrides(store)}


def capital_share(store: Database, now_ns: int | None = None) -> float:
    """Return the fraction of the configured limits that live trading may use: 0, 0.01, 0.1 or 1. Paper always has 1."""
    return float(ladder(store, time.time_ns() if now_ns is None else now_ns)["share"])


def at_share(config: SystemConfig, share: float) -> SystemConfig:
    """Return the settings with everything that sizes scaled: volatility target, caps and the band of no trade."""
    if share == 1.0:
        return config
    names = ("volatility_target", "max_symbol_weight", "max_gross_weight", "rebalance_band", "max_net_weight",
             "max_cluster_weight", "max_cvar", "max_stress_loss", "kelly_fraction")  # fmt: skip
    # not validated: a share of 0 is outside the ranges that a person may set, and means that nothing may be opened
    return config.model_copy(update={name: getattr(config, name) * share for name in names})


def override(store: Database, rung: str, reason: str, actor: str) -> None:
    """Allow live trading up to a rung without its evidence, or withdraw that with ``paper``. Goes into the audit chain.

    Raises
    ------
    CommandRefused
        No such rung, or a reason too short to be one.
    """
    if rung not in RUNGS:
        raise CommandRefused(f"There is no rung {rung!r}. There are {', '.join(RUNGS)}.")
    reason = reason.strip()
    if len(reason) < MIN_REASON:
        raise CommandRefused(
            f"An override needs a reason of at least {MIN_REASON} characters; this one has {len(reason)}. It is kept."
        )
    audited = store.audit(actor, OVERRIDE_KEY, {"rung": rung, "reason": reason})
    store.remember(OVERRIDE_KEY, {"rung": rung, "reason": reason, "actor": actor}).result(10)
    audited.result(10)


def override_in_force(store: Database) -> dict[str, Any] | None:
    """Return the newest override of either record; None when there is none or it was withdrawn."""
    rows = both(store, "SELECT value, ts FROM settings WHERE key = ?", [OVERRIDE_KEY])
    if not rows:
        return None
    newest = max(rows, key=lambda row: int(row["ts"]))
    given = dict(json.loads(newest["value"])) | {"ts": newest["ts"]}
    return None if given["rung"] == LADDER[0].name else given


def overrides(store: Database) -> list[dict[str, Any]]:
    """Return every override ever made, newest first: ``ts, actor, rung, reason``."""
    rows = both(store, "SELECT ts, actor, detail FROM audit WHERE action = ?", [OVERRIDE_KEY])
    made = [json.loads(row["detail"]) | {"ts": row["ts"], "actor": row["actor"]} for row in rows]
    return sorted(made, key=lambda row: -int(row["ts"]))


def _known(stored: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in stored.items() if name in SystemConfig.model_fields}


def _check(name: str, ok: bool, detail: str) -> dict[str, Any]:
    return {"name": name, "ok": bool(ok), "detail": detail}


class Capital:
    """Applies the ladder to the settings of a running engine: live uses the rung's share, paper all of it.

    Parameters
    ----------
    mode : Mode
    store : Database
    now : callable returning ns
    """

    def __init__(self, mode: Mode, store: Database, now: Callable[[], int]) -> None:
        self._mode, self._store, self._now = mode, store, now
        self.share = self._measured()

    def _measured(self) -> float:
        return capital_share(self._store, self._now()) if self._mode == Mode.LIVE else 1.0

    def changed(self) -> bool:
        """Work the share out again and return whether it differs from the one in use."""
        before, self.share = self.share, self._measured()
        return before != self.share

    def limited(self, config: SystemConfig) -> SystemConfig:
        """Return the settings as they size orders now."""
        return at_share(config, self.share)

"""The checklist before live trading. Every item must be green; what this version cannot do stays red and says so."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from engine.domain import NS_PER_DAY

if TYPE_CHECKING:
    from engine.runtime.engine import Engine

DRILL_DAYS = 30
CLOCK_LIMIT_MS = 2_000.0


def credentials_present() -> bool:
    """Return whether the environment names an account that can sign."""
    own = bool(os.environ.get("ASTER_PRIVATE_KEY"))
    agent = bool(os.environ.get("ASTER_SIGNER_KEY") and os.environ.get("ASTER_USER"))
    return own or agent


def offline_items() -> list[dict[str, Any]]:
    """Return the items that need no running engine."""
    return [
        _item(
            "Credentials",
            credentials_present(),
            "Found in the environment."
            if credentials_present()
            else "Set ASTER_SIGNER_KEY and ASTER_USER (an agent key without withdrawal right), or ASTER_PRIVATE_KEY.",
        ),
        _item("Encrypted vault", False, "Not available in this version: keys can only come from the environment."),
        _item("Two-factor code", False, "Not available in this version: live trading cannot be armed without it."),
        _item(
            "Verified on the real venue",
            False,
            "This version has been run against the practice exchange only; see docs/sandbox.md.",
        ),
    ]


async def arming_checklist(engine: Engine) -> dict[str, Any]:
    """Return ``items`` with name, ok and detail, and ``ready`` when all are green."""
    loop, skew_ms = engine.loop, engine.clock_skew_ms
    config = loop.config
    last = loop.reconciler.last
    drills = loop.store.rows("SELECT max(ts) AS ts FROM metrics WHERE name = 'time_to_flat_s'")[0]["ts"]
    drill_age = None if drills is None else (loop.clock.now() - drills) / NS_PER_DAY
    items = [
        *offline_items(),
        _item(
            "Clock",
            abs(skew_ms) < CLOCK_LIMIT_MS,
            f"Off by {skew_ms:+.0f} ms; {CLOCK_LIMIT_MS:.0f} ms is the limit.",
        ),
        _item("Books reconciled", last is not None and last.ok, "Not compared yet." if last is None else last.message),
        _item(
            "Record writable", loop.storage_trouble is None, loop.storage_trouble or "The last write reached the disk."
        ),
        _item("Protective stops on", config.use_protective_stops, "Set on the Settings page."),
        _item(
            "Loss limits on",
            loop.config.use_gate_daily_loss and loop.config.use_gate_drawdown,
            "Daily loss and drawdown.",
        ),
        _item(
            "Flatten rehearsed",
            drill_age is not None and drill_age < DRILL_DAYS,
            "Flatten has never been used here: press it once in paper mode."
            if drill_age is None
            else f"Last flatten {drill_age:.1f} days ago; {DRILL_DAYS} days is the limit.",
        ),
    ]
    return {"items": items, "ready": all(item["ok"] for item in items)}


def _item(name: str, ok: bool, detail: str) -> dict[str, Any]:
    return {"name": name, "ok": ok, "detail": detail}

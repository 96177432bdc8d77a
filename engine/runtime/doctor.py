"""Self-checks, each with what to do when it is red."""

from __future__ import annotations

import asyncio
import importlib.metadata
import math
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from engine.domain import NS_PER_DAY, NS_PER_S
from engine.errors import VenueError
from engine.runtime.model_host import LOADING, NONE_IN_FORCE, ModelHost

if TYPE_CHECKING:
    from engine.runtime.engine import Engine

MIN_FREE_GB = 1.0
MIN_MEMORY_GB = 1.0
STALE_H = 2.1  # an answer comes every hour
PACKAGES = ("ccxt", "duckdb", "numba", "pyarrow", "streamlit")


def local_checks(home: Path) -> list[dict[str, Any]]:
    """Return the checks that need no running engine."""
    home.mkdir(parents=True, exist_ok=True)
    free_gb = shutil.disk_usage(home).free / 1e9
    memory_gb = psutil.virtual_memory().available / 1e9
    versions = ", ".join(f"{name} {_version(name)}" for name in PACKAGES)
    missing = [name for name in PACKAGES if _version(name) == "missing"]
    return [
        _check("Python", sys.version_info >= (3, 11), f"{sys.version.split()[0]}; 3.11 or newer is needed."),
        _check("Packages", not missing, versions + (": run make run to install." if missing else "")),
        _check("Disk", free_gb > MIN_FREE_GB, f"{free_gb:.1f} GB free for {home}; {MIN_FREE_GB:.0f} GB is the least."),
        _check(
            "Memory", memory_gb > MIN_MEMORY_GB, f"{memory_gb:.1f} GB available; {MIN_MEMORY_GB:.0f} GB is the least."
        ),
        _check(
            "Chart library",
            chart_library() is not None,
            "Installed." if chart_library() else "Run: python scripts/fetch_assets.py",
        ),
    ]


def chart_library() -> Path | None:
    """Return the chart library's file when it has been installed."""
    found = Path(__file__).resolve().parents[2] / "app/components/frontend/vendor/lightweight-charts.mjs"
    return found if found.exists() else None


async def doctor(engine: Engine) -> dict[str, Any]:
    """Return every check of a running engine: ``{"checks": [{"name", "ok", "detail"}]}``."""
    loop = engine.loop
    checks = await asyncio.to_thread(local_checks, loop.store.path.parent)
    try:
        await engine.venue.server_time_ms()
        reach = _check("Venue reachable", True, "It answered just now.")
    except VenueError as trouble:
        reach = _check("Venue reachable", False, str(trouble))
    skew = engine.clock_skew_ms
    last = loop.reconciler.last
    checks += [
        reach,
        _check("Clock", math.isfinite(skew) and abs(skew) < 2000, _skew(skew)),
        _check("Record", loop.storage_trouble is None, loop.storage_trouble or "The last write reached the disk."),
        _check(
            "Market stream", _up(loop, "market"), "Events arrive." if _up(loop, "market") else "No events: see the log."
        ),
        _check(
            "Account stream",
            _up(loop, "account"),
            "Connected." if _up(loop, "account") else "Not connected: see the log.",
        ),
        _check("Books", last is not None and last.ok, "Not compared yet." if last is None else last.message),
        _check(
            "Orders in doubt",
            not any(o.status == "UNKNOWN" for o in loop.executor.orders.values()),
            "Looked up until the venue has answered.",
        ),
    ]
    if loop.models is not None:
        checks.append(models_check(loop.models, loop.clock.now()))
    return {"checks": checks}


def models_check(host: ModelHost, ts_now: int) -> dict[str, Any]:
    """Return whether trained models run: which set, how old its training and its newest answer are."""
    if not host.is_trained:
        return _check("Models", True, "None has been trained yet: the Insights page offers a training.")
    loaded = host.loaded
    if loaded is None or host.trouble is not None:
        return _check("Models", host.trouble in (None, LOADING, NONE_IN_FORCE), host.trouble or LOADING)
    days = (ts_now - loaded["ts_trained"]) / NS_PER_DAY
    left = (loaded["ts_expires"] - ts_now) / NS_PER_DAY
    said = f"Set {loaded['version']}, trained {days:.1f} days ago"
    if left <= 0.0:
        return _check("Models", False, f"{said}, has expired and is not used: train again.")
    if host.latest is None:
        return _check("Models", True, f"{said}; no hour has been answered yet.")
    hours = max(ts_now - host.latest["ts_close"], 0) / NS_PER_S / 3_600
    if hours > STALE_H:
        return _check("Models", False, f"{said}; the newest answer is {hours:.1f} h old: see the log.")
    out = host.latest.get("left_out") or {}
    without = f" Left out: {'; '.join(f'{name} ({why})' for name, why in out.items())}." if out else ""
    return _check("Models", True, f"{said}, expires in {left:.0f} days; newest answer {hours:.1f} h old.{without}")


def _up(loop: Any, stream: str) -> bool:
    state = loop.streams.get(stream)
    return state is not None and bool(state.up)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def _check(name: str, ok: bool, detail: str) -> dict[str, Any]:
    return {"name": name, "ok": bool(ok), "detail": detail}


def _skew(ms: float) -> str:
    whole = "0" if abs(ms) < 0.5 else f"{ms:+.0f}"
    return f"{whole} ms against the venue; NTP cures it."

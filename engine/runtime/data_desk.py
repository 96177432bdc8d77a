"""What the Data page asks for: data sets and their findings, previews, and work on them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from engine.datasets import store
from engine.datasets.arriving import discard, unfinished
from engine.datasets.findings import Severity
from engine.datasets.importing import preview
from engine.datasets.repair import REPAIRABLE, USUAL
from engine.domain import INTERVAL_S
from engine.errors import CommandRefused, DataError
from engine.runtime.data_jobs import DataJobs
from engine.venues.public import VENUES
from storage.database import Database

Handler = Callable[[dict[str, Any]], Awaitable[Any]]
BRIEF = ("name", "version", "kind", "interval", "interval_s", "created_ns", "rows", "first_ts_ms", "last_ts_ms",
         "sha256", "repaired_rows")  # fmt: skip


class DataDesk:
    """Actions by name, merged into the engine's others: ``questions`` change nothing, ``orders`` carry a key.

    Parameters
    ----------
    record : Database
    practice_url : str or None
        The engine's own venue, when it is a practice exchange: downloads may be tried there.
    """

    def __init__(self, record: Database, practice_url: str | None = None) -> None:
        self._record, self._home, self._practice_url = record, record.path.parent, practice_url
        self.jobs = DataJobs(record, self._home)
        self.questions: dict[str, Handler] = {
            "datasets": self._datasets,
            "dataset": self._dataset,
            "dataset.preview": self._preview,
            "data.choices": self._choices,
            "data.status": self._status,
            "data.cancel": self._cancel,
        }
        self.orders: dict[str, Handler] = {
            "data.start": self._start,
            "dataset.delete": self._delete,
            "download.discard": self._discard,
        }

    async def _datasets(self, body: dict[str, Any]) -> dict[str, Any]:
        return await asyncio.to_thread(self._listed)

    def _listed(self) -> dict[str, Any]:
        rows = [brief(manifest) for manifest in store.manifests(self._home)]
        return {"datasets": rows, "unfinished": unfinished(self._home), "active": self.jobs.active()}

    async def _dataset(self, body: dict[str, Any]) -> dict[str, Any]:
        return await self._answer(store.manifest_of, self._home, str(body.get("dataset")))

    async def _preview(self, body: dict[str, Any]) -> dict[str, Any]:
        path = Path(str(body.get("path") or "")).expanduser()
        columns = {str(role): str(name) for role, name in dict(body.get("columns") or {}).items()}
        return await self._answer(preview, path, str(body.get("kind") or "candles"), columns)

    async def _choices(self, body: dict[str, Any]) -> dict[str, Any]:
        venues = [{"name": name, "title": venue.name, "note": venue.note} for name, venue in VENUES.items()]
        return {
            "venues": venues, "intervals": list(INTERVAL_S), "practice_url": self._practice_url,
            "repairable": [str(check) for check in REPAIRABLE], "usual_repairs": [str(check) for check in USUAL],
        }  # fmt: skip

    async def _status(self, body: dict[str, Any]) -> dict[str, Any]:
        return self.jobs.status(str(body.get("run_id")))

    async def _cancel(self, body: dict[str, Any]) -> dict[str, Any]:
        return self.jobs.cancel(str(body.get("run_id")))

    async def _start(self, body: dict[str, Any]) -> dict[str, Any]:
        return await self.jobs.start(str(body.get("kind")), dict(body.get("config") or {}))

    async def _delete(self, body: dict[str, Any]) -> dict[str, Any]:
        wanted = str(body.get("dataset"))
        await self._answer(store.remove, self._home, wanted)
        self._record.audit(str(body.get("actor") or "desk"), "dataset.delete", {"dataset": wanted})
        return {"deleted": wanted}

    async def _discard(self, body: dict[str, Any]) -> dict[str, Any]:
        await self._answer(discard, self._home, str(body.get("key")))
        return {"discarded": body.get("key")}

    async def _answer(self, call: Callable[..., Any], *args: Any) -> Any:
        try:
            return await asyncio.to_thread(call, *args)
        except DataError as error:
            raise CommandRefused(str(error)) from error


def brief(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return a data set in one line: what it is, how long, and how many findings of each severity it has."""
    counts = {f"n_{severity}s": 0 for severity in Severity}
    for finding in manifest["findings"]:
        counts[f"n_{finding['severity']}s"] += 1
    expected = sum(entry.get("expected_rows", entry["rows"]) for entry in manifest["symbols"].values())
    return {name: manifest[name] for name in BRIEF} | counts | {
        "dataset": store.reference(manifest), "symbols": list(manifest["symbols"]),
        "coverage": manifest["rows"] / expected, "source": manifest["source"]["kind"],
    }  # fmt: skip

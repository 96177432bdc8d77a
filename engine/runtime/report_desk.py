"""What the Backtest page asks about a finished run besides its numbers: the report, and the candles it traded on."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.datasets.store import folder_of
from engine.domain import NS_PER_MS
from engine.errors import CommandRefused, DataError
from engine.research.candles import Candles, stretch_of
from engine.research.loading import load_bars

if TYPE_CHECKING:
    from engine.runtime.jobs import Jobs
    from storage.database import Database

Handler = Callable[[dict[str, Any]], Awaitable[Any]]
FORMATS = ("document", "html", "pdf")
MOST_CANDLES = 1_200
FOREVER_NS = 2**63 - 1


class ReportDesk:
    """Answers ``run.report`` and ``run.candles``, in threads.

    Parameters
    ----------
    store : Database
    jobs : Jobs
        Knows the results of finished runs.
    """

    def __init__(self, store: Database, jobs: Jobs) -> None:
        self._store, self._jobs = store, jobs
        self.questions: dict[str, Handler] = {"run.report": self._report, "run.candles": self._candles}

    async def _report(self, body: dict[str, Any]) -> dict[str, Any]:
        wanted = str(body.get("format") or "document")
        if wanted not in FORMATS:
            raise CommandRefused(f"A report is a {', '.join(FORMATS)}; {wanted!r} is none of them.")
        return await asyncio.to_thread(_report_of, self._jobs, str(body["run_id"]), wanted)

    async def _candles(self, body: dict[str, Any]) -> dict[str, Any]:
        start = int(body.get("start_ms") or 0) * NS_PER_MS
        end = int(body["end_ms"]) * NS_PER_MS if body.get("end_ms") else FOREVER_NS
        try:
            return await asyncio.to_thread(self._candles_of, str(body["run_id"]), str(body.get("symbol")), start, end)
        except DataError as error:
            raise CommandRefused(str(error)) from error

    def _candles_of(self, run_id: str, symbol: str, start: int, end: int) -> dict[str, Any]:
        rows = self._store.rows("SELECT config FROM runs WHERE run_id = ?", [run_id])
        if not rows:
            raise CommandRefused(f"There is no run {run_id!r}.")
        asked = json.loads(rows[0]["config"])
        found = stretch_of(self._bars(asked, symbol), start, end, MOST_CANDLES)
        columns = (found.open_px, found.high_px, found.low_px, found.close_px)
        times = (found.ts_open // NS_PER_MS).tolist()
        return {"candles": [list(row) for row in zip(times, *(column.tolist() for column in columns), strict=True)]}

    def _bars(self, asked: dict[str, Any], symbol: str) -> Candles:
        if asked.get("source", "history") == "history":
            table = self._store.read(
                "SELECT ts_open, open_px, high_px, low_px, close_px FROM bars WHERE symbol = ? AND interval = ? "
                "ORDER BY ts_open",
                [symbol, asked.get("interval") or "1h"],
            )
            return Candles(*(column.to_numpy() for column in table.columns))
        home = self._store.path.parent
        path = folder_of(home, asked["dataset"]) if asked["source"] == "dataset" else Path(asked["path"]).expanduser()
        bars = load_bars(path, (symbol,))
        return Candles(bars.ts_open, bars.open_px[:, 0], bars.high_px[:, 0], bars.low_px[:, 0], bars.close_px[:, 0])


def _report_of(jobs: Jobs, run_id: str, wanted: str) -> dict[str, Any]:
    from engine.research.report_document import document, for_risk

    doc = document(jobs.result(run_id))
    if wanted == "html":
        from engine.research.report_html import html_page

        return {"html": html_page(doc)}
    if wanted == "pdf":
        from engine.research.report_pdf import pdf_bytes

        return {"pdf_base64": base64.b64encode(pdf_bytes(for_risk(doc))).decode()}
    return doc.to_json()

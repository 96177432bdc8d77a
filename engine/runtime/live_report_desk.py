"""The account's report: on demand as JSON or PDF, every night as two files in the data folder."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from engine.errors import CommandRefused, WorkstationError
from engine.runtime.live_record import live_record
from engine.runtime.stress_desk import newest_stress

if TYPE_CHECKING:
    from engine.runtime.engine import Engine

Handler = Callable[[dict[str, Any]], Awaitable[Any]]
log = structlog.get_logger("reports")
FORMATS = ("json", "pdf", "files")
FOLDER, RECORD_FILE, RISK_FILE = "reports", "live_performance.json", "risk_analysis.pdf"


class LiveReportDesk:
    """Answers ``report.live``.

    Parameters
    ----------
    engine : Engine
    risk : callable
        Returns the Risk page's answer.
    """

    def __init__(self, engine: Engine, risk: Handler) -> None:
        self._engine, self._risk = engine, risk
        self.questions: dict[str, Handler] = {"report.live": self._report}

    async def _report(self, body: dict[str, Any]) -> dict[str, Any]:
        wanted = str(body.get("format") or "json")
        if wanted not in FORMATS:
            raise CommandRefused(f"The account's report is one of {', '.join(FORMATS)}; {wanted!r} is none of them.")
        if wanted == "json":
            return await asyncio.to_thread(live_record, self._engine.loop)
        paper = await self.paper()
        if wanted == "pdf":
            return {"pdf_base64": base64.b64encode(paper).decode()}
        return {"files": [str(path) for path in await self.write(self._engine.store.path.parent / FOLDER, paper)]}

    async def paper(self) -> bytes:
        """Return the risk analysis as a PDF file."""
        risk = await self._risk({})
        return await asyncio.to_thread(_paper, self._engine, risk)

    async def write(self, folder: Path, paper: bytes | None = None) -> list[Path]:
        """Write both files; each appears whole or not at all."""
        content = paper if paper is not None else await self.paper()
        record = await asyncio.to_thread(live_record, self._engine.loop)
        written = {RISK_FILE: content, RECORD_FILE: json.dumps(record, indent=1, allow_nan=False).encode()}
        return await asyncio.to_thread(write_files, folder, written)


def _paper(engine: Engine, risk: dict[str, Any]) -> bytes:
    from engine.research.live_document import live_document
    from engine.research.report_pdf import pdf_bytes

    return pdf_bytes(live_document(live_record(engine.loop), risk, newest_stress(engine)))


def write_files(folder: Path, contents: dict[str, bytes]) -> list[Path]:
    """Write files under their final names only when they are complete, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        partial = folder / f"{name}.part"
        partial.write_bytes(content)
        partial.replace(folder / name)
    return [folder / name for name in contents]


async def report_nightly(engine: Engine, risk: Handler) -> None:
    """Write both files once a night; what cannot be written is logged, and the record is untouched."""
    if engine.loop.phase != "trading":
        return
    try:
        await LiveReportDesk(engine, risk).write(engine.store.path.parent / FOLDER)
    except (WorkstationError, OSError) as trouble:
        log.warning("report not written", reason=str(trouble))

"""What the Backtest page asks about a finished run besides its numbers: the report, and the candles it traded on."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from engine.errors import CommandRefused, DataError

if TYPE_CHECKING:
    from engine.runtime.jobs import Jobs

Handler = Callable[[dict[str, Any]], Awaitable[Any]]
FORMATS = ("document", "html", "pdf")


class ReportDesk:
    """Answers ``run.report``, in threads.

    Parameters
    ----------
    jobs : Jobs
        Knows the results of finished runs.
    """

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self.questions: dict[str, Handler] = {"run.report": self._report}

    async def _report(self, body: dict[str, Any]) -> dict[str, Any]:
        wanted = str(body.get("format") or "document")
        if wanted not in FORMATS:
            raise CommandRefused(f"A report is a {', '.join(FORMATS)}; {wanted!r} is none of them.")
        try:
            return await asyncio.to_thread(_report_of, self._jobs, str(body["run_id"]), wanted)
        except DataError as error:
            raise CommandRefused(str(error)) from error


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

"""The three files of a report: the result itself, a web page that stands alone, and the risk analysis on paper."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engine.errors import DataError
from engine.research.report_document import document, for_risk
from engine.research.report_html import html_page
from engine.research.report_pdf import pdf_bytes

RESULT_FILE, PAGE_FILE, RISK_FILE = "backtest_results.json", "backtest_report.html", "risk_analysis.pdf"


def read_result(path: Path) -> dict[str, Any]:
    """Return a backtest's JSON from a file.

    Raises
    ------
    DataError
        Unreadable, or not a backtest's result.
    """
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a backtest's JSON: {error}") from None
    if not isinstance(result, dict) or "metrics" not in result:
        raise DataError(f"{path} is not a backtest's result: it has no metrics. Write one with backtest --json.")
    return result


def write_reports(result: dict[str, Any], folder: Path) -> list[Path]:
    """Write the three files and return their paths; each appears complete or not at all."""
    doc = document(result)
    contents = {
        RESULT_FILE: json.dumps(result, allow_nan=False).encode(),
        PAGE_FILE: html_page(doc).encode(),
        RISK_FILE: pdf_bytes(for_risk(doc)),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        partial = folder / f"{name}.part"
        partial.write_bytes(content)
        partial.replace(folder / name)
    return [folder / name for name in contents]

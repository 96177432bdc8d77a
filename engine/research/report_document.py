"""A backtest's result as one document; the page, the web page and the paper are drawn from the same one."""

from __future__ import annotations

from typing import Any

from engine.research import report_figures as figures
from engine.research import report_honesty as honesty
from engine.research import wording
from engine.research.report_parts import Document

RISK_SECTIONS = (
    "summary", "measures", "curves", "drawdown", "stress", "sensitivity", "walk_forward", "luck", "comparison",
    "canaries", "costs", "gate", "critique", "configuration",
)  # fmt: skip
"""What the paper on risk holds, in its order."""


def document(result: dict[str, Any]) -> Document:
    """Return a result's whole report.

    Parameters
    ----------
    result : dict
        A backtest's JSON, of any version: what it lacks is said to be missing.
    """
    config = result.get("config") or {}
    symbols = config.get("symbols") or []
    named = ", ".join(symbols[:6]) + (f" and {len(symbols) - 6} more" if len(symbols) > 6 else "")
    span = f"{wording.day(config.get('first_ts_ms'))} to {wording.day(config.get('last_ts_ms'))}"
    bars = f"{wording.number(config.get('bars'), 0)} bars of {_interval(config.get('interval_s'))}"
    return Document(
        f"Backtest: {config.get('strategy') or 'unnamed'}",
        " · ".join(part for part in (named, span, bars) if part),
        honesty.badges(result),
        [
            honesty.summary(result), figures.measures(result), figures.curves(result), figures.months(result),
            honesty.critique(result), honesty.luck(result), honesty.drawdown(result), honesty.stress(result),
            honesty.comparison(result), honesty.walk_forward(result), honesty.sensitivity(result),
            honesty.canaries(result), honesty.certificate(result), figures.costs(result), figures.gate(result),
            figures.trades(result), figures.configuration(result),
        ],
    )  # fmt: skip


def _interval(seconds: Any) -> str:
    if not wording.known(seconds) or seconds <= 0:
        return "unknown length"
    for unit, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds % unit == 0:
            return f"{seconds // unit:.0f} {name}"
    return f"{seconds} s"


def for_risk(whole: Document) -> Document:
    """Return the part of a document that the paper on risk holds."""
    kept = [section for name in RISK_SECTIONS if (section := whole.section(name)) is not None]
    return whole._replace(title=whole.title.replace("Backtest", "Risk analysis", 1), sections=kept)

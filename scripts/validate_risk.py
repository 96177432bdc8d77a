"""How often does the risk control fail, and what does it cost? Runs of one year, by the thousand.

    python scripts/validate_risk.py --data PATH [--json OUT] [--paths 1000] [--seed 1] [--jobs 2] [--write]

The default configuration over every start month, for all symbols, each alone, every pair and seeded subsets; over
paths made up of blocks of history (the same blocks for every symbol), half of them with a gap of 30 %; and over a list
of shocks. Each run is made again with the control off. Exit code 0 only if fewer than 1 % of the runs of history and of
the made-up paths fell by more than 15 %, and fewer than 1 % of their days lost more than 5 %; 1 if not; 2 if the bars
cannot be used. Both are measured at bar closes, where decisions are made too: hourly ones on hourly bars, although the
engine's default is to decide every minute. What was lost within bars, every symbol at its worst at once, stands beside.
Windows of history overlap and subsets share symbols, so their intervals are too narrow; those of the made-up paths are
not. --write puts the figures into docs/risk_management.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.domain import NS_PER_S
from engine.errors import DataError, WorkstationError
from engine.research.loading import cut, load_bars
from engine.research.risk_report import page_lines, report_lines, summary
from engine.research.risk_shocks import all_shocks
from engine.research.risk_trials import Plan, all_trials
from engine.settings import DEFAULT_SYMBOLS

DOC = Path(__file__).resolve().parents[1] / "docs" / "risk_management.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def parsed(argv: list[str] | None) -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of SYMBOL.parquet with bars, hourly at best")
    parser.add_argument("--symbols", default=",".join(DEFAULT_SYMBOLS), help="default: those of the settings")
    parser.add_argument("--start", default=None, help="first day, such as 2018-01-01")
    parser.add_argument("--end", default=None, help="day after the last")
    parser.add_argument("--paths", type=int, default=1000, help="made-up paths")
    parser.add_argument("--subsets", type=int, default=10, help="random subsets of three or more symbols")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--json", type=Path, default=None, help="where the figures go")
    parser.add_argument("--write", action="store_true", help="write the figures into docs/risk_management.md")
    return parser.parse_args(argv)


def _ns(day: str | None) -> int | None:
    return None if day is None else int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * NS_PER_S


def write_page(lines: list[str]) -> None:
    """Replace what lies between the two marks of the page."""
    text = DOC.read_text()
    if BEGIN not in text or END not in text:
        raise DataError(f"{DOC} has no {BEGIN} and {END}: put both lines where the figures belong")
    head, rest = text.split(BEGIN, 1)
    DOC.write_text("\n".join([head + BEGIN, *lines, END + rest.split(END, 1)[1]]))


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run everything and return the figures."""
    symbols = tuple(name.strip().upper() for name in options.symbols.split(",") if name.strip())
    bars = load_bars(options.data, symbols)
    bars = cut(bars, _ns(options.start), _ns(options.end))
    began = time.perf_counter()
    plan = Plan(options.paths, options.subsets, options.seed, options.jobs)
    trials, shocks = all_trials(bars, plan), all_shocks(bars)
    return summary(bars, trials, shocks, plan) | {"elapsed_s": round(time.perf_counter() - began, 1)}


def main(argv: list[str] | None = None) -> int:
    """Run, print, write; return the exit code."""
    options = parsed(argv)
    try:
        figures = run(options)
        print("\n".join(report_lines(figures)))
        if options.json is not None:
            options.json.write_text(json.dumps(figures, indent=1))
        if options.write:
            write_page(page_lines(figures))
    except (WorkstationError, OSError, ValueError) as error:
        print(f"validate_risk: {error}", file=sys.stderr)
        return 2
    return 0 if figures["holds"] else 1


if __name__ == "__main__":
    sys.exit(main())

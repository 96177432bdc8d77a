"""Run the reference portfolio: all sleeves against trend alone, Bitcoin and Ether held, with everything counted.

    python scripts/reference_portfolio.py --data DATA [--funding FUNDING] [--perp PERP] [--from 2018-01-01]
        [--to 2025-01-01] [--research-until 2023-01-01] [--json OUT] [--write]

DATA is a folder of SYMBOL.parquet. FUNDING (timestamp, rate) and PERP (candles of perpetuals, which give pairs of spot
and perpetual) are looked for beside it, as `funding` and `hourly_perp`, when they are not given; `--perp none` leaves
them out. The sleeves' numbers were chosen on what lies before --research-until; what lies after it is stated apart.
All costs are the backtest's defaults. --write puts the section into docs/results.md. Exit code 0 whether the goal is
reached or not: each line says so. 2: the data cannot be used. Takes a few minutes.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from engine.errors import WorkstationError
from engine.research.loading import BarTable, cut, load_bars
from engine.research.pairs import there, with_spot_legs
from engine.research.reference import nanoseconds, run_reference
from engine.research.reference_report import markdown, terminal, write_section

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "results.md"  # wherever it is started from


def beside(data: Path, given: str | None, name: str) -> Path | None:
    """Return the folder that was given, or the one of that name beside the data, or None."""
    if given == "none":
        return None
    if given is not None:
        return Path(given)
    found = data.resolve().parent / name
    return found if found.is_dir() and found != data.resolve() else None


def table(data: Path, perp: Path | None, begin: str, end: str | None) -> BarTable:
    """Return the bars of the run, with spot legs where there are perpetuals."""
    bars = load_bars(data)
    if perp is not None:
        bars = with_spot_legs(bars, load_bars(perp))
    return there(cut(bars, nanoseconds(begin), None if end is None else nanoseconds(end)))


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of SYMBOL.parquet, or one that has hourly/")
    parser.add_argument("--funding", help="folder of SYMBOL.parquet with timestamp and rate, or none")
    parser.add_argument("--perp", help="folder of SYMBOL.parquet: candles of perpetuals, or none")
    parser.add_argument("--from", dest="begin", default="2018-01-01", help="first day, UTC")
    parser.add_argument("--to", dest="end", help="first day that is left out, UTC")
    parser.add_argument("--research-until", default="2023-01-01", help="first day that was held out of research, UTC")
    parser.add_argument("--json", type=Path, help="write everything here")
    parser.add_argument("--write", action="store_true", help="write the section of docs/results.md")
    options = parser.parse_args()
    data = options.data / "hourly" if (options.data / "hourly").is_dir() else options.data
    funding, perp = beside(data, options.funding, "funding"), beside(data, options.perp, "hourly_perp")
    try:
        bars = table(data, perp, options.begin, options.end)
        with tempfile.TemporaryDirectory() as home:
            result = run_reference(
                bars, funding, Path(home), nanoseconds(options.research_until),
                lambda what: print(f"… {what}", file=sys.stderr, flush=True),
            )  # fmt: skip
    except (WorkstationError, ValueError) as error:
        print(f"cannot run: {error}", file=sys.stderr)
        return 2
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, allow_nan=False), encoding="utf-8")
    if options.write:
        write_section(markdown(result), DOCUMENT)
    print(terminal(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())

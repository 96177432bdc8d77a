"""Write docs/results.md: the trend strategy over a folder of candles, its whole panel, what another year may bring.

    python scripts/results.py --data DATA [--funding FUNDING] [--perp PERP] [--out docs/results.md]

DATA is a folder of SYMBOL.parquet. FUNDING (timestamp, rate) and PERP (candles of perpetuals) are looked for beside it,
as `funding` and `hourly_perp`, when they are not given; a table whose data is not there is left out. The bars are taken
from 2018 on, or between --start and --end. Takes some five minutes, most of it to look whether the intervals hold.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from engine.core.metrics import sharpe_ratio
from engine.errors import WorkstationError
from engine.research import declared_trials
from engine.research.backtest import BacktestConfig, BacktestResult, run_backtest
from engine.research.declared_trials import without_curve
from engine.research.figures import DAYS_PER_YEAR, Stretch, periods_of
from engine.research.ledger import Ledger, Trial
from engine.research.loading import cut, load_bars, load_funding
from engine.research.outlook import NAMES, outlook
from engine.research.outlook_check import checks, coverage, daily_returns
from engine.research.reference_report import section_of as reference_section
from engine.research.report import formatted
from models.evidence_report import section_of

AHEAD_DAYS = (365, 548)
LIMIT = 0.15  # default max_total_drawdown: the gate closes everything there
KINDS = {
    "final_equity": "money", "total_return": "percent", "cagr": "percent", "sharpe": "ratio", "sortino": "ratio",
    "calmar": "ratio", "max_drawdown": "percent", "cvar_95": "percent", "win_rate": "percent", "profit_factor": "ratio",
    "turnover": "ratio", "exposure": "percent", "fees": "money", "slippage": "money", "funding": "money",
    "n_trades": "count", "alpha_btc": "percent", "beta_btc": "ratio",
}  # fmt: skip
LABELS = {
    "final_equity": "final equity, from 10,000", "total_return": "total return", "cagr": "growth a year",
    "sharpe": "Sharpe ratio", "sortino": "Sortino ratio", "calmar": "Calmar ratio", "max_drawdown": "largest drawdown",
    "cvar_95": "mean loss of the worst 5 % of days", "win_rate": "winning trades", "profit_factor": "profit factor",
    "turnover": "turnover, times equity a year", "exposure": "mean gross weight", "fees": "fees",
    "slippage": "slippage, spread and impact", "funding": "funding paid", "n_trades": "closed trades",
    "alpha_btc": "alpha against Bitcoin, a year", "beta_btc": "beta against Bitcoin", "volatility": "volatility a year",
}  # fmt: skip
HEAD = """# Results

Written by `python scripts/results.py --data DATA`; run it again on other candles and it says the same things of
those. The strategy is `trend` with its default settings, after fees, spread, slippage and market impact, through the
whole risk gate. Nothing here is a promise: read the last table of each section first, then what would make one doubt
it.
"""


def count_what_was_tried(data: Path, start: datetime, end: datetime | None, home: Path) -> int:
    """Put everything that was tried on this data into the ledger, so that the deflated Sharpe ratio knows of it.

    The settings of trend are run again; what was tried for the portfolio is counted without a curve. Returns how many.
    """
    whole = load_bars(data)
    bars = cut(whole, nanoseconds(start), nanoseconds(end))
    trials = without_curve("portfolio", len(declared_trials.PORTFOLIO) + declared_trials.PORTFOLIO_GONE)
    for number, params in enumerate(declared_trials.TREND):
        ends, returns = daily_returns(BacktestConfig(bars=bars, params=params), bars, None)
        trials.append(Trial(f"setting {number}", sharpe_ratio(returns, 1.0), returns, ends, DAYS_PER_YEAR))
    ledger = Ledger(home)
    ledger.know(whole)
    ledger.record_many(whole.fingerprint, trials)
    return len(trials)


def nanoseconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp()) * 1_000_000_000


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *("| " + " | ".join(row) + " |" for row in rows)]
    return "\n".join(lines)


def between(bounds: dict[str, float] | None, kind: str) -> str:
    return f"{formatted(bounds['low'], kind)} to {formatted(bounds['high'], kind)}" if bounds else ""


def figures_table(result: BacktestResult) -> str:
    intervals = result.honesty["intervals"] or {}
    rows = [
        [LABELS[name], formatted(result.metrics[name], kind), between(intervals.get(name), kind),
         formatted(result.out_of_sample.get(name), kind)]
        for name, kind in KINDS.items()
    ]  # fmt: skip
    return table(["figure", "whole run", "95 % interval from its own days", "last 30 % alone"], rows)


def panel_lines(result: BacktestResult) -> list[str]:
    panel = result.honesty
    deflated, pbo, record, paths, risk = (
        panel[name] for name in ("deflated_sharpe", "pbo", "min_track_record", "cpcv", "drawdown")
    )
    folds = ", ".join(formatted(fold["sharpe"], "ratio") for fold in (panel["walk_forward"] or {}).get("folds", ()))
    lines = [
        f"Trials counted on this data: {deflated['trials']}. The best of so many would show a Sharpe ratio of "
        f"{formatted(deflated['expected_max_sharpe'], 'ratio')} by luck alone.",
        f"Deflated Sharpe ratio {formatted(deflated['value'], 'ratio')}, probabilistic "
        f"{formatted(panel['psr'], 'ratio')} "
        "(probabilities that the true ratio is above luck, and above zero).",
        f"Probability of overfitting among {pbo['trials']} trials over the same time: "
        + (formatted(pbo["value"], "percent") if pbo["value"] is not None else f"unknown, {pbo['why']}")
        + ".",
        f"Length of record: {record['have_days']:,.0f} days; needed to tell this ratio from zero: "
        f"{formatted(record['needed_days'], 'days')}.",
        f"Sharpe ratio in eight consecutive windows of time: {folds}.",
    ]
    if paths:
        spread = " / ".join(formatted(paths[f"sharpe_{share}"], "ratio") for share in ("p5", "p50", "p95"))
        lines.append(f"Sharpe ratio over {paths['paths']} {paths['of']}, 5 / 50 / 95 %: {spread}.")
    if risk:
        falls = " / ".join(formatted(risk[share], "percent") for share in ("p50", "p95", "p99"))
        lines.append(
            f"Drawdown of runs redrawn from its own days, 50 / 95 / 99 %: {falls}; above 15 % in "
            f"{formatted(risk['p_over_15'], 'percent')}."
        )
    lines.append("Canaries: " + ", ".join(f"{name} {verdict}" for name, verdict in result.canaries.items()) + ".")
    return lines


def against_table(result: BacktestResult) -> str:
    rows = [
        {"name": "as run"} | result.metrics,
        *(result.honesty["stress"] or ()),
        *(result.honesty["comparison"] or ()),
    ]
    names = ("cagr", "sharpe", "max_drawdown", "total_return")
    listed = [[row["name"], *(formatted(row[name], KINDS[name]) for name in names)] for row in rows]
    return table(["", *(LABELS[name] for name in names)], listed)


def years_table(result: BacktestResult) -> str:
    bars, equity = result.bars, result.simulation.track.equity
    of_bar = (bars.ts_close - 1).astype("datetime64[ns]").astype("datetime64[Y]").astype(int) + 1970
    rows, before = [], float(result.config["cash"])
    for one in np.unique(of_bar):
        first, last = (int(row) for row in np.flatnonzero(of_bar == one)[[0, -1]])
        stretch = Stretch(first, last + 1, before)
        sharpe = sharpe_ratio(periods_of(bars, equity, stretch).returns, DAYS_PER_YEAR)
        rows.append([str(one), formatted(float(equity[last]) / before - 1, "percent"), formatted(sharpe, "ratio")])
        before = float(equity[last])
    return table(["year", "return", "Sharpe ratio"], rows)


def ahead_part(result: BacktestResult, funding: Any) -> str:
    """What the time after the data may bring, and how often such statements held at earlier cuts."""
    bars = result.bars
    config = BacktestConfig(bars=bars, cash=result.config["cash"])
    returns = daily_returns(config, bars, funding)[1]
    parts = []
    for days in AHEAD_DAYS:
        stated = outlook(returns, days, LIMIT, seed=1)
        if stated is None:
            return "The record is shorter than a year: it says nothing of the time to come."
        found = checks(config, bars, funding, days, LIMIT)
        held = coverage(found) if found else {}
        kinds = KINDS | {"volatility": "percent"}
        rows = [
            [LABELS[name], formatted(stated[name]["median"], kinds[name]), between(stated[name], kinds[name]),
             formatted(held.get(name), "percent") if held else "no earlier cut"]
            for name in NAMES
        ]  # fmt: skip
        cuts = len({check.cut_ns for check in found})
        parts.append(
            f"The {days} days after the data, on a new account: between the bounds with 95 % probability. Held: how "
            f"often such bounds held in {len(found)} checks at {cuts} cuts of this history, on all coins and on random "
            "halves of them, whose own past was or was not what the bounds were made from.\n\n"
            + table(["figure", "middle", "95 % bounds", "held"], rows)
        )
    return "\n\n".join(parts)


def section(title: str, said: str, config: BacktestConfig) -> str:
    result = run_backtest(config)
    bars = result.bars
    first, last = (datetime.fromtimestamp(result.config[key] / 1000, UTC) for key in ("first_ts_ms", "last_ts_ms"))
    funding = load_funding(config.funding, bars) if config.funding is not None else None
    span = (
        f"{said} {len(bars.symbols)} symbols ({', '.join(bars.symbols)}), {first:%Y-%m-%d} to {last:%Y-%m-%d}, "
        f"{len(bars.ts_open):,} bars of {bars.interval_s} s."
    )
    doubts = "\n".join(f"- {sentence}" for sentence in result.honesty["critique"])
    stops = "\n".join(f"- {sentence}" for sentence in result.honesty["blockers"]) or "- Nothing."
    parts = [
        f"## {title}", span, figures_table(result), "\n".join(f"- {line}" for line in panel_lines(result)),
        "### Against harsher conditions and simpler choices", against_table(result), "### Year by year",
        years_table(result), "### What would make one doubt it", doubts,
        "### What speaks against real money", stops,
        "### What the time to come may bring", ahead_part(result, funding),
    ]  # fmt: skip
    return "\n\n".join(parts)


TAIL = """## How to read the bounds

The intervals in the first table of a section come from redrawing the run's own days in blocks: they tell skill from
luck inside that time and assume that time goes on as it was. It does not, so the bounds for the time to come are made
otherwise (`engine/research/outlook.py`): half years weigh less as they age (half after two years), the Sharpe ratio
is drawn towards zero as far as the evidence is thin, and it may be as different from one half year to the next as it
was. They are wide because that is what is known. The checks overlap in time and in coins, so they are far fewer than
their number in independent evidence: history has room for some five separate years. The drawdown is that of daily
closes; inside a day it can be somewhat deeper. Coins that died before the candles were collected are in none of it.
"""


def write(options: argparse.Namespace) -> str:
    start, end = (None if text is None else datetime.fromisoformat(text).replace(tzinfo=UTC)
                  for text in (options.start, options.end))  # fmt: skip
    data = options.data / "hourly" if (options.data / "hourly").is_dir() else options.data
    beside = data.absolute().parent
    funding = options.funding or (beside / "funding" if (beside / "funding").is_dir() else None)
    perp = options.perp or (beside / "hourly_perp" if (beside / "hourly_perp").is_dir() else None)
    runs = [("Spot candles, no funding", "Funding is left out: spot pays none, a perpetual would.", data, None)]
    if funding is not None:
        runs.append(("Spot candles, with funding", "Funding is charged where a history is given.", data, funding))
    if perp is not None and perp.resolve() != data.resolve():
        said = "Candles of perpetuals" + (", funding charged where a history is given." if funding else ", no funding.")
        runs.append(("Perpetuals", said, perp, funding))
    with tempfile.TemporaryDirectory() as home:
        n_tried = count_what_was_tried(data, start, end, Path(home))
        sections = [
            section(title, said, BacktestConfig(data=path, start=start, end=end, funding=rates, home=Path(home)))
            for title, said, path, rates in runs
        ]
    tried = (
        f"Before the defaults were chosen, {n_tried} settings and drafts were looked at on the first of these data "
        f"sets, and all of them count as trials: {len(declared_trials.TREND)} of trend are run again here, the others, "
        "of the portfolio, count without a curve."
    )
    return "\n\n".join([HEAD + "\n" + tried, *sections, TAIL])


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of SYMBOL.parquet, or one that has hourly/")
    parser.add_argument("--funding", type=Path, help="folder of SYMBOL.parquet with timestamp and rate")
    parser.add_argument("--perp", type=Path, help="folder of SYMBOL.parquet: candles of perpetuals")
    parser.add_argument("--start", default="2018-01-01", help="first day, UTC")
    parser.add_argument("--end", help="first day that is left out, UTC")
    parser.add_argument("--out", type=Path, default=Path("docs/results.md"))
    options = parser.parse_args()
    try:
        text = write(options)
    except (WorkstationError, ValueError) as error:
        print(f"cannot run: {error}", file=sys.stderr)
        return 2
    options.out.parent.mkdir(parents=True, exist_ok=True)
    kept = section_of(options.out), reference_section(options.out)  # of other scripts, which take longer
    options.out.write_text("\n\n".join(part for part in (text.rstrip(), *kept) if part) + "\n", encoding="utf-8")
    print(f"written to {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

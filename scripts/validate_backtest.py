"""Run the reference backtest and say whether it truly reaches a return and a drawdown, out of sample.

    python scripts/validate_backtest.py --target-return 2.0 --max-drawdown 0.15 [--data PATH] [--funding PATH]

The reference is the trend strategy with the default settings. Exit code 0 only if, in the last 30 % of the data, growth
a year is at least the target, the drawdown stays within the limit, and every canary is green; 1 if not; 2 if the data
cannot be used. The intervals come from redrawing the out-of-sample days in blocks: a target inside its interval is not
shown either way, whatever the exit code. Without --data the bars are two years of the practice market's generated
history, whose prices are random: they say nothing about any market.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from engine.domain import NS_PER_MS
from engine.errors import WorkstationError
from engine.research.backtest import BacktestConfig, BacktestResult, run_backtest
from engine.research.goal import growth_intervals
from engine.research.loading import BarTable, align
from engine.research.report_files import write_reports
from engine.research.track_record import day_text, record_of_backtest

START_MS = 1_767_225_600_000  # 2026-01-01: where the generated history ends
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "BNBUSDT", "XRPUSDT", "DOGEUSDT")
HOURS = 2 * 365 * 24
COLUMNS = ("open", "high", "low", "close", "volume")


def practice_bars(seed: int) -> BarTable:
    """Return the last ``HOURS`` hours of the practice market's history."""
    from engine.venues.sandbox.contracts import CONTRACTS
    from engine.venues.sandbox.market.assets import ASSETS
    from engine.venues.sandbox.market.history import build_history

    assets = {symbol: ASSETS[symbol] for symbol in SYMBOLS}
    hours = build_history(assets, {symbol: CONTRACTS[symbol] for symbol in SYMBOLS}, START_MS, seed).hours
    series = []
    for symbol in SYMBOLS:
        bars = hours[symbol][-HOURS:]
        series.append((symbol, bars["open_ms"] * NS_PER_MS, np.column_stack([bars[name] for name in COLUMNS])))
    return align(series)


def verdict(result: BacktestResult, target_return: float, max_drawdown: float) -> dict[str, Any]:
    """Return what was found out of sample, with intervals, and whether both targets hold."""
    growth, fall = result.out_of_sample.get("cagr"), result.out_of_sample.get("max_drawdown")
    red = [name for name, answer in result.canaries.items() if answer != "pass"]
    alive = growth is not None and fall is not None and bool(np.isfinite([growth, fall]).all())
    found: dict[str, Any] = {
        "target_return": target_return, "max_drawdown_limit": max_drawdown, "red_canaries": red,
        "growth": growth if alive else None, "max_drawdown": fall if alive else None, "intervals": None,
        "holds": bool(alive and growth >= target_return and fall <= max_drawdown and not red),
        "deflated_sharpe": _finite(result.metrics.get("deflated_sharpe")), "trials": result.trials,
    }  # fmt: skip
    if alive:
        found["intervals"] = growth_intervals(record_of_backtest(result.to_json()).returns)
    return found


def verdict_lines(found: dict[str, Any]) -> list[str]:
    """Return a sentence for each target: by how much it is missed, and what its interval says."""
    growth, fall = found["growth"], found["max_drawdown"]
    if growth is None:
        return ["The account was lost before or during the out-of-sample part: neither target holds."]
    target, limit = found["target_return"], found["max_drawdown_limit"]
    lines = [
        f"growth a year   {growth:9.2%}   target at least {target:.2%}: "
        + ("holds" if growth >= target else f"missed by {target - growth:.2%}"),
        _interval_line(found["intervals"], "cagr", target, above=True),
        f"drawdown        {fall:9.2%}   limit  at most  {limit:.2%}: "
        + ("holds" if fall <= limit else f"exceeded by {fall - limit:.2%}"),
        _interval_line(found["intervals"], "max_drawdown", limit, above=False),
    ]
    if found["red_canaries"]:
        lines.append(f"Canary {', '.join(found['red_canaries'])} failed: the figures cannot be trusted.")
    luck = found["deflated_sharpe"]
    told = "unknown" if luck is None else f"{luck:.2f}"
    return [*lines, f"Trials counted on this data: {found['trials']}; deflated Sharpe of the whole run: {told}."]


def _interval_line(intervals: dict[str, Any], name: str, target: float, *, above: bool) -> str:
    ends = intervals[name]
    if ends is None:
        return "                too few days for an interval"
    low, high = ends
    if low < target < high:
        word = "what is asked lies inside: it is shown neither way"
    else:
        word = "all of it holds" if (low >= target) == above else "none of it holds"
    return f"                {intervals['level']:.0%} interval {low:.2%} to {high:.2%}: {word}"


def _finite(value: Any) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target-return", type=float, default=2.0, help="growth a year, fraction")
    parser.add_argument("--max-drawdown", type=float, default=0.15, help="fraction of the peak")
    parser.add_argument("--data", type=Path, help="file, or folder of SYMBOL.parquet")
    parser.add_argument("--funding", type=Path, help="folder of SYMBOL.parquet with timestamp and rate")
    parser.add_argument("--seed", type=int, default=1, help="of the generated history")
    parser.add_argument("--json", action="store_true", help="print the verdict as JSON")
    parser.add_argument("--report", type=Path, help="folder for the report's files, made with the full panel")
    options = parser.parse_args()
    panel = "full" if options.report else "fast"
    try:
        if options.data is None:
            config = BacktestConfig(bars=practice_bars(options.seed), keep_ledger=False, panel=panel)
        else:
            config = BacktestConfig(data=options.data, funding=options.funding, panel=panel)
        result = run_backtest(config)
    except (WorkstationError, ValueError) as error:
        print(f"cannot run: {error}", file=sys.stderr)
        return 2
    found = verdict(result, options.target_return, options.max_drawdown)
    if options.report:
        write_reports(result.to_json(), options.report)
    if options.json:
        print(json.dumps(found))
        return 0 if found["holds"] else 1
    if options.data is None:
        print(f"No --data: these are generated prices of the practice market (seed {options.seed}), not a market's.")
    early, late = result.out_of_sample["first_ts_ms"], result.config["last_ts_ms"]
    print(f"Reference backtest: trend on {', '.join(result.bars.symbols)}")
    print(f"Out of sample: {day_text(early)} to {day_text(late)}, the last 30 % of {result.config['bars']:,} bars")
    if result.config["funding"] is None:
        print("Funding is not charged: give --funding to include it.")
    print("\n".join(verdict_lines(found)))
    print("Both targets hold out of sample." if found["holds"] else "The targets do not hold out of sample.")
    return 0 if found["holds"] else 1


if __name__ == "__main__":
    sys.exit(main())

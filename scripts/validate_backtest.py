"""Run the reference backtest and say whether it truly reaches a return and a drawdown, out of sample.

    python scripts/validate_backtest.py --target-return 2.0 --max-drawdown 0.15 [--data PATH] [--funding PATH]

The reference is the trend strategy with the default settings. Exit code 0 only if both targets truly hold in the last
30 % of the data: growth a year is at least the target and the drawdown within the limit, also at the worse end of
their intervals, which come from redrawing the out-of-sample days in blocks; there are at least 90 of these days; every
canary is green; and, where growth above zero is asked for, skill is shown for the number of trials on this data
(deflated Sharpe ratio of at least 0.95). 1 if not, with each reason; 2 if the data cannot be used. Without --data the
bars are two years of the practice market's generated history, whose prices are random: they say nothing of any market.
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
from engine.research.critique import ENOUGH
from engine.research.funding_cover import cover_sentence
from engine.research.goal import growth_intervals
from engine.research.loading import BarTable, align
from engine.research.report_files import write_reports
from engine.research.track_record import day_text, record_of_backtest

START_MS = 1_767_225_600_000  # 2026-01-01: where the generated history ends
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "BNBUSDT", "XRPUSDT", "DOGEUSDT")
HOURS = 2 * 365 * 24
COLUMNS = ("open", "high", "low", "close", "volume")
MIN_RETURNS = 90
"""Out-of-sample days below which a growth a year is a guess."""


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
    """Return what was found out of sample, with intervals, why it does not hold, and whether both targets hold."""
    growth, fall = result.out_of_sample.get("cagr"), result.out_of_sample.get("max_drawdown")
    red = [name for name, answer in result.canaries.items() if answer != "pass"]
    alive = growth is not None and fall is not None and bool(np.isfinite([growth, fall]).all())
    found: dict[str, Any] = {
        "target_return": target_return, "max_drawdown_limit": max_drawdown, "red_canaries": red,
        "growth": growth if alive else None, "max_drawdown": fall if alive else None, "intervals": None, "n_returns": 0,
        "deflated_sharpe": _finite(result.metrics.get("deflated_sharpe")), "trials": result.trials,
        "uncharged": cover_sentence(result.honesty.get("funding")),
    }  # fmt: skip
    if alive:
        returns = record_of_backtest(result.to_json()).returns
        found |= {"intervals": growth_intervals(returns), "n_returns": len(returns)}
    reasons = why_not(found)
    return found | {"why_not": reasons, "holds": not reasons}


def why_not(found: dict[str, Any]) -> list[str]:
    """Return why the targets do not hold, in sentences; empty when they do."""
    growth, fall, target, limit = (
        found[name] for name in ("growth", "max_drawdown", "target_return", "max_drawdown_limit")
    )
    if growth is None:
        return ["The account was lost before or during the out-of-sample part: neither target holds."]
    luck, days = found["deflated_sharpe"], found["n_returns"]
    of_growth, of_fall = (found["intervals"][name] for name in ("cagr", "max_drawdown"))
    told = "unknown" if luck is None else f"{luck:.2f}"
    doubts = (
        (growth < target, f"Growth is missed by {target - growth:.2%}."),
        (growth >= target and of_growth is not None and of_growth[0] < target,
         f"Growth is not shown: the worse end of its interval is {(of_growth or [0.0])[0]:.2%}."),
        (fall > limit, f"The drawdown exceeds its limit by {fall - limit:.2%}."),
        (fall <= limit and of_fall is not None and of_fall[1] > limit,
         f"The drawdown is not shown: the worse end of its interval is {(of_fall or [0.0, 0.0])[1]:.2%}."),
        (days < MIN_RETURNS or of_growth is None or of_fall is None,
         f"Too short: {days} out-of-sample days, and {MIN_RETURNS} are needed."),
        (target > 0.0 and (luck is None or luck < ENOUGH),
         f"Skill is not shown for {found['trials']} trials: deflated Sharpe ratio {told}, needed {ENOUGH}."),
        (bool(found["red_canaries"]),
         f"Canary {', '.join(found['red_canaries'])} failed: the figures cannot be trusted."),
    )  # fmt: skip
    return [sentence for holds_not, sentence in doubts if holds_not]


def verdict_lines(found: dict[str, Any]) -> list[str]:
    """Return a sentence for each target: by how much it is missed, and what its interval says; then why not."""
    growth, fall = found["growth"], found["max_drawdown"]
    if growth is None:
        return list(found["why_not"])
    target, limit = found["target_return"], found["max_drawdown_limit"]
    lines = [
        f"growth a year   {growth:9.2%}   target at least {target:.2%}: "
        + ("holds" if growth >= target else f"missed by {target - growth:.2%}"),
        _interval_line(found["intervals"], "cagr", target, above=True),
        f"drawdown        {fall:9.2%}   limit  at most  {limit:.2%}: "
        + ("holds" if fall <= limit else f"exceeded by {fall - limit:.2%}"),
        _interval_line(found["intervals"], "max_drawdown", limit, above=False),
        *([found["uncharged"]] if found["uncharged"] else []),
    ]
    luck = found["deflated_sharpe"]
    told = "unknown" if luck is None else f"{luck:.2f}"
    lines.append(f"Trials counted on this data: {found['trials']}; deflated Sharpe of the whole run: {told}.")
    return [*lines, *(f"- {sentence}" for sentence in found["why_not"])]


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

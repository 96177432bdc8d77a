"""Run the reference backtest and say whether it truly reaches a return and a drawdown, out of sample.

    python scripts/validate_backtest.py --target-return 2.0 --max-drawdown 0.15 [--data PATH]

The reference is the trend strategy with the default settings. Exit code 0 only if, in the last 30 % of the data, growth
a year is at least the target and the drawdown stays within the limit; 1 if not; 2 if the data cannot be used. Without
--data the bars are simulated from a seed, which says nothing about any market.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from engine.domain import NS_PER_S
from engine.errors import WorkstationError
from engine.research.backtest import BacktestConfig, BacktestResult, run_backtest
from engine.research.loading import BarTable, align

HOURS = 3 * 365 * 24


def simulated_bars(seed: int) -> BarTable:
    """Three years of hourly bars of four correlated random walks without drift: nothing to predict."""
    rng = np.random.default_rng(seed)
    ts_open = (1_640_995_200 + 3600 * np.arange(HOURS, dtype=np.int64)) * NS_PER_S
    common = rng.standard_t(4, HOURS) * 0.004
    series = []
    for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT"):
        close_px = 100.0 * np.exp(np.cumsum(common + rng.standard_t(4, HOURS) * 0.004))
        open_px = np.concatenate([[100.0], close_px[:-1]])
        reach = 1.0 + np.abs(rng.normal(0.0, 0.002, HOURS))
        high_px, low_px = np.maximum(open_px, close_px) * reach, np.minimum(open_px, close_px) / reach
        series.append((symbol, ts_open, np.column_stack([open_px, high_px, low_px, close_px, np.ones(HOURS)])))
    return align(series)


def verdict_lines(result: BacktestResult, target_return: float, max_drawdown: float) -> tuple[bool, list[str]]:
    """Return whether both targets hold out of sample, and a sentence for each."""
    growth, fall = result.out_of_sample.get("cagr"), result.out_of_sample.get("max_drawdown")
    if growth is None or fall is None or not np.isfinite([growth, fall]).all():
        return False, ["The account was lost before or during the out-of-sample part: neither target holds."]
    growth_holds, fall_holds = growth >= target_return, fall <= max_drawdown
    lines = [
        f"growth a year   {growth:9.2%}   target at least {target_return:.2%}: "
        + ("holds" if growth_holds else f"missed by {target_return - growth:.2%}"),
        f"drawdown        {fall:9.2%}   limit  at most  {max_drawdown:.2%}: "
        + ("holds" if fall_holds else f"exceeded by {fall - max_drawdown:.2%}"),
    ]
    canaries_hold = all(verdict == "pass" for verdict in result.canaries.values())
    if not canaries_hold:
        lines.append("A canary failed: the figures cannot be trusted.")
    return bool(growth_holds and fall_holds and canaries_hold), lines


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target-return", type=float, default=2.0, help="growth a year, fraction")
    parser.add_argument("--max-drawdown", type=float, default=0.15, help="fraction of the peak")
    parser.add_argument("--data", type=Path, help="file, or folder of SYMBOL.parquet")
    parser.add_argument("--seed", type=int, default=1, help="of the simulated bars")
    options = parser.parse_args()
    try:
        if options.data is None:
            print(f"No --data: the bars are simulated random walks (seed {options.seed}), not a market.")
            config = BacktestConfig(bars=simulated_bars(options.seed), keep_ledger=False)
        else:
            config = BacktestConfig(data=options.data)
        result = run_backtest(config)
    except (WorkstationError, ValueError) as error:
        print(f"cannot run: {error}", file=sys.stderr)
        return 2
    holds, lines = verdict_lines(result, options.target_return, options.max_drawdown)
    print(f"Reference backtest: trend on {', '.join(result.bars.symbols)}, last 30 % of {result.config['bars']:,} bars")
    print("\n".join(lines))
    print("Both targets hold out of sample." if holds else "The targets do not hold out of sample.")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())

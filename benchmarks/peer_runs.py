"""Runs backtests of other libraries, in their own environment: one JSON request a line in, one JSON answer a line out.

Started by ``peers.py``; imports nothing of this project. A request names a folder of ``.npy`` arrays and one of RUNS.
"""

from __future__ import annotations

import json
import resource
import sys
import time
import warnings
from pathlib import Path

import numpy as np

FEE, SLIPPAGE, CASH = 0.0004, 0.0001, 10_000.0


def emas(close, fast, slow):
    import pandas as pd

    series = pd.Series(close)
    return [series.ewm(span=span, adjust=False).mean().to_numpy() for span in (fast, slow)]


def crossings(close, fast, slow):
    """Entries and exits at the close of a bar, none before bar slow - 1."""
    quick, lazy = emas(close, fast, slow)
    above, below = quick > lazy, quick < lazy
    entries, exits = np.zeros(len(close), bool), np.zeros(len(close), bool)
    entries[1:], exits[1:] = above[1:] & ~above[:-1], below[1:] & ~below[:-1]
    entries[: slow - 1] = exits[: slow - 1] = False
    return entries, exits


def next_bar(signal):
    later = np.zeros_like(signal)
    later[1:] = signal[:-1]
    return later


def vectorbt_cross(arrays):
    import vectorbt as vbt

    entries, exits = crossings(arrays["close"], 20, 100)
    portfolio = vbt.Portfolio.from_signals(
        arrays["close"], next_bar(entries), next_bar(exits), price=arrays["open"], fees=FEE, slippage=SLIPPAGE,
        init_cash=CASH, freq="1min",
    )  # fmt: skip
    return float(portfolio.value().iloc[-1]), int(portfolio.orders.count())


def vectorbt_rebalance(arrays):
    import pandas as pd
    import vectorbt as vbt

    close, opens, weight = (pd.DataFrame(arrays[name]) for name in ("close", "open", "weight"))
    portfolio = vbt.Portfolio.from_orders(
        close, weight.shift(1), size_type="targetpercent", price=opens, fees=FEE, slippage=SLIPPAGE, init_cash=CASH,
        cash_sharing=True, group_by=True, call_seq="auto", freq="1h",
    )  # fmt: skip
    return float(portfolio.value().iloc[-1]), int(portfolio.orders.count())


def vectorbt_sweep(arrays):
    import pandas as pd
    import vectorbt as vbt

    pairs = arrays["pairs"]
    entries, exits = (np.empty((len(arrays["close"]), len(pairs)), bool) for _ in range(2))
    for k, (fast, slow) in enumerate(pairs):
        up, down = crossings(arrays["close"], int(fast), int(slow))
        entries[:, k], exits[:, k] = next_bar(up), next_bar(down)
    portfolio = vbt.Portfolio.from_signals(
        pd.Series(arrays["close"]), entries, exits, price=arrays["open"][:, None], fees=FEE, slippage=SLIPPAGE,
        init_cash=CASH, freq="1min",
    )  # fmt: skip
    final = portfolio.value().iloc[-1].to_numpy()
    return float(final.max()), int(portfolio.orders.count().sum())


def backtesting_cross(arrays):
    import pandas as pd
    from backtesting import Strategy
    from backtesting.lib import FractionalBacktest

    entries, exits = crossings(arrays["close"], 20, 100)

    class Cross(Strategy):
        def init(self):
            self.entry = self.I(lambda: entries, plot=False)
            self.exit = self.I(lambda: exits, plot=False)

        def next(self):
            if self.entry[-1] and not self.position:
                self.buy()
            elif self.exit[-1] and self.position:
                self.position.close()

    opens, closes = arrays["open"], arrays["close"]
    frame = pd.DataFrame(
        {"Open": opens, "High": np.maximum(opens, closes), "Low": np.minimum(opens, closes), "Close": closes,
         "Volume": 1.0},
        index=pd.date_range("2020-09-13", periods=len(closes), freq="min"),
    )  # fmt: skip
    # its spread is paid by the entry alone and its commission has no slippage: both costs together at each side
    result = FractionalBacktest(frame, Cross, cash=CASH, commission=FEE + SLIPPAGE, finalize_trades=True).run()
    return float(result["Equity Final [$]"]), int(2 * result["# Trades"])


RUNS = {run.__name__: run for run in (vectorbt_cross, vectorbt_rebalance, vectorbt_sweep, backtesting_cross)}


def main() -> None:
    warnings.filterwarnings("ignore")
    out = sys.stdout
    sys.stdout = sys.stderr  # progress bars and notes of the libraries are no answers
    arrays: dict[str, dict[str, np.ndarray]] = {}
    for line in sys.stdin:
        request = json.loads(line)
        folder = request["arrays"]
        if folder not in arrays:
            arrays[folder] = {path.stem: np.load(path) for path in Path(folder).glob("*.npy")}
        try:
            started = time.perf_counter()
            final, orders = RUNS[request["run"]](arrays[folder])
            elapsed = time.perf_counter() - started
            peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            answer = {"ms": 1000 * elapsed, "final": final, "orders": orders, "peak_rss_mb": peak_mb}
        except Exception as error:  # another library may raise anything; the caller reports it
            first = (str(error).strip().splitlines() or [""])[0]
            answer = {"error": f"{type(error).__name__}: {first}"}
        print(json.dumps(answer), file=out, flush=True)


if __name__ == "__main__":
    main()

"""A parameter sweep, 100 pairs x 200,000 bars, against a bare numba ``prange`` loop in the same run. Prints JSON.

    python benchmarks/sweep.py [--bars 200000] [--repeats 7] [--peers] [--json OUT]

The bare loop does the least that any sweep of this rule must do and keeps one number a pair. Ours keeps twenty figures
and the returns of every day; its milliseconds are from planned parameter sets to the finished table, the rest of
``best_elapsed_ms`` is checking the parameters and judging the best. All take turns, so that other work meets all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from backtest import CASH, FEE, SLIPPAGE, Contest, _peer, alternate, minute_bars, own_peak_mb, timed
from bare import bare_sweep
from measuring import Missing, options, report
from peers import Peers

from engine.domain import NS_PER_S
from engine.research.loading import BarTable
from engine.research.sweep import SweepConfig, run_sweep

SPANS = {"ema_fast": list(range(5, 55, 5)), "ema_slow": list(range(60, 160, 10))}
PLAIN = {"slippage": SLIPPAGE, "maintenance_margin": 0.0, "liquidation_fee": 0.0}
WIDE = {"max_symbol_weight": 1.0, "max_drawdown": 0.9, "max_daily_loss": 0.5}
KINDS: dict[str, dict[str, Any]] = {
    "gate off": {"gate": "off"},
    "gate on, default limits, plain costs": PLAIN,
    "gate on, wide limits, plain costs": PLAIN | WIDE,
    "gate on, default limits, answering market": {},
    "gate on, wide limits, answering market": WIDE,
}
"""The rule as the public yardstick, then through the whole gate; wide limits let it trade throughout."""


def contestants(table: BarTable, elapsed_s: dict[str, float]) -> Contest:
    def contestant(name: str, params: dict[str, Any]) -> Any:
        config = SweepConfig(bars=table, strategy="ema-cross", params=params, grid=SPANS, keep_ledger=False)

        def once() -> tuple[float, float]:
            found = run_sweep(config)
            elapsed_s[name] = min(found.elapsed_s, elapsed_s.get(name, found.elapsed_s))
            return 1000.0 * found.table.scan_s, float(np.nanmax(found.table.column("final_equity")))

        return once

    return {name: contestant(name, params) for name, params in KINDS.items()}


def vectorbt(arrays: dict[str, Any]) -> dict[str, Any]:
    try:
        peers = Peers()
    except Missing as problem:
        return {"error": str(problem)}
    try:
        kept = peers.keep("sweep", **arrays)
        return alternate({"vectorbt": lambda: _peer(peers, "vectorbt_sweep", kept)}, 1)["vectorbt"]
    finally:
        peers.close()


def main() -> None:
    asked = options(
        __doc__, ("--bars", {"type": int, "default": 200_000}), ("--repeats", {"type": int, "default": 7}),
        ("--peers", {"action": "store_true"}),
    )  # fmt: skip
    bars = minute_bars(asked.bars)
    pairs = np.array([(fast, slow) for fast in SPANS["ema_fast"] for slow in SPANS["ema_slow"]], dtype=np.int64)
    open_px, close_px = bars.open_px[:, 0].copy(), bars.close_px[:, 0].copy()
    table = BarTable(("X",), 60, bars.ts_close - 60 * NS_PER_S, bars.open_px, bars.high_px, bars.low_px, bars.close_px,
                     bars.volume, "benchmark")  # fmt: skip
    elapsed_s: dict[str, float] = {}
    bare = timed(lambda: float(bare_sweep(open_px, close_px, pairs, FEE, SLIPPAGE, CASH).max()))
    rows = alternate({"bare": bare} | contestants(table, elapsed_s), asked.repeats)
    peak_mb = own_peak_mb()
    for name, seconds in elapsed_s.items():
        rows[name]["best_elapsed_ms"] = 1000.0 * seconds
    over = {name: rows[name]["best_ms"] / rows["bare"]["best_ms"] for name in KINDS}
    if asked.peers:
        rows["vectorbt"] = vectorbt({"open": open_px, "close": close_px, "pairs": pairs})
    report(
        {
            "bars": asked.bars, "pairs": len(pairs), "repeats": asked.repeats, "rows": rows, "best_over_bare": over,
            "target_over_bare": 2.0, "difference_from_bare": abs(
                rows["gate off"]["final_equity"] / rows["bare"]["final_equity"] - 1.0
            ),
            "peak_rss_mb": peak_mb, "target_mb": 500,
        },
        asked.json,
    )  # fmt: skip


if __name__ == "__main__":
    main()

"""A backtest's JSON with every block that a report can show; small, invented, and consistent with itself."""

from __future__ import annotations

from typing import Any

DAY_MS = 86_400_000
START_MS = 1_577_836_800_000  # 2020-01-01
EQUITY = [[START_MS + day * DAY_MS, 10_000.0 * (1 + 0.001 * day) * (0.9 if day > 300 else 1.0)] for day in range(400)]
SPLIT_MS = EQUITY[280][0]


def old_result() -> dict[str, Any]:
    """Return a result as the first version wrote it."""
    trade = {"symbol": "BTCUSDT", "side": "long", "ts_entry_ms": START_MS, "ts_exit_ms": START_MS + DAY_MS, "qty": 0.1,
             "entry_px": 7_200.0, "exit_px": 7_300.5, "pnl_net": 9.5, "pnl_fraction": 0.0132, "fees": 0.58}  # fmt: skip
    return {
        "config": {"strategy": "trend", "symbols": ["BTCUSDT"], "cash": 10_000.0, "interval_s": 3600, "bars": 9_600,
                   "first_ts_ms": START_MS, "last_ts_ms": EQUITY[-1][0], "funding": None, "params": {"fee": 0.0004}},
        "metrics": {"total_return": 0.26, "sharpe": 1.1, "max_drawdown": 0.09, "final_equity": 12_591.0,
                    "cvar_95": 0.02, "fees": 100.0,
                    "slippage": 25.0, "funding": 0.0, "n_trades": 1, "deflated_sharpe": 0.41},
        "in_sample": {"sharpe": 2.0}, "out_of_sample": {"sharpe": -0.3, "total_return": -0.02, "max_drawdown": 0.12,
                                                        "first_ts_ms": SPLIT_MS},
        "equity": [list(point) for point in EQUITY], "trades": [trade, dict(trade, pnl_net=-4.0, symbol="ETH<USDT")],
        "canaries": {"lookahead": "pass", "future_shift": "fail"}, "trials": 12,
        "rules": {"daily_loss": {"clip": 0, "refuse": 3, "sentence": "Stops after a bad day."}},
    }  # fmt: skip


def full_result() -> dict[str, Any]:
    """Return a result with every block."""
    row = {"sharpe": 0.4, "cagr": 0.05, "max_drawdown": 0.2, "final_equity": 10_500.0, "total_return": 0.05}
    fold = row | {"first_ts_ms": START_MS, "last_ts_ms": SPLIT_MS}
    return old_result() | {
        "exposure": [[point[0], 0.5, -0.2] for point in EQUITY[::10]],
        "honesty": {
            "intervals": {"sharpe": {"low": -0.4, "median": 1.0, "high": 2.5, "level": 0.95}}, "psr": 0.97,
            "deflated_sharpe": {"value": 0.41, "trials": 12, "expected_max_sharpe": 1.3},
            "pbo": {"value": 0.6, "trials": 12, "why": None},
            "min_track_record": {"needed_days": 900.0, "have_days": 400.0, "enough": False},
            "drawdown": {"p50": 0.11, "p95": 0.24, "p99": 0.31, "p_over_15": 0.27},
            "stress": [{"name": "costs x 2", **row, "sharpe": -0.1}, {"name": "delay + 1 bar", **row}],
            "comparison": [{"name": "BTC hold", **row}, {"name": "ETH hold", "why": "the run has no bars of ETH"}],
            "walk_forward": {"folds": [fold, dict(fold, sharpe=-0.5)], "sharpe": 0.3, "cagr": 0.04,
                             "max_drawdown": 0.2},
            "cpcv": {"paths": 9, "sharpe_p5": -0.6, "sharpe_p50": 0.7, "sharpe_p95": 1.9},
            "critique": ["Costs x 2 end the profit."], "promotable": False, "blockers": ["Canary future_shift is red."],
            "barred": ["Canary future_shift is red."],
        },
        "sensitivity": [
            {"assumption": "slippage", "change": "1 to 3 bp", "sharpe": 0.6, "cagr": 0.1, "max_drawdown": 0.1,
             "final_equity": 11_000.0},
            {"assumption": "taker_fee", "change": "4 to 2 bp", "sharpe": 1.4, "cagr": 0.3, "max_drawdown": 0.1,
             "final_equity": 13_000.0},
        ],
        "certificate": {"status": "pass", "strategy_version": "trend-1", "decisions": 500, "differences": 0,
                        "signature": "ab12"},
        "provenance": {"BTCUSDT": {"path": "BTC.parquet", "sha256": "0123456789abcdef0123", "rows": 9_600,
                                   "first_ts_ms": START_MS, "last_ts_ms": EQUITY[-1][0], "problems": ["2 gaps"]}},
    }  # fmt: skip

"""The fake engine with what the slower pages ask for besides, and a way to run one page against it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from fake_engine import FakeEngine
from streamlit.testing.v1 import AppTest

from engine.domain import NS_PER_DAY, RULE_SENTENCE, Rule, Verdict

PAGES = Path(__file__).resolve().parents[2] / "pages"
DAYS = 64


class PageEngine(FakeEngine):
    """Adds ratios, a decision that was refused for a reason of its own, and fills with slippage."""

    def __init__(self, home, *, empty: bool = False, enough: bool = True, ticking: bool = False) -> None:
        super().__init__(home, empty=empty, ticking=ticking)
        self.enough = enough and not empty
        if not empty:
            detail = self.books.detail[60]
            detail["verdict"][0][Rule.DAILY_LOSS] = int(Verdict.REFUSE)
            detail["measured"][0][Rule.DAILY_LOSS] = 0.031
            detail["limit"][0][Rule.DAILY_LOSS] = 0.05
            detail["raw_weight"][0], detail["sized_weight"][0], detail["approved_weight"][0] = 0.9, 0.6, -0.15
            detail["why_not"]["BTCUSDT"] = "Today's loss of 3.10 % leaves no room for new risk."
            for fill in self.books.fills:
                fill["decision_px"] = fill["px"] / (1 + 0.0002 * (1 if fill["qty"] > 0 else -1))

    def act_performance(self, body):
        """Sixty-four days of returns; ratios only when there are enough."""
        if not len(self.books.equity_rows):
            return {"ratios": {"n_days": 0}, "daily": [], "monthly": [], "drawdown": [], "enough": False,
                    "note": "No full day yet."}  # fmt: skip
        rng = np.random.default_rng(5)
        last = self.started_ns // NS_PER_DAY
        dates = [str(np.datetime64(int(last - DAYS + i), "D")) for i in range(DAYS)]
        daily = [{"date": date, "return": float(r), "pnl": float(r * 10_000)}
                 for date, r in zip(dates, rng.normal(0.0008, 0.009, DAYS), strict=True)]  # fmt: skip
        months = sorted({row["date"][:7] for row in daily})
        grown = {month: np.prod([1 + row["return"] for row in daily if row["date"][:7] == month]) for month in months}
        monthly = [{"month": month, "return": float(growth - 1)} for month, growth in grown.items()]
        ratios = {"sharpe": 1.42, "sortino": 2.05, "calmar": 3.1, "max_drawdown": 0.041, "cvar_95": 0.0172,
                  "volatility": 0.171, "total_return": 0.052, "n_days": DAYS, "win_rate": 0.54, "profit_factor": 1.31,
                  "fees": 12.34, "funding": -1.5, "turnover": 18.2}  # fmt: skip
        if not self.enough:
            ratios = {name: None for name in ratios} | {"n_days": 3, "fees": 12.34, "funding": -1.5}
        return {"ratios": ratios, "daily": daily if self.enough else daily[-3:], "monthly": monthly, "drawdown": [],
                "enough": self.enough, "note": "Ratios from daily returns, 365 days a year."}  # fmt: skip

    def act_run_result(self, body):
        """The fake's run in the exact shape of the engine's: names of trades, both samples, the gate's counts."""
        result = super().act_run_result(body)
        renamed = {"ts_entry": "ts_entry_ms", "ts_exit": "ts_exit_ms", "pnl": "pnl_net", "return": "pnl_fraction"}
        result["trades"] = [{renamed.get(k, k): v for k, v in trade.items()} for trade in result["trades"]]
        result["out_of_sample"]["first_ts_ms"] = result["equity"][350][0]
        result["config"] = {**result["config"], "funding": None}
        return result | {
            "in_sample": {"sharpe": 1.4, "total_return": 0.14},
            "canaries": {"lookahead": "pass", "future_shift": "pass"},
            "rules": {rule.name.lower(): {"clip": 2 * rule, "refuse": 1, "sentence": RULE_SENTENCE[rule]}
                      for rule in Rule},
        }  # fmt: skip

    def act_settings_set(self, body):
        answer = super().act_settings_set(body)
        self._note("settings page", "settings.set", ", ".join(sorted(body["values"])))
        return answer


def page(name: str, **query: str) -> AppTest:
    """Return a page ready to run, with query parameters."""
    script = AppTest.from_file(str(PAGES / f"{name}.py"), default_timeout=20)
    for key, value in query.items():
        script.query_params[key] = value
    return script


def texts(script: AppTest) -> str:
    """Return everything a page says, one text: headings, notices, captions, metrics."""
    parts = [element.value for kind in ("title", "subheader", "markdown", "caption", "info", "warning", "error",
                                        "success") for element in getattr(script, kind)]  # fmt: skip
    parts += [f"{metric.label} {metric.value}" for metric in script.metric]
    return "\n".join(str(part) for part in parts)

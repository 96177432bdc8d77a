"""How numbers, times and table rows are written, and the pure arithmetic behind the pages."""

from __future__ import annotations

import doctest
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from app import charts, formats, performance, tables, widgets
from app.formats import GROUP
from engine.domain import N_RULES, NS_PER_DAY, RULE_ORDER, Rule, Verdict

ROOT = Path(__file__).resolve().parents[2]
HOUR = NS_PER_DAY // 24


@pytest.mark.parametrize(("write", "value", "text"), [
    (formats.money, 1234567.891, "1_234_567.89_USDT"),
    (formats.money, -0.001, "0.00_USDT"),
    (formats.money, None, "—"),
    (formats.money, float("nan"), "—"),
    (formats.money, float("inf"), "—"),
    (formats.money, True, "—"),
    (formats.percent, 0.05, "5.00_%"),
    (formats.signed_percent, -0.0312, "▼ −3.12_%"),
    (formats.signed_percent, 0.000001, "± 0.00_%"),
    (formats.signed_money, 12.5, "▲ +12.50_USDT"),
    (formats.basis_points, 0.0004, "4.0_bp"),
    (formats.price, 91234.5, "91_234.50"),
    (formats.price, 2.345678, "2.3457"),
    (formats.price, 0.1234567, "0.123457"),
    (formats.quantity, -0.25, "−0.2500"),
    (formats.quantity, 150.0, "+150.00"),
    (formats.quantity, 0.0, "0.0000"),
    (formats.weight, 0.5, "+0.500"),
    (formats.moment, 1_700_000_000_000_000_000, "2023-11-14 22:13:20"),
    (formats.moment, 0, "—"),
    (formats.clock, 1_700_000_000_000_000_000, "22:13:20"),
    (formats.age, None, "—"),
])  # fmt: skip
def test_value_is_written(write, value, text):
    assert write(value).replace(GROUP, "_") == text


def test_price_follows_the_venues_tick():
    assert formats.price(91234.56, 0.1) == f"91{GROUP}234.6"
    assert formats.price(5.0, 10.0) == "5"
    assert formats.quantity(1.5, 0.001) == "+1.500"


@pytest.mark.parametrize("module", [formats, performance])
def test_examples_in_the_docstrings_hold(module):
    assert doctest.testmod(module).failed == 0
    assert doctest.testmod(module).attempted > 0


def test_meaningful_colours_are_those_of_the_theme():
    theme = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())["theme"]
    assert (
        theme["greenColor"], theme["redColor"], theme["orangeColor"], theme["primaryColor"], theme["backgroundColor"]
    ) == (charts.UP, charts.DOWN, charts.SECOND, charts.ACCENT, charts.BACKGROUND)  # fmt: skip


def test_styled_table_keeps_numbers_and_writes_unknown_as_a_dash():
    rows = pd.DataFrame({"symbol": ["A", "B"], "pnl": [1234.5, None], "ts": [1_700_000_000_000_000_000, 0]})
    columns = [tables.Column("symbol", "Symbol"), tables.Column("pnl", "PnL", "signed_money"),
               tables.Column("ts", "When", "time")]  # fmt: skip
    style = widgets.styled(rows, columns)
    assert style.data["pnl"].tolist()[0] == 1234.5  # sorts as a number
    assert style.data["ts"].iloc[0] == pd.Timestamp("2023-11-14 22:13:20", tz="UTC")
    assert pd.isna(style.data["ts"].iloc[1])
    html = style.to_html()
    assert f"▲ +1{GROUP}234.50" in html
    assert "—" in html


def test_a_cost_is_coloured_as_a_loss():
    assert widgets._cost_colour(1.0) == f"color: {charts.DOWN}"
    assert widgets._colour(1.0) == f"color: {charts.UP}"


def test_period_starts_its_length_ago_and_everything_starts_at_zero():
    now = 100 * NS_PER_DAY
    assert performance.period_start("7 d", now) == 93 * NS_PER_DAY
    assert performance.period_start("All", now) == 0
    assert performance.period_start("7 d", None) == 0
    assert performance.period_start("7 d", NS_PER_DAY) == 0


def test_slippage_is_a_cost_when_we_bought_above_or_sold_below():
    # buy 2 at 101 against 100: 2 x 1 = 2 USDT, 1 % = 100 bp. sell 2 at 101 against 100: a gain of the same.
    fills = pd.DataFrame({"qty": [2.0, -2.0, 1.0], "px": [101.0, 101.0, 50.0], "decision_px": [100.0, 100.0, np.nan]})
    table = performance.with_slippage(fills)
    assert table["slippage_cost"].tolist()[:2] == [2.0, -2.0]
    assert table["slippage_bp"].tolist()[:2] == pytest.approx([100.0, -100.0])
    assert np.isnan(table["slippage_cost"].iloc[2])  # no decision price: unknown, not zero


def test_exposure_is_notional_over_equity_and_unknown_without_equity():
    table = pd.DataFrame({"ts": [1, 2], "equity": [10_000.0, 0.0], "gross_notional": [15_000.0, 5.0],
                          "net_notional": [-5_000.0, 5.0]})  # fmt: skip
    shares = performance.exposure(table)
    assert (shares["gross"].iloc[0], shares["net"].iloc[0]) == (1.5, -0.5)
    assert shares.loc[1, ["gross", "net"]].isna().all()


def test_holding_is_rebased_to_the_accounts_first_value():
    equity = pd.DataFrame({"ts": [10 * HOUR, 12 * HOUR], "equity": [1_000.0, 1_100.0]})
    bars = pd.DataFrame({"ts_open": [9 * HOUR, 10 * HOUR, 11 * HOUR, 12 * HOUR, 13 * HOUR],
                         "open_px": [50.0, 100.0, 110.0, 120.0, 500.0]})  # fmt: skip
    held = performance.buy_and_hold(bars, equity)
    assert held["ts"].tolist() == [10 * HOUR, 11 * HOUR, 12 * HOUR]
    assert held["equity"].tolist() == pytest.approx([1_000.0, 1_100.0, 1_200.0])


def test_holding_is_not_shown_over_another_span():
    equity = pd.DataFrame({"ts": [10 * HOUR, 12 * HOUR], "equity": [1_000.0, 1_100.0]})
    late = pd.DataFrame({"ts_open": [11 * HOUR, 12 * HOUR], "open_px": [100.0, 120.0]})
    assert performance.buy_and_hold(late, equity).empty
    assert "do not reach back" in tables.comparison_sentence("BTCUSDT", 0.1, None)


def test_thinning_keeps_both_extremes_and_the_last_value():
    values = np.full(100_000, 5.0)
    values[31_337], values[77_777] = 1.0, 9.0
    kept = performance.thin_index(values, 900)
    assert len(kept) < 1_000
    assert {31_337, 77_777, 99_999} <= set(kept.tolist())
    assert np.all(np.diff(kept) > 0)
    assert np.diff(np.histogram(kept, bins=10, range=(0, 100_000))[0]).max() <= 6  # as dense where nothing happens


def test_missing_ratio_says_how_many_days_there_are():
    rows = tables.ratio_rows({"ratios": {"sharpe": None, "volatility": 0.2, "n_days": 3}}).set_index("name")
    assert rows.loc["Sharpe ratio, per year", "value"] == "not enough data yet (3 days)"
    assert rows.loc["Volatility, per year", "value"] == f"20.00{GROUP}%"


def decision_detail() -> dict:
    verdict = [[0] * N_RULES, [0] * N_RULES]
    verdict[0][Rule.DAILY_LOSS] = int(Verdict.REFUSE)
    numbers = [[0.031] * N_RULES, [None] * N_RULES]
    return {"symbols": ["A", "B"], "close_px": [1.0, 2.0], "raw_weight": [0.5, None], "sized_weight": [0.4, None],
            "approved_weight": [0.0, None], "position_qty": [0.0, 3.0], "target_qty": [0.0, 4.0], "act": [0, 1],
            "verdict": verdict, "measured": numbers, "limit": numbers, "why_not": {"A": "Loss too large."}}  # fmt: skip


def test_rules_show_number_limit_and_verdict_of_each_symbol():
    rows = tables.rule_rows(decision_detail(), "A").set_index("rule")
    assert list(rows.index) == [tables.rule_name(rule) for rule in RULE_ORDER]
    assert rows.loc["Daily loss", "measured"] == f"3.10{GROUP}%"
    assert (rows.loc["Daily loss", "A"], rows.loc["Daily loss", "B"]) == ("✕ refuse", "pass")
    assert rows.loc["Daily loss", "sentence"].startswith("As today's loss")
    assert tables.rule_rows(decision_detail(), "B").set_index("rule").loc["Drawdown", "measured"] == "—"


def test_every_symbol_says_why_it_was_or_was_not_traded():
    weights = tables.weight_rows(decision_detail(), [{"symbol": "B"}, {"symbol": "B"}])
    assert tables.why_lines(weights) == ["**A**: Loss too large.", "**B**: 2 orders sent"]
    small = pd.DataFrame(
        {"symbol": ["A", "B"], "why": ["Too small. Measured 0.1, limit 1.", "Too small. Measured 0.2, limit 1."]}
    )
    assert tables.why_lines(small) == ["**A, B**: Too small."]


def test_decisions_are_filtered_by_orders_and_text():
    table = pd.DataFrame({"decision_id": [2**60, 7], "n_orders": [0, 2], "summary": ["nothing to do", "bought BTC"],
                          "strategy": ["trend", None]})  # fmt: skip
    assert tables.decision_rows(table)["decision_id"].tolist() == [str(2**60), "7"]  # exact beyond 2^53
    assert tables.decision_rows(table, only_orders=True)["decision_id"].tolist() == ["7"]
    assert tables.decision_rows(table, text="BOUGHT")["decision_id"].tolist() == ["7"]
    assert tables.decision_rows(table, text="trend")["decision_id"].tolist() == [str(2**60)]
    assert tables.decision_rows(table, text="(").empty


def test_change_of_settings_is_written_as_before_and_after():
    detail = '{"from": {"max_leverage": 3.0, "symbols": ["A"]}, "to": {"max_leverage": 2.0, "symbols": ["A", "B"]}}'
    rows = tables.audit_rows(pd.DataFrame({"action": ["settings.set", "kill"], "detail": [detail, "by hand"]}))
    assert rows["detail"].tolist() == ["max_leverage: 3.0 → 2.0; symbols: A → A, B", "by hand"]

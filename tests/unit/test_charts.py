"""Figures hold the numbers of their tables, in the right panel, with units."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from app import charts, run_charts
from engine.domain import NS_PER_DAY


def equity_table() -> pd.DataFrame:
    return pd.DataFrame({"ts": np.arange(1, 5) * NS_PER_DAY, "equity": [100.0, 120.0, 90.0, 130.0],
                         "drawdown": [0.0, 0.0, 0.25, 0.0]})  # fmt: skip


def test_equity_is_above_drawdown_on_one_time_axis():
    figure = charts.equity_figure(equity_table())
    top, bottom = figure.data
    assert list(top.y) == [100.0, 120.0, 90.0, 130.0]
    assert list(bottom.y) == pytest.approx([0.0, 0.0, -0.25, 0.0])
    assert figure.layout.yaxis.title.text == "Equity, USDT"
    assert figure.layout.yaxis2.title.text == "Drawdown, %"
    assert figure.layout.xaxis.matches == "x2"
    assert figure.layout.showlegend is False


def test_comparison_is_drawn_with_its_name():
    held = pd.DataFrame({"ts": [NS_PER_DAY, 4 * NS_PER_DAY], "equity": [100.0, 110.0]})
    figure = charts.equity_figure(equity_table(), held, "Holding BTCUSDT")
    assert [trace.name for trace in figure.data] == ["Equity", "Holding BTCUSDT", "Drawdown"]
    assert figure.layout.showlegend is True


def test_return_calendar_has_a_row_a_month_and_its_total():
    daily = pd.DataFrame({"date": ["2026-10-31", "2026-11-01", "2026-11-02"], "return": [0.01, -0.02, None]})
    monthly = pd.DataFrame({"month": ["2026-10", "2026-11"], "return": [0.01, -0.02]})
    heat = charts.return_calendar(daily, monthly).data[0]
    assert list(heat.y) == ["2026-11", "2026-10"]
    assert heat.z[1][30] == 0.01
    assert heat.z[0][0] == -0.02
    assert np.isnan(heat.z[0][1])  # unknown is a gap, not a zero
    assert heat.z[0][31] == -0.02
    assert heat.text[0][0] == "−2.0"  # the sign is written, not only coloured
    assert heat.zmid == 0


def test_calendar_of_days_without_any_change_can_be_drawn():
    daily = pd.DataFrame({"date": ["2026-11-01"], "return": [0.0]})
    heat = charts.return_calendar(daily, pd.DataFrame({"month": ["2026-11"], "return": [0.0]})).data[0]
    assert heat.zmax > 0


def test_backtest_panels_share_their_times_and_the_drawdown_is_in_per_cent():
    top, bottom = run_charts.backtest_spec([[1_000, 100.0], [2_000, 120.0], [3_000, 90.0]])
    assert top["series"][0]["data"] == [{"time": 1, "value": 100.0}, {"time": 2, "value": 120.0},
                                        {"time": 3, "value": 90.0}]  # fmt: skip
    assert [point["value"] for point in bottom["series"][0]["data"]] == [0.0, 0.0, -25.0]
    assert [p["time"] for p in bottom["series"][0]["data"]] == [p["time"] for p in top["series"][0]["data"]]


def test_two_points_in_one_second_become_the_later_one():
    top, _ = run_charts.backtest_spec([[1_000, 100.0], [1_400, 101.0], [2_000, 102.0]])
    assert top["series"][0]["data"] == [{"time": 1, "value": 101.0}, {"time": 2, "value": 102.0}]


def test_long_backtest_is_thinned_but_keeps_its_deepest_drawdown():
    value = np.full(200_000, 100.0)
    value[123_456] = 40.0
    _, bottom = run_charts.backtest_spec(np.column_stack([np.arange(200_000) * 60_000, value]))
    data = bottom["series"][0]["data"]
    assert len(data) < 2_500
    assert min(point["value"] for point in data) == -60.0


def test_gains_and_losses_are_marked_by_direction_and_side():
    trades = pd.DataFrame({"ts_exit": [2_000_000_000, 3_000_000_000], "pnl": [5.0, -2.0]})
    top, _ = run_charts.backtest_spec([[1_000, 100.0], [2_000, 120.0], [3_000, 90.0]], trades)
    gain, loss = top["series"][0]["markers"]
    assert (gain["time"], gain["shape"], gain["text"]) == (2, "arrowUp", "+5")
    assert (loss["time"], loss["shape"], loss["position"]) == (3, "arrowDown", "aboveBar")


def test_start_of_the_out_of_sample_part_is_marked_in_order():
    trades = pd.DataFrame({"ts_exit": [1_000_000_000, 3_000_000_000], "pnl": [1.0, 1.0]})
    top, _ = run_charts.backtest_spec([[1_000, 100.0], [2_000, 120.0], [3_000, 90.0]], trades, 2_000)
    assert [mark["time"] for mark in top["series"][0]["markers"]] == [1, 2, 3]
    assert top["series"][0]["markers"][1]["text"] == "out of sample →"


def test_empty_backtest_can_be_drawn():
    top, bottom = run_charts.backtest_spec([])
    assert top["series"][0]["data"] == bottom["series"][0]["data"] == []


def test_compared_runs_start_at_one_hundred():
    (panel,) = run_charts.compare_spec({"a": [[1_000, 50.0], [2_000, 75.0]], "b": [[1_000, 200.0], [2_000, 100.0]]})
    assert [[p["value"] for p in series["data"]] for series in panel["series"]] == [[100.0, 150.0], [100.0, 50.0]]
    assert [series["options"]["title"] for series in panel["series"]] == ["a", "b"]


def test_weights_are_grouped_by_stage():
    figure = charts.weights_figure(pd.DataFrame({"symbol": ["A"], "raw": [0.9], "sized": [0.6], "approved": [0.5]}))
    assert [(bar.name, bar.y[0]) for bar in figure.data] == [("Raw", 0.9), ("Sized", 0.6), ("Approved", 0.5)]


def test_exposure_shows_gross_and_net():
    figure = charts.exposure_figure(pd.DataFrame({"ts": [1], "gross": [1.5], "net": [-0.5]}))
    assert [(trace.name, trace.y[0]) for trace in figure.data] == [("Gross", 1.5), ("Net", -0.5)]


def test_a_first_minute_of_noise_does_not_look_like_a_cliff():
    table = pd.DataFrame({"ts": [1, 2], "equity": [10_000.0, 10_000.2], "drawdown": [0.0, 0.00001]})
    figure = charts.equity_figure(table)
    low, high = figure.layout.yaxis.range
    assert high - low == pytest.approx(20.0, rel=0.01)  # 0.2 % of equity
    assert low < 10_000.0 < 10_000.2 < high
    assert tuple(figure.layout.yaxis2.range) == (-0.002, 0)

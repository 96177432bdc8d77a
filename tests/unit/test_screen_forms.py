"""What the backtest and settings forms send: stored units out of shown ones, only what changed."""

from __future__ import annotations

from datetime import date

import pandas as pd
import pytest

from app import backtests, report_view, run_config, settings_form
from engine.research.run_params import Market, RunParams, market_of
from engine.settings import SystemConfig

FORM = {"source": "history", "path": "", "symbols": ["BTCUSDT"], "interval": "1h", "strategy": "trend", "file": "",
        "free": "", "start": date(2026, 1, 1), "end": None, "cash": 5_000}  # fmt: skip


def answer(**values) -> dict:
    config = SystemConfig()
    fields = {name: {"description": field.description, "default": getattr(config, name), "type": "number",
                     "minimum": None, "maximum": None, "choices": None}
              for name, field in SystemConfig.model_fields.items()}  # fmt: skip
    return {"values": {**config.model_dump(mode="json"), **values}, "fields": fields}


def test_config_is_in_the_engines_units():
    config = run_config.build_config(FORM, {"volatility_target": 15.0, "fee": 4.0, "trend_horizons_hours": "4, 12"})
    assert config["params"] == {"volatility_target": 0.15, "fee": 0.0004, "trend_horizons_hours": [4.0, 12.0]}
    assert (config["start"], config["end"], config["cash"], config["path"]) == ("2026-01-01", None, 5_000.0, None)


def test_cost_fields_reach_the_market_model():
    untouched = {spec.name: spec.default for spec in run_config.COSTS}  # as the form starts, empty fields empty

    def market(**typed) -> Market:
        shown = {spec.name: untouched[spec.name] and untouched[spec.name] * spec.scale for spec in run_config.COSTS}
        return market_of(RunParams(**run_config.build_config(FORM, shown | typed)["params"]), has_volume=True)

    started = market()
    assert (started.spread_vol, started.impact, started.slippage) == (0.01, 1.0, 0.0001)
    typed = market(spread_vol=0.05, impact=3.0, maker_share=20.0, fee=5.0)
    assert (typed.spread_vol, typed.impact, typed.maker_share, typed.fee) == (0.05, 3.0, 0.2, 0.0005)
    assert market(slippage=2.0)[3:6] == (0.0002, 0.0, 0.0)  # a fixed distance takes the model's place


def test_users_strategy_sends_its_file_and_its_own_parameters():
    form = {**FORM, "strategy": "file", "file": "mine.py", "free": "span=20\nname = abc\n\nbroken"}
    config = run_config.build_config(form, {"fee": 0.0})
    assert config["strategy"] == "mine.py"
    assert config["params"] == {"fee": 0.0, "span": 20.0, "name": "abc"}


@pytest.mark.parametrize(("change", "word"), [
    ({"symbols": []}, "symbol"),
    ({"source": "path"}, "path"),
    ({"source": "dataset"}, "data set"),
    ({"strategy": "file"}, "Python file"),
    ({"start": date(2026, 2, 1), "end": date(2026, 1, 1)}, "before"),
])  # fmt: skip
def test_incomplete_form_says_what_is_missing(change, word):
    assert word in run_config.missing(run_config.build_config({**FORM, **change}, {}))


def test_complete_form_misses_nothing():
    assert run_config.missing(run_config.build_config(FORM, {})) is None


def test_trade_times_in_milliseconds_become_nanoseconds():
    trade = {"ts_entry_ms": 1_699_999_999_999, "ts_exit_ms": 1_700_000_000_000, "pnl_net": 5.0, "pnl_fraction": 0.01}
    row = backtests.trade_rows({"trades": [trade]}).iloc[0]
    assert (row["ts_entry"], row["ts_exit"]) == (1_699_999_999_999_000_000, 1_700_000_000_000_000_000)
    assert (row["pnl"], row["return"]) == (5.0, 0.01)
    assert "pnl" in backtests.trade_rows({"trades": []}).columns


def trade_table() -> pd.DataFrame:
    return pd.DataFrame({"symbol": ["A", "B", "A"], "ts_entry": [10**15, 2 * 10**15, 3 * 10**15],
                         "ts_exit": [2 * 10**15, 3 * 10**15, 5 * 10**15]})  # fmt: skip


def test_last_trades_give_the_stretch_of_candles():
    assert backtests.candle_window(trade_table(), None) == (None, None)
    # trades 2 and 3: 2e9 to 5e9 ms, and a twentieth of 3e9 on both sides
    assert backtests.candle_window(trade_table(), 2) == (1_850_000_000, 5_150_000_000)


def test_trades_of_a_stretch_are_its_symbols_own():
    assert len(backtests.trades_between(trade_table(), "A", None, None)) == 2
    assert backtests.trades_between(trade_table(), "A", 1_850_000_000, 5_150_000_000).index.tolist() == [2]


def test_runs_differ_only_where_their_settings_do():
    def run(fee, path):
        return {"config": {"strategy": "trend", "data": path, "bars": 5, "params": {"fee": fee, "gate": True}}}

    rows = backtests.difference_rows({"a": run(0.0004, "x"), "b": run(0.0, "x")})
    assert rows.to_numpy().tolist() == [["fee", "0.0004", "0.0"]]
    assert backtests.difference_rows({"a": run(0.1, "x"), "b": run(0.1, "x")}).empty


def test_cells_of_a_report_keep_their_tone_and_are_escaped():
    table = {"columns": ["", "Jan"], "rows": [["<2020>", ["+3.2", "g2"]], ["2021", ["-1.0", "loss"]]], "wide": [0]}
    html = report_view.table_html(table)
    assert '<td class="w" style="">&lt;2020&gt;</td>' in html
    assert '<td style="background-color: rgba(46, 189, 133, 0.36)">+3.2</td>' in html
    assert '<td style="color: #f6465d">-1.0</td>' in html


def test_every_setting_is_in_exactly_one_group_with_a_unit_where_it_is_a_number():
    groups = settings_form.form_fields(answer())
    fields = [field for group in groups.values() for field in group]
    assert sorted(field.name for field in fields) == sorted(SystemConfig.model_fields)
    assert settings_form.OTHER_GROUP not in groups  # a new setting needs a place in the form
    assert [field.name for field in fields if field.kind in ("number", "count") and "," not in field.label] == []


def test_fractions_are_shown_in_per_cent_and_go_back_exactly():
    (field,) = (f for f in settings_form.form_fields(answer())["Risk"] if f.name == "max_daily_loss")
    assert settings_form.shown(field, 0.05) == 5.0
    for per_cent in (0.07, 5.7, 14.3, 29.0):
        assert settings_form.stored(field, per_cent) == round(per_cent / 100, 6)


def test_only_what_differs_is_sent():
    fields = [field for group in settings_form.form_fields(answer()).values() for field in group]
    entered = {field.name: settings_form.shown(field, field.value) for field in fields}
    assert settings_form.changes(fields, entered) == {}
    entered.update(max_daily_loss=3.0, trend_horizons_hours="4, 12", allow_short=False)
    assert settings_form.changes(fields, entered) == {
        "max_daily_loss": 0.03, "trend_horizons_hours": [4.0, 12.0], "allow_short": False,
    }  # fmt: skip


def test_reset_names_the_settings_that_differ_from_their_default():
    fields = [field for group in settings_form.form_fields(answer(ema_fast=30)).values() for field in group]
    assert settings_form.resets(fields) == {"ema_fast": 20}


def test_refusal_is_matched_to_the_settings_it_names():
    names = ["ema_fast", "ema_slow", "max_leverage"]
    assert settings_form.refused_fields("ema_fast 300 must be below ema_slow 100", names) == ["ema_fast", "ema_slow"]


def test_a_strategy_is_chosen_from_the_known_ones_or_typed_with_its_parameters():
    given = answer(strategy="mine-0123456789ab.py", strategy_params={"n": 48, "share": 0.2, "both": True})
    given["fields"]["strategy"] = {"choices": ["trend", "ema-cross"]}
    fields = {field.name: field for field in settings_form.form_fields(given)["Strategy"]}
    strategy, params = fields["strategy"], fields["strategy_params"]
    assert strategy.is_open
    assert strategy.choices == ("trend", "ema-cross", "mine-0123456789ab.py")  # in force, though its file has gone
    assert settings_form.shown(params, params.value) == "n=48, share=0.2, both=True"
    assert settings_form.stored(params, "n=48, share=0.2, both=true") == params.value
    assert settings_form.changes([params], {"strategy_params": "n=50"}) == {"strategy_params": {"n": 50}}
    assert settings_form.written(params, {}) == "none"


def test_a_whole_number_of_a_free_parameter_stays_one():
    assert run_config.free_parameters("n=48\nshare = 0.5\nwords=6, 24") == {"n": 48, "share": 0.5, "words": "6, 24"}

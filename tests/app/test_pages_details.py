"""What the slower pages do besides showing: commands, deep links, filters, refusals."""

from __future__ import annotations

import json
import re
from html import unescape

import pandas as pd
import pytest
from page_engine import PageEngine, page, texts
from report_example import full_result
from test_pages_states import finish_run

from app import decision_models, reasons
from app.formats import GROUP
from engine.domain import NS_PER_DAY
from engine.execution.impact import Paid, fitted
from engine.research.own_costs import file_name
from engine.settings import SystemConfig

N_SETTINGS = len(SystemConfig.model_fields)


@pytest.fixture
def engine(tmp_path, monkeypatch):
    monkeypatch.setenv("ASTROLABE_HOME", str(tmp_path))
    running = PageEngine(tmp_path).start()
    yield running
    running.stop()


def button(script, label: str):
    return next(item for item in script.button if item.label == label)


def sent(engine: PageEngine, name: str) -> list[dict]:
    return [body for action, body in engine.calls if action == name]


# ---- portfolio ----------------------------------------------------------------------------------------------------


def test_portfolio_shows_the_accounts_numbers_with_units(engine):
    script = page("portfolio").run()
    metrics = {metric.label: metric.value for metric in script.metric}
    assert metrics["Equity, USDT"] == f"{engine.books.equity():,.2f}".replace(",", GROUP)
    assert metrics["Fees paid, USDT"] == "12.34"
    assert metrics["Funding paid, USDT"] == "−1.50"
    ratios, positions = script.dataframe[0].value, script.dataframe[1].value
    assert ratios.set_index("name").loc["Sharpe ratio, per year", "value"] == "1.42"
    assert positions["symbol"].tolist() == [row["symbol"] for row in engine.books.positions()]


def test_portfolio_with_few_days_says_so_and_shows_no_ratio(engine):
    engine.enough = False
    script = page("portfolio").run()
    values = script.dataframe[0].value["value"].tolist()
    assert set(values) == {"not enough data yet (3 days)"}


def test_portfolio_period_reaches_the_engine_as_a_time(engine):
    page("portfolio", period="7 d").run()
    since = sent(engine, "performance")[-1]["since_ns"]
    assert abs(since - (engine.started_ns - 7 * 86_400 * 10**9)) < 60 * 10**9


def test_portfolio_compares_with_holding_and_says_what_that_leaves_out(engine):
    script = page("portfolio", period="24 h").run()
    script.selectbox[0].set_value("BTCUSDT").run()
    assert not script.exception
    assert "for holding BTCUSDT with the whole account" in texts(script) or "do not reach back" in texts(script)


# ---- journal ------------------------------------------------------------------------------------------------------


def test_journal_opens_the_decision_of_the_link(engine):
    script = page("journal", decision_id="55").run()
    assert not script.exception
    said = texts(script)
    assert "Decision 55" in said
    orders, fills = script.dataframe[3].value, script.dataframe[4].value
    assert orders["client_id"].tolist() == [o["client_id"] for o in engine.books.orders if o["decision_id"] == 55]
    assert fills["slippage_bp"].iloc[0] == pytest.approx(2.0)


def test_journal_says_what_the_models_did_in_a_decision(engine):
    script = page("journal", decision_id="60").run()
    said = texts(script).replace(GROUP, " ")
    assert "Set 20261101T0400, by the bar that closed" in said
    assert "They counted 30 % of the decision." in said
    assert "Earned so far: 40 %, of that by themselves agents 5 % and headlines 0 %. A setting holds them to 30" in said
    assert "Left out: lstm (slow: no time was left of 40 ms)." in said
    table = next(one.value for one in script.dataframe if {"wish", "rise_24"} <= set(one.value))
    assert [text.replace(GROUP, " ") for text in table.iloc[0].drop("symbol")] == ["+0.42", "51.0 %", "54.0 %"]
    assert table["wish"].tolist()[1:] == ["—"] * (len(table) - 1)
    late = texts(page("journal", decision_id="55").run())
    assert "The models' newest forecast is 1 h old." in late
    assert "The rule alone decided." in late
    assert "Models took no part" in texts(page("journal", decision_id="59").run())


def test_journal_opens_what_drove_the_models_at_a_past_decision(engine):
    script = page("journal", decision_id="60").run()
    said = texts(script).replace(GROUP, " ")
    assert "the middle forecast is +12.5 bp" in said
    assert "From +4.0 bp for an average bar to +12.5 bp for this one, over 24 h; 80 % interval −310 to +330 bp." in said
    assert "Members differ by 19.0 bp and 2.0 points of probability (standard deviation): more than the 12.5 bp" in said
    assert "Together they wished +0.42" in said
    assert "The nearest is 0.90 away, an ordinary bar 1.40: not very alike." in said
    shown = {column for table in script.dataframe for column in table.value}
    assert {"unusual", "moved", "added", "between", "after"} <= shown
    members = next(table.value for table in script.dataframe if "moved" in table.value)
    assert members["moved"].tolist() == ["+28.3", "no part", "never moves"]
    assert [body["decision_id"] for name, body in engine.calls if name == "models.reasons"] == ["60"]
    late = texts(page("journal", decision_id="55").run())
    assert "Not computed, because the models' newest forecast is 1 h old." in late
    assert "Why they said so" not in texts(page("journal", decision_id="59").run())


def test_reasons_without_a_member_that_counts_or_a_case_say_so():
    record = {"topics": [], "said": [3.0, 0.5], "horizon": 24, "spread": [None, None], "cases": None, "features": [],
              "wish": {"total": None, "parts": []}}  # fmt: skip
    assert "no member counts over 24 h" in reasons.topic_sentence(record)
    assert "Fewer than two members" in reasons.member_sentence(record)
    assert "the rule alone decided" in reasons.wish_sentence(record)
    assert reasons.case_rows(record).empty
    assert "No past bar" in reasons.case_sentence(record)
    assert reasons.absent({"why_not": None}) == "Not computed, because nothing was kept."


def test_what_models_counted_is_said_in_a_portfolio_at_zero_and_where_the_record_is_old():
    said = {"version": "one", "ts_close": 1, "share": 0.2, "used_share": 0.2, "wish": [0.1], "why_not": None}
    detail = {"symbols": ["A"], "models": said, "portfolio": {"wish": [0.0]}}
    assert "The portfolio's sleeve of models took 20" in decision_models.lines(detail)[0]
    nothing = {"symbols": ["A"], "models": said | {"share": 0.0, "used_share": 0.0}}
    assert "They counted 0 %, so the rule alone decided" in decision_models.lines(nothing)[0]
    assert decision_models.rows(nothing).to_dict("records") == [{"symbol": "A", "wish": "+0.10"}]  # no horizons kept


def test_journal_says_why_nothing_was_done(engine):
    said = texts(page("journal", decision_id="60").run())
    assert "**BTCUSDT**: Today's loss of 3.10 % leaves no room for new risk." in said
    assert "This decision sent no order" in said


def test_journal_shows_a_rule_with_its_number_and_limit(engine):
    script = page("journal", decision_id="60").run()
    rules = script.dataframe[2].value.set_index("rule")
    assert rules.loc["Daily loss", ["measured", "limit", "BTCUSDT"]].tolist() == [
        f"3.10{GROUP}%", f"5.00{GROUP}%", "✕ refuse",
    ]  # fmt: skip


def test_journal_filters_by_orders_and_words(engine):
    script = page("journal").run()
    script.toggle[0].set_value(True).run()
    assert (script.dataframe[0].value["n_orders"] > 0).all()
    script.text_input[0].set_value("no such word").run()
    assert "matches the filter" in texts(script)
    assert "No decisions yet" not in texts(script)


def test_journal_link_to_a_decision_that_is_not_there(engine):
    script = page("journal", decision_id="999").run()
    assert not script.exception
    assert "There is no decision 999" in texts(script)


def test_journal_link_that_is_no_number(engine):
    script = page("journal", decision_id="<b>x</b>").run()
    assert not script.exception
    assert "Decision 60" in texts(script)  # falls back to the newest


# ---- settings -----------------------------------------------------------------------------------------------------


def test_settings_send_only_what_changed_in_stored_units(engine):
    script = page("settings").run()
    next(box for box in script.number_input if box.label == "Daily loss limit, %").set_value(3.0)
    button(script, "Apply").click()
    script.run()
    (body,) = sent(engine, "settings.set")
    assert body["values"] == {"max_daily_loss": 0.03}
    assert engine.config.max_daily_loss == 0.03
    assert f"**1 of {N_SETTINGS}** settings differ" in texts(script)
    assert "changed · default 5" in texts(script)
    assert script.dataframe[0].value["action"].tolist() == ["settings.set"]
    script.run()
    assert len(sent(engine, "settings.set")) == 1  # drawing the page again sends nothing


def test_settings_that_allow_more_risk_are_applied_only_when_confirmed(engine):
    script = page("settings").run()
    box = "Daily loss limit, %"
    next(field for field in script.number_input if field.label == box).set_value(8.0)
    next(field for field in script.number_input if field.label == "Fast EMA, bars").set_value(30)
    button(script, "Apply").click()
    script.run()
    assert sent(engine, "settings.set") == []
    said = texts(script)
    assert "Daily loss limit, %: 5 → **8** · allows more risk" in said
    assert "Fast EMA, bars: 20 → **30**  " in f"{said}  "
    button(script, "Loosen these limits").click()
    script.run()
    script.run()
    (body,) = sent(engine, "settings.set")
    assert body["values"] == {"max_daily_loss": 0.08, "ema_fast": 30}


def test_settings_refused_are_explained_and_kept_in_the_form(engine):
    script = page("settings").run()
    next(box for box in script.number_input if box.label == "Fast EMA, bars").set_value(300)
    button(script, "Apply").click()
    script.run()
    assert "ema_fast 300 must be below ema_slow 100" in script.error[0].value
    assert sum("Refused" in caption.value for caption in script.caption) == 2  # beside both fields it names
    assert next(box for box in script.number_input if box.label == "Fast EMA, bars").value == 300
    assert engine.config.ema_fast == 20


def test_settings_are_reset_to_their_defaults(engine):
    engine.config = engine.config.model_copy(update={"max_leverage": 2.0})
    script = page("settings").run()
    assert "→ **3** · allows more risk" in texts(script)
    button(script, "Reset 1 setting").click()
    script.run()
    assert sent(engine, "settings.set")[0]["values"] == {"max_leverage": 3.0}
    assert f"**0 of {N_SETTINGS}** settings differ" in texts(script)


def test_settings_without_a_change_send_nothing(engine):
    script = page("settings").run()
    button(script, "Apply").click()
    script.run()
    assert sent(engine, "settings.set") == []
    assert "Nothing differs" in texts(script)


# ---- backtest -----------------------------------------------------------------------------------------------------


def test_backtest_starts_once_with_a_key_and_shows_progress(engine):
    script = page("backtest").run()
    button(script, "Run backtest").click()
    script.run()
    (body,) = sent(engine, "run.start")
    assert body["kind"] == "backtest"
    assert len(body["idempotency_key"]) >= 16
    config = body["config"]
    assert (config["strategy"], config["symbols"], config["interval"], config["cash"]) == (
        "trend", list(SystemConfig().symbols), "1h", 10_000.0,
    )  # fmt: skip
    assert config["params"]["fee"] == 0.0004
    assert config["params"]["volatility_target"] == 0.2
    assert config["params"]["trend_horizons_hours"] == list(SystemConfig().trend_horizons_hours)
    script.run()
    assert len(sent(engine, "run.start")) == 1
    assert button(script, "Run backtest").disabled
    engine.books.runs["run-0001"]["ts_started"] -= 3_000_000_000
    script.run()
    assert not script.exception
    assert "· run-0001" in texts(script)
    assert not button(script, "Run backtest").disabled


def test_backtest_that_is_going_on_is_found_again_after_a_reload_and_can_be_cancelled(engine):
    asked = {"config": {"symbols": ["BTCUSDT"], "strategy": "trend"}}
    for _ in range(2):  # one of them from another browser
        engine.act_run_start(asked)
    engine.act_run_start(asked | {"kind": "train"})  # the Insights page shows those
    script = page("backtest").run()
    assert button(script, "Run backtest").disabled
    assert [widget.key for widget in script.button if widget.label == "Cancel"] == [
        "backtest.cancel.run-0002", "backtest.cancel.run-0001",
    ]  # fmt: skip
    script.button(key="backtest.cancel.run-0002").click()
    script.run()
    assert engine.books.runs["run-0002"]["cancelled"]
    assert "Run run-0002 cancelled" in texts(script)
    engine.books.runs["run-0001"]["ts_started"] -= 3_000_000_000
    script.run()
    assert not script.exception
    assert "· run-0001" in texts(script)  # it was followed next, and its result is opened
    assert not button(script, "Run backtest").disabled


def test_backtest_starts_from_the_settings_in_force_and_asks_for_those_it_does_not_show(engine):
    given = {"strategy": "portfolio", "strategy_params": {"sleeves": "trend,carry", "tail_budget": 0.5}, "ema_fast": 7}
    engine.config = SystemConfig(**given)
    script = page("backtest").run()
    script.selectbox(key="backtest.strategy").set_value("ema-cross").run()
    assert script.number_input(key="backtest.ema-cross.fast").value == 7
    script.selectbox(key="backtest.strategy").set_value("portfolio").run()
    assert not script.exception
    assert "those in force on the Settings page" in texts(script)
    button(script, "Run backtest").click()
    script.run()
    (body,) = sent(engine, "run.start")
    assert body["config"]["settings"] == "in_force"
    assert (body["config"]["params"]["sleeves"], body["config"]["params"]["tail_budget"]) == (["trend", "carry"], 0.5)


def test_backtest_leaves_the_market_model_to_the_engine_unless_told_otherwise(engine):
    script = page("backtest").run()
    box = next(box for box in script.number_input if box.label == "Slippage, bp")
    assert box.value is None
    button(script, "Run backtest").click()
    script.run()
    (body,) = sent(engine, "run.start")
    assert not {"slippage", "spread_vol", "impact", "stop_pct"} & set(body["config"]["params"])
    assert body["config"]["funding"] is None


def test_backtest_takes_its_costs_from_our_own_fills_once_there_are_enough(engine):
    script = page("backtest").run()
    assert "there are no costs of our own" in texts(script)
    assert script.segmented_control(key="backtest.costs").disabled
    rows = [Paid(1e-4 + 1e-6 * i, 0.0, 0.001, 0.005, 1000.0, 500.0, 0.2, 0.0, False) for i in range(30)]
    kept = {"version": "c42", "ts": NS_PER_DAY, "model": fitted(rows, 0.0004, 0.0).as_json()}
    (engine.home / file_name("simulated")).write_text(json.dumps(kept))
    script = page("backtest").run()
    script.segmented_control(key="backtest.costs").set_value("own").run()
    assert "30 orders of our own that filled (c42" in texts(script)
    assert "practice exchange on its simulated market" in texts(script)
    button(script, "Run backtest").click()
    script.run()
    assert not script.exception
    (body,) = sent(engine, "run.start")
    assert body["config"]["costs"] == "own"
    assert {"fee", "slippage", "impact"}.isdisjoint(body["config"]["params"]), "what the fills say is not stated"
    assert "min_notional" in body["config"]["params"]


def test_backtest_runs_on_a_stored_data_set_with_its_funding(engine):
    script = page("backtest").run()
    script.segmented_control[0].set_value("dataset").run()
    next(box for box in script.selectbox if box.label == "Funding rates").set_value("rates@1")
    next(box for box in script.number_input if box.label == "Stop, %").set_value(5.0)
    button(script, "Run backtest").click()
    script.run()
    (body,) = sent(engine, "run.start")
    config = body["config"]
    assert (config["source"], config["dataset"], config["funding"]) == ("dataset", "btc-hours@2", "rates@1")
    assert config["params"]["stop_pct"] == 0.05


def test_backtest_can_be_cancelled(engine):
    script = page("backtest").run()
    button(script, "Run backtest").click()
    script.run()
    button(script, "Cancel").click()
    script.run()
    assert engine.books.runs["run-0001"]["cancelled"]
    assert "Run run-0001 cancelled" in texts(script)


def test_backtest_that_fails_says_why(engine):
    script = page("backtest").run()
    script.segmented_control[0].set_value("path").run()
    next(box for box in script.text_input if box.label.startswith("Path of a file")).set_value("/no/such")
    button(script, "Run backtest").click()
    script.run()
    assert "No such file: /no/such" in texts(script)


def test_backtest_form_that_lacks_something_sends_nothing(engine):
    script = page("backtest").run()
    script.multiselect[0].set_value([])
    button(script, "Run backtest").click()
    script.run()
    assert sent(engine, "run.start") == []
    assert "Choose at least one symbol." in texts(script)


def test_backtest_result_has_out_of_sample_beside_it(engine):
    run_id = finish_run(engine)
    script = page("backtest", run_id=run_id).run()
    metrics = {metric.label: (metric.value, metric.delta) for metric in script.metric}
    assert metrics["Sharpe, per year"] == ("1.10", "0.40 out of sample")
    measures = table_with(script, "Sharpe ratio, per year")
    assert measures.loc["Total return", "c3"] == "+3.0 %"
    assert measures.loc["Sharpe ratio, per year", "c2"] == "1.40"
    assert measures.loc["Largest drawdown", "c3"] == "–"
    assert "1 trial on this data" in texts(script)


def table_with(script, first: str):
    """The table that has this text in its first column, by that column."""
    bodies = (item.proto.body for item in script.get("html"))
    tables = (
        [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", body)] for body in bodies
    )
    rows = next(rows for rows in tables if first in [row[0] for row in rows if row])
    frame = pd.DataFrame([[unescape(text) for text in row] for row in rows if row])
    return frame.set_axis([f"c{i}" for i in range(frame.shape[1])], axis=1).set_index("c0")


def test_backtest_of_an_older_version_says_what_was_not_computed(engine):
    said = texts(page("backtest", run_id=finish_run(engine)).run())
    assert "Not computed for this run." in said
    assert "What would make me doubt this" in said


def test_backtest_shows_the_whole_honesty_panel(engine, monkeypatch):
    monkeypatch.setattr(engine, "act_run_result", lambda body: full_result())
    script = page("backtest", run_id=finish_run(engine)).run()
    assert not script.exception
    said = texts(script)
    assert "Not computed for this run" not in said
    assert "Costs x 2 end the profit." in said
    assert "Do not believe this result: future shift failed." in said
    assert table_with(script, "Probability of overfitting").loc["Probability of overfitting", "c1"] == "60 %"
    assert table_with(script, "slippage").index.tolist() == ["slippage", "taker fee"]
    assert table_with(script, "2020").loc["2020", "c13"].startswith("+")


def test_backtest_trades_are_asked_with_their_candles(engine):
    script = page("backtest", run_id=finish_run(engine)).run()
    body = sent(engine, "run.candles")[-1]
    assert (body["symbol"], body["start_ms"]) == ("BTCUSDT", None)  # 20 trades are few: the whole run
    assert not script.exception


def test_backtest_with_a_failed_canary_warns_in_words(engine, monkeypatch):
    run_id = finish_run(engine)
    plain = engine.act_run_result
    monkeypatch.setattr(engine, "act_run_result", lambda body: plain(body) | {"canaries": {"lookahead": "fail"}})
    script = page("backtest", run_id=run_id).run()
    assert "Do not believe this result: lookahead failed." in texts(script)


def test_two_runs_are_compared(engine):
    first, second = finish_run(engine), finish_run(engine, symbols=["ETHUSDT"])
    script = page("backtest", run_id=f"{first},{second}").run()
    assert not script.exception
    assert f"trend · BTC · {first} against trend · ETH · {second}" in texts(script)
    differing, table = script.table[0].value, script.table[1].value
    assert list(table.columns)[1:] == [first, second]
    assert differing.iloc[0].tolist() == ["symbols", "BTCUSDT", "ETHUSDT"]

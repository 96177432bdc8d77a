"""Trained models on a live tape: what batches say, within the budget, beside the engine in a process of their own."""

from __future__ import annotations

import asyncio
import json
import math
import shutil
import time
from dataclasses import replace

import numpy as np
import pytest

from engine.domain import Bar
from engine.errors import ModelError
from engine.runtime.model_host import ModelHost, Said, rows_of
from models import live_set
from models.conformal import Tracker, widened
from models.dataset import learnable
from models.ensemble import Weights
from models.features import feature_hash
from models.fit import store_set, train_set
from models.live_set import Issued, LiveSet
from models.panel import made_up_panel
from models.panel import rows_of as panel_rows
from models.position import position_after
from models.roles import enter, promote, restore, retire
from models.serve import Tape, open_tape
from models.sets import BASE, ENSEMBLE, load_set
from models.shown import NO_EVIDENCE

HOUR = 3_600 * 10**9
EARNED = 0.3
SHOWN = 900  # bars that the tape is shown, the newest ones
FIELDS = ("open_px", "high_px", "low_px", "close_px", "volume")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    panel = made_up_panel(seed=3, n_bars=4_400, n_symbols=2, memory=0.3)
    unknown = np.full(panel.funding.shape, np.nan)
    panel = panel._replace(funding=unknown, basis=unknown, imbalance=unknown)
    data = learnable(panel)
    found = train_set(data, (BASE, "linear"), 0, lambda *_: True)
    assert found.metrics[ENSEMBLE]["share"]["mean"] == 0.0  # 37 judged days are too few to trade by
    found.metrics[ENSEMBLE]["share"]["mean"] = EARNED
    now = time.time_ns()
    store_set(home, data, found, "one", "1h", 0, now)
    enter(home, "one", now, "the first training", "test")
    return home, data


def gap_of(record):
    """Return by how much a kept record does not add up, in basis points and probability: rounding alone.

    Of the topics against what was said, and of the members by their weights against the same.
    """
    gaps = []
    for k, (mine, theirs) in enumerate(((1, 2), (3, 3))):
        topics = record["typical"][k] + sum(row[mine] for row in record["topics"])
        members = sum(row[1] * row[theirs] for row in record["members"])
        gaps.append(max(abs(topics - record["said"][k]), abs(members - record["said"][k])))
    return gaps[0], gaps[1]


def bars_of(data, first, last):
    panel = data.panel
    return [(int(panel.ts_close[t]), [getattr(panel, name)[t].tolist() for name in FIELDS]) for t in range(first, last)]


def warmed(home, data, until):
    tape = open_tape(home, data.panel.symbols, time.time_ns())
    tape.warm_up(bars_of(data, len(data.panel.ts_close) - SHOWN, until))
    return tape


def test_a_live_bar_is_forecast_as_a_batch_forecasts_it_and_wished_as_the_position_rule_says(trained):
    home, data = trained
    n_bars = len(data.panel.ts_close)
    tape = warmed(home, data, n_bars - 3)
    shown = learnable(panel_rows(data.panel, slice(n_bars - SHOWN, n_bars)))
    for t in range(n_bars - 3, n_bars):
        ((ts_close, rows),) = bars_of(data, t, t + 1)
        trail = tape.champion._trail
        said = tape.on_bar(ts_close, rows, time.time_ns(), 1e4)
        batch = tape.champion._models.members["linear"].model.predict(
            shown, slice(t - n_bars + SHOWN, t - n_bars + SHOWN + 1)
        )
        np.testing.assert_allclose(said["models"]["linear"]["prob_up"], batch.prob_up[0], atol=1e-4)
        np.testing.assert_allclose(said["models"]["linear"]["quantile"], batch.quantile[0], atol=1e-3)
        ensemble = said["ensemble"]
        assert np.isfinite(trail).all()  # the history has filled it: the rule does not begin anew with a start
        wish = position_after(trail, ensemble["quantile"], ensemble["prob_up"])[1]
        np.testing.assert_array_equal(said["weight"], wish)
        assert said["left_out"] == {}
        assert said["share"] == EARNED


def test_a_set_that_was_trained_before_shares_were_earned_counts_nothing_and_says_so(trained):
    home, data = trained
    found = load_set(home, "one", feature_hash(), time.time_ns())
    without = {name: row for name, row in found.manifest.metrics.items() if name not in ("share", "excess")}
    live = LiveSet(found._replace(manifest=replace(found.manifest, metrics=without)), data.panel.symbols)
    assert live.share == 0.0
    assert live.description()["why_share"] == NO_EVIDENCE
    assert LiveSet(found, data.panel.symbols).share == EARNED


def test_a_symbol_without_a_forecast_has_no_wish_however_it_was_wished_before(trained):
    home, data = trained
    n_bars = len(data.panel.ts_close)
    tape = warmed(home, data, n_bars - 1)
    ((ts_close, rows),) = bars_of(data, n_bars - 1, n_bars)
    gone = [[None if i == 0 else value for i, value in enumerate(row)] for row in rows]
    wish = tape.on_bar(ts_close, gone, time.time_ns(), 1e4)["weight"]
    assert np.isnan(wish[0])
    assert np.isfinite(wish[1])


def test_a_member_without_time_is_left_out_with_its_reason_and_misses_no_bar(trained):
    home, data = trained
    n_bars = len(data.panel.ts_close)
    tape, other = warmed(home, data, n_bars - 2), warmed(home, data, n_bars - 2)
    (first, second) = bars_of(data, n_bars - 2, n_bars)
    said = tape.on_bar(*first, time.time_ns(), 0.0)
    assert said["left_out"]["linear"].startswith("slow")
    assert said["share"] == 0.0
    assert np.isfinite(said["ensemble"]["prob_up"]).all()  # the base rate speaks
    tape.afterwards(time.time_ns())
    other.on_bar(*first, time.time_ns(), 1e4)
    one, two = tape.on_bar(*second, time.time_ns(), 1e4), other.on_bar(*second, time.time_ns(), 1e4)
    np.testing.assert_array_equal(one["models"]["linear"]["prob_up"], two["models"]["linear"]["prob_up"])


def test_what_is_expired_or_breaks_is_left_out_and_the_others_go_on(trained):
    home, data = trained
    n_bars = len(data.panel.ts_close)
    (bar,) = bars_of(data, n_bars - 1, n_bars)
    tape = warmed(home, data, n_bars - 1)

    class Broken:
        def update(self, features):
            raise ValueError("no luck")

    tape.champion._streams["linear"] = Broken()
    said = tape.on_bar(*bar, time.time_ns(), 1e4)
    assert said["left_out"] == {"linear": "broken: ValueError: no luck"}
    assert said["share"] == 0.0
    late = warmed(home, data, n_bars - 1).on_bar(*bar, time.time_ns() + 400 * 24 * HOUR, 1e4)
    assert late["left_out"]["linear"] == "expired: train it again"
    assert np.isnan(late["weight"]).all()


KNOWN = {"share": 0.0, "is_sleeve": False, "covered": None, "direction": None}


def believed(tape):
    """Let the line count, whatever its evidence."""
    tape.champion._weights = Weights(("linear",), np.full((1, 6), 0.4), np.full(6, 0.6))
    return tape


def asked(tape, symbol, at=None):
    return tape.reasons({"symbol": symbol, "ts_close": tape.ts_close if at is None else at, "known": KNOWN})


def test_reasons_add_up_and_are_the_same_again_from_the_set_and_the_stored_bars(trained):
    home, data = trained
    n_bars, symbol = len(data.panel.ts_close), data.panel.symbols[1]
    tape = believed(open_tape(home, data.panel.symbols, time.time_ns()))
    tape.warm_up(bars_of(data, n_bars - SHOWN, n_bars - 3))
    kept = []
    for t in range(n_bars - 3, n_bars):
        tape.on_bar(*bars_of(data, t, t + 1)[0], time.time_ns(), 1e4)
        kept.append(asked(tape, symbol))
    record = json.loads(json.dumps(kept[1]))  # as it is stored
    assert max(gap_of(record)) < 1e-4
    assert record["topics"]
    said = dict((row[0], row[1:]) for row in record["members"])
    assert sum(row[0] for row in said.values()) == pytest.approx(1.0, abs=1e-5)
    assert record["wish"]["parts"][0][0] == "forecasters"
    assert record["wish"]["total"] == pytest.approx(sum(row[3] for row in record["wish"]["parts"]), abs=1e-5)
    assert any(sentence.startswith("The middle forecast is ") for sentence in record["summary"])
    # another process, later: the same set, the bars from the first that was seen up to the one in question
    again = believed(open_tape(home, data.panel.symbols, time.time_ns()))
    rows = bars_of(data, 0, n_bars - 1)
    again.warm_up([row for row in rows if record["ts_first"] <= row[0] <= record["ts_warm"]])
    for row in rows:
        if row[0] > record["ts_warm"]:
            again.on_bar(*row, time.time_ns(), 1e4)
    assert json.loads(json.dumps(asked(again, symbol))) == record
    with pytest.raises(ModelError, match="the next bar came first"):
        asked(tape, symbol, again.ts_close)


def test_what_was_not_forecast_is_not_explained(trained):
    home, data = trained
    n_bars = len(data.panel.ts_close)
    tape = warmed(home, data, n_bars - 1)
    ((ts_close, rows),) = bars_of(data, n_bars - 1, n_bars)
    tape.on_bar(ts_close, [[None, row[1]] for row in rows], time.time_ns(), 1e4)
    with pytest.raises(ModelError, match=f"no forecast of {data.panel.symbols[0]} at this bar"):
        asked(tape, data.panel.symbols[0])


def test_intervals_follow_what_came_on_the_tape(trained):
    home, data = trained
    n_bars = len(data.panel.ts_close)
    tape = warmed(home, data, n_bars - 1)
    outcomes = tape.champion._tracker.outcomes
    stored = open_tape(home, data.panel.symbols, time.time_ns()).champion._tracker.outcomes
    assert (outcomes - stored >= 24).all()  # the warm-up itself was scored: 48 bars, less the horizon
    fresh = widened(Tracker.fresh(1, 1), np.linspace(-1, 1, 9)[None, None])
    np.testing.assert_allclose(fresh[0, 0], np.linspace(-1, 1, 9))


def test_an_outcome_belongs_to_the_horizon_that_has_passed_whatever_was_silent_meanwhile(trained, monkeypatch):
    home, data = trained
    models = load_set(home, "one", feature_hash(), time.time_ns())
    running = LiveSet(models, data.panel.symbols)
    quantile = np.zeros((2, 6, 9))
    close = np.array([100.0, 50.0])
    learned = []
    monkeypatch.setattr(live_set, "learn", lambda tracker, h, *rest: learned.append(h))
    for hour in (10, 11):
        running._issued.append(Issued(hour * HOUR, close, np.array([0.01, 0.01]), quantile))
    running._learn(13 * HOUR, close)  # the bar of hour 12 had no forecast
    assert learned == [1]  # the second horizon, two bars after hour 11; nothing for three bars after hour 10


def test_reasons_come_with_what_the_engine_knows_of_such_forecasts(trained):
    home, data = trained
    n_bars = len(data.panel.ts_close)
    tape = warmed(home, data, n_bars - 1)
    tape.on_bar(*bars_of(data, n_bars - 1, n_bars)[0], time.time_ns(), 1e4)
    record = {"share": 0.62, "low": 0.55, "high": 0.7, "outcomes": 2_000, "days": 30}
    asked = {
        "symbol": data.panel.symbols[1], "model": "linear", "horizon": 24, "bars": bars_of(data, n_bars - 900, n_bars),
        "known": {"share": 0.1, "is_sleeve": False, "covered": record, "direction": None},
    }  # fmt: skip
    said = " ".join(tape.explain(asked)["summary"])
    assert "62.0 % (between 55.0 % and 70.0 %) of 2\u202f000 on 30 days held what came (stated: 80 %): too" in said
    assert "Too few forecasts have been judged (0 on 0 days) to say if they are right." in said
    assert "The models count 10 % of the decision" in said  # not what the set alone has earned


def test_a_challenger_speaks_after_the_champion_about_the_same_bar(trained):
    home, data = trained
    n_bars = len(data.panel.ts_close)
    models = open_tape(home, data.panel.symbols, time.time_ns()).champion._models
    tape = Tape(data.panel.symbols, LiveSet(models, data.panel.symbols), LiveSet(models, data.panel.symbols))
    tape.warm_up(bars_of(data, n_bars - SHOWN, n_bars - 1))
    (bar,) = bars_of(data, n_bars - 1, n_bars)
    said = tape.on_bar(*bar, time.time_ns(), 1e4)
    shadow = tape.afterwards(time.time_ns())
    np.testing.assert_array_equal(shadow["ensemble"]["quantile"], said["ensemble"]["quantile"])


async def test_the_engine_hears_the_models_over_their_process_and_goes_on_without_them(trained):
    home, data = trained
    n_bars, symbols = len(data.panel.ts_close), data.panel.symbols
    rows, heard, told = bars_of(data, n_bars - SHOWN, n_bars - 1), [], []
    host = ModelHost(
        home, "models.serve", symbols, lambda names, interval, count: rows[-count:], time.time_ns,
        lambda *said: told.append(said), lambda role, answer: heard.append((role, answer)), limit_s=20.0,
    )  # fmt: skip
    ts_close = int(data.panel.ts_close[-1])
    try:
        host.start()
        for i, symbol in enumerate(symbols):
            values = [float(getattr(data.panel, name)[-1, i]) for name in FIELDS]
            host.on_bar(Bar(symbol, "1h", ts_close - HOUR, *values))
        said = await host.said(ts_close)
        assert isinstance(said, Said)
        assert said.record["version"] == "one"
        tape = open_tape(home, symbols, time.time_ns())
        tape.warm_up(rows[-tape.history : -1])
        tape.on_bar(*rows[-1], time.time_ns(), 1e4)
        direct = tape.on_bar(*bars_of(data, n_bars - 1, n_bars)[0], time.time_ns(), 1e4)
        np.testing.assert_allclose(said.weight, direct["weight"], atol=1e-12)
        while len(heard) < 2:  # the whole answer comes after what the decision needs
            await asyncio.sleep(0.005)
        assert [role for role, _ in heard] == ["champion", "champion"]  # of the history's newest bar, and of this one
        assert isinstance(await host.said(ts_close + 20 * 60 * 10**9), Said)  # within the hour it still holds
        host._limit_s = 0.01
        later = await host.said(ts_close + HOUR)
        assert later == "The models' answer to this bar was not there after 10 ms."
        assert await host.said(ts_close + HOUR + 60 * 10**9) == "The models' newest forecast is 1 h old."
        host._child.process.kill()
        host.on_bar(Bar(symbols[0], "1h", ts_close, *values))
        host._ask(ts_close + HOUR)
        for _ in range(400):
            if told:
                break
            await asyncio.sleep(0.01)
        assert told[0][:2] == ("warning", "models")
        assert "ended" in await host.said(ts_close + HOUR)
    finally:
        host.close()


def test_symbols_without_a_bar_are_unknown_to_the_models():
    bar = Bar("AUSDT", "1h", 0, 1.0, 2.0, 0.5, 1.5, 10.0)
    rows = rows_of(("AUSDT", "BUSDT"), {"AUSDT": bar})
    assert rows[3] == [1.5, None]
    assert math.isclose(rows[4][0], 10.0)


def test_a_set_that_learned_from_what_the_engine_does_not_know_is_not_used(trained, tmp_path):
    _, data = trained
    known = data._replace(panel=data.panel._replace(basis=np.full(data.panel.basis.shape, 1e-4)))
    found = train_set(known, (BASE,), 0, lambda *_: True)
    store_set(tmp_path, known, found, "two", "1h", 0, time.time_ns())
    enter(tmp_path, "two", time.time_ns(), "the first training", "test")
    with pytest.raises(ModelError, match="learned with basis, which the engine does not know"):
        open_tape(tmp_path, data.panel.symbols, time.time_ns())


def test_funding_reaches_a_set_that_learned_from_it_and_changes_nothing_for_one_that_did_not(trained, tmp_path):
    home, data = trained
    n_bars = len(data.panel.ts_close)
    paid = np.cumsum(np.random.default_rng(0).standard_normal(data.panel.close_px.shape), axis=0) * 1e-5
    with_funding = learnable(data.panel._replace(funding=paid))
    store_set(
        tmp_path, with_funding, train_set(with_funding, (BASE, "linear"), 0, lambda *_: True), "two", "1h", 0,
        time.time_ns(),
    )  # fmt: skip
    enter(tmp_path, "two", time.time_ns(), "the first training", "test")
    plain = bars_of(data, n_bars - SHOWN, n_bars)
    told = [(ts, [*rows, paid[n_bars - SHOWN + k].tolist()]) for k, (ts, rows) in enumerate(plain)]
    said = {}
    for folder in (home, tmp_path):
        for name, bars in (("plain", plain), ("told", told)):
            tape = open_tape(folder, data.panel.symbols, time.time_ns())
            tape.warm_up(bars[:-1])
            said[folder, name] = tape.on_bar(*bars[-1], time.time_ns(), 1e4)["models"]["linear"]["prob_up"]
    np.testing.assert_array_equal(said[home, "plain"], said[home, "told"])
    shown = learnable(panel_rows(with_funding.panel, slice(n_bars - SHOWN, n_bars)))
    batch = open_tape(tmp_path, data.panel.symbols, time.time_ns()).champion.member("linear")
    expected = batch.predict(shown, slice(SHOWN - 1, SHOWN)).prob_up[0]
    np.testing.assert_allclose(said[tmp_path, "told"], expected, atol=1e-4)
    assert np.abs(said[tmp_path, "plain"] - said[tmp_path, "told"]).max() > 1e-4


def test_a_retired_learner_is_left_out_and_a_retired_set_gives_way(trained, tmp_path):
    home, data = trained
    shutil.copytree(home / "models", tmp_path / "models")
    for name in (BASE, "ensemble", "linear"):
        manifest = tmp_path / "models" / name / "one"
        later = tmp_path / "models" / name / "two"
        shutil.copytree(manifest, later)
        text = (later / "manifest.json").read_text()
        (later / "manifest.json").write_text(text.replace('"version": "one"', '"version": "two"'))
    now = time.time_ns()
    enter(tmp_path, "two", now, "the second training", "test")
    promote(tmp_path, "two", now, "it was better", "test")
    retire(tmp_path, "linear", now, "it was never right", "test")
    tape = open_tape(tmp_path, data.panel.symbols, now)
    assert (tape.champion.version, tape.champion.left_out) == ("two", {"linear": "retired by a person"})
    retire(tmp_path, "two", now, "it is worse than the one before", "test")
    assert open_tape(tmp_path, data.panel.symbols, now).champion.version == "one"
    with pytest.raises(ModelError, match="two is retired"):
        promote(tmp_path, "two", now, "on second thoughts", "test")
    retire(tmp_path, "one", now, "nothing works", "test")
    with pytest.raises(ModelError, match="no set of models is in force"):
        open_tape(tmp_path, data.panel.symbols, now)
    restore(tmp_path, "two", now, "on second thoughts", "test")
    assert promote(tmp_path, "two", now, "on second thoughts", "test").champion == "two"


async def test_models_rest_when_the_last_set_is_retired_and_come_back_with_a_promotion(trained, tmp_path):
    home, data = trained
    shutil.copytree(home / "models", tmp_path / "models")
    told = []
    rows = bars_of(data, len(data.panel.ts_close) - SHOWN, len(data.panel.ts_close))
    host = ModelHost(
        tmp_path, "models.serve", data.panel.symbols, lambda names, interval, count: rows[-count:], time.time_ns,
        lambda *said: told.append(said), limit_s=0.01,
    )  # fmt: skip
    try:
        retire(tmp_path, "one", 1, "nothing works", "test")
        host.is_ready = True
        host.notice()
        assert await host.said(rows[-1][0] + HOUR) == "No set of models is in force: promote one, or train again."
        restore(tmp_path, "one", 2, "on second thoughts", "test")
        promote(tmp_path, "one", 3, "on second thoughts", "test")
        host.notice()
        for _ in range(4000):
            if host.newest is not None:
                break
            await asyncio.sleep(0.005)
        assert host.newest["version"] == "one"
        assert told == []
    finally:
        host.close()

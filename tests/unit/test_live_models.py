"""The engine's side of the models: forecasts kept and scored, the page's answers, trainings, changes with reasons."""

from __future__ import annotations

import asyncio
import math
from types import SimpleNamespace

import numpy as np
import pytest

from engine.errors import CommandRefused
from engine.runtime.doctor import models_check
from engine.runtime.live_models import HORIZONS, LiveModels
from engine.runtime.model_record import coverage, day_scores, fared, reliability, share_by_days
from engine.runtime.model_scores import forecast_rows, forecast_scores, rates_at, stored_bars
from engine.runtime.model_state import model_status, why_now
from engine.runtime.retraining import Retraining, recent_losses
from engine.settings import SystemConfig
from engine.status_words import status_lines
from models.book import ModelBook
from storage.database import Database

HOUR = 3_600 * 10**9
LEVELS = [0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975]
QUANTILE = [-1.96, -1.64, -1.28, -0.67, 0.1, 0.67, 1.28, 1.64, 1.96]
SYMBOLS = ("AUSDT", "BUSDT")


def bar(symbol, at, close):
    prices = {"open_px": close, "high_px": close, "low_px": close, "close_px": close, "volume": 1.0}
    return {"symbol": symbol, "interval": "1h", "ts_open": at * HOUR, **prices}


def answer(ts_close, prob_up=0.6, version="one"):
    one = {"quantile": [[QUANTILE] * 6] * 2, "prob_up": [[prob_up] * 6] * 2, "weight": [[0.4] * 6] * 2}
    return {
        "ts_close": ts_close, "version": version, "symbols": list(SYMBOLS), "close_px": [100.0, 50.0],
        "sigma": [0.01, 0.02], "weight": [0.2, None], "share": 0.4, "left_out": {"lstm": "slow"}, "elapsed": {},
        "models": {"linear": one, "base-rate": one | {"prob_up": [[0.5] * 6] * 2}},
        "ensemble": {name: one[name] for name in ("quantile", "prob_up")}, "prob_spread": [[0.01] * 6] * 2,
        "elapsed_ms": 3.0,
    }  # fmt: skip


@pytest.fixture
def store(tmp_path):
    made = Database(tmp_path / "paper.duckdb")
    yield made
    made.close()


def test_a_forecast_is_scored_at_the_close_its_horizon_names(store):
    # made at the close of hour 10 at 100; one hour later 102: up, (ln 1.02) / 0.01 = 1.98, outside the 80 % interval
    store.append("forecasts", forecast_rows("champion", answer(10 * HOUR), LEVELS, HORIZONS))
    bars = [bar("AUSDT", 10, 102.0), bar("AUSDT", 11, 99.9)]
    store.append("bars", bars)
    store.flush()
    rows = {(r["model"], r["horizon"]): r for r in forecast_scores(store).to_pylist()}
    one = rows["linear", 1]
    assert (one["n"], one["direction"], one["covered_80"]) == (1, 1.0, 0.0)
    assert one["log_loss"] == pytest.approx(-math.log(0.6))
    two = rows["linear", 2]  # 99.9: down, and inside
    assert (two["direction"], two["covered_80"]) == (0.0, 1.0)
    assert ("linear", 4) not in rows  # its outcome has not come
    found = day_scores(store)
    (row,) = reliability(found, HORIZONS)[0]
    assert (row["stated"], row["came"], row["count"], row["days"]) == (pytest.approx(0.6), 1.0, 1, 1)
    assert row["low"] == pytest.approx(1 / (1 + 1.96**2), abs=1e-3)  # Wilson's for one of one
    assert fared(found, 1)["covered"]["share"] == 0.0
    assert fared(found, 2)["direction"]["share"] == 0.0
    assert fared(found, 4) == {"covered": None, "direction": None}  # its outcome has not come
    assert coverage(found)["points"] == []  # too few outcomes to say anything


def test_coverage_is_rolling_over_days_with_its_doubt(store):
    store.append("bars", [bar("AUSDT", h, 100.0) for h in range(20 * 24 + 1)])
    rows = [row for at in range(1, 20 * 24) for row in forecast_rows("champion", answer(at * HOUR), LEVELS, HORIZONS)]
    store.append("forecasts", [row for row in rows if row["model"] == "ensemble" and row["symbol"] == "AUSDT"])
    store.flush()
    # the middle half does not hold on the odd days: it lies above what came
    store.execute("UPDATE forecasts SET low_50 = 0.5 WHERE (ts_close // 86400000000000) % 2 = 1")
    found = coverage(day_scores(store))
    assert found["levels"] == [0.95, 0.9, 0.8, 0.5]
    assert len(found["points"]) == 20
    ts, whole, *_, half = found["points"][-1]
    assert ts == (20 * 24 - 1) * HOUR // 10**6
    assert whole[0] == 1.0
    assert whole[1] == pytest.approx(14 / (14 + 1.96**2), abs=1e-3)  # 14 days, all alike, and not 2,000 outcomes
    assert half[0] == pytest.approx(0.5, abs=0.03)
    assert half[2] - half[1] > 0.4  # of so many separate outcomes it would be 0.04
    store.execute("UPDATE forecasts SET low_90 = NULL, high_90 = NULL")
    assert coverage(day_scores(store))["points"][-1][2] is None


def test_the_doubt_of_a_share_is_that_of_its_days():
    rng = np.random.default_rng(2)
    covers, naive = 0, 0
    for _ in range(400):  # each day has its own luck, which its 50 outcomes share
        luck = np.clip(0.5 + 0.2 * rng.standard_normal(40), 0.0, 1.0)
        hits = rng.binomial(50, luck)
        found = share_by_days(np.arange(40), hits.astype(float), np.full(40, 50.0))
        covers += found["low"] <= 0.5 <= found["high"]
        naive += abs(found["share"] - 0.5) <= 1.96 * math.sqrt(0.25 / 2000)
    assert covers / 400 > 0.94
    assert naive / 400 < 0.6
    assert share_by_days(np.array([], dtype=np.int64), np.array([]), np.array([])) is None
    apart = share_by_days(np.arange(40), np.full(40, 25.0), np.full(40, 50.0))  # no day differs from another
    assert (apart["outcomes"], apart["days"]) == (2000, 40)


async def test_scores_are_read_once_an_hour_and_old_forecasts_go(desk, store, tmp_path, monkeypatch):
    trained(desk, tmp_path)
    read = []
    monkeypatch.setattr(store, "read", lambda *asked: read.append(1) or Database.read(store, *asked))
    desk.overlay(OVERVIEW)
    desk.overlay(OVERVIEW)
    assert len(read) == 1
    desk.host.latest = answer(100 * HOUR)
    desk.overlay(OVERVIEW)
    assert len(read) == 2
    late = (24 * 400 + 3) * HOUR
    desk._keep("champion", answer(24 * 30 * HOUR))
    desk._keep("champion", answer(24 * 36 * HOUR))
    store.flush()
    desk._keep("champion", answer(late))
    while desk._following:
        await asyncio.sleep(0.002)
    store.flush()
    kept = {row["ts"] // HOUR for row in store.rows("SELECT DISTINCT ts_close AS ts FROM forecasts")}
    assert kept == {24 * 36, 24 * 400 + 3}


async def test_reasons_are_told_with_how_such_forecasts_fared(desk, store, tmp_path):
    trained(desk, tmp_path)
    store.append("forecasts", forecast_rows("champion", answer(10 * HOUR), LEVELS, HORIZONS))
    store.append("bars", [bar("AUSDT", h, 100.0) for h in range(10, 34)])
    store.flush()
    asked = []

    async def explain(*said):
        asked.append(said)
        return {}

    desk.host.explain = explain
    await desk.questions["models.explain"]({"symbol": "AUSDT", "model": "linear", "horizon": 24})
    symbol, model, horizon, known = asked[0]
    assert (symbol, model, horizon, known["share"], known["is_sleeve"]) == ("AUSDT", "linear", 24, 0.4, False)
    assert (known["covered"]["share"], known["covered"]["outcomes"], known["covered"]["days"]) == (1.0, 1, 1)
    assert known["direction"]["share"] == 0.0


def test_in_a_portfolio_models_count_as_a_sleeve(desk, tmp_path):
    trained(desk, tmp_path)
    desk._loop.config = SystemConfig(symbols=SYMBOLS, strategy="portfolio", max_model_share=0.3)
    found = desk.overlay(OVERVIEW)
    assert found["share"] == 0.3
    assert "what their sleeve takes of their wishes" in found["why"]
    without = SystemConfig(symbols=SYMBOLS, strategy="portfolio", strategy_params={"sleeves": "trend+carry"})
    desk._loop.config = without
    assert desk.overlay(OVERVIEW)["share"] == 0.0
    assert why_now(desk.host, without, "") == "Models are not among the portfolio's sleeves."
    other = SystemConfig(symbols=SYMBOLS, strategy="ema-cross")
    assert "in the portfolio only; the strategy is ema-cross" in why_now(desk.host, other, "")


def test_history_for_the_models_has_a_clock_without_holes(store):
    store.append("bars", [bar("AUSDT", h, 100.0 + h) for h in (5, 6, 8)] + [bar("BUSDT", 8, 50.0)])
    store.flush()
    rows = stored_bars(store, SYMBOLS, "1h", 100)
    assert [ts // HOUR for ts, _ in rows] == [6, 7, 8, 9]  # closes
    assert [columns[3] for _, columns in rows] == [[105.0, None], [106.0, None], [None, None], [108.0, 50.0]]
    assert [ts // HOUR for ts, _ in stored_bars(store, SYMBOLS, "1h", 3)] == [7, 8, 9]


def test_models_are_told_the_funding_that_was_settled_by_each_close(store):
    store.append("bars", [bar(symbol, h, 100.0) for symbol in SYMBOLS for h in range(4, 70)])
    rates = ((8, 1e-4), (16, 2e-4))
    store.append("funding", [{"symbol": "AUSDT", "ts_funding": at * HOUR, "rate": rate} for at, rate in rates])
    store.flush()
    rows = {ts // HOUR: columns[5] for ts, columns in stored_bars(store, SYMBOLS, "1h", 100)}
    assert [rows[hour][0] for hour in (7, 8, 15, 16, 64)] == [None, 1e-4, 1e-4, 2e-4, 2e-4]
    assert rows[65][0] is None  # older than two days is unknown
    assert {funding[1] for funding in rows.values()} == {None}
    assert rates_at(store, SYMBOLS, 16 * HOUR) == [2e-4, None]
    assert rates_at(store, SYMBOLS, 16 * HOUR - 1) == [1e-4, None]


@pytest.fixture
def desk(store):
    told = []
    journal = SimpleNamespace(append=lambda table, rows: store.append(table, rows))
    loop = SimpleNamespace(
        config=SystemConfig(symbols=SYMBOLS), clock=SimpleNamespace(now=lambda: 100 * HOUR), journal=journal,
        incident=lambda *said: told.append(said), models=None, phase="trading", store=store,
    )  # fmt: skip
    made = LiveModels(SimpleNamespace(loop=loop, store=store), "nothing")
    yield made
    made.host.close()


def trained(desk, tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "roles.json").write_text("{}")
    desk.host.loaded = {
        "version": "one", "levels": LEVELS, "horizons": HORIZONS, "members": ["linear", "lstm"], "weights": {},
        "challenger": None,
    }  # fmt: skip
    desk.host.latest, desk.host.trouble = answer(99 * HOUR), None


OVERVIEW = {
    "why": "linear: better than the base rate on bars they had not seen.",
    "models": [{"name": name, "role": "champion", "failed": None} for name in ("linear", "lstm")],
}  # fmt: skip


async def test_before_the_models_have_answered_the_page_is_told_why_nothing_counts(desk):
    said = desk.overlay(OVERVIEW | {"why": "No model has been trained yet."})
    assert (said["share"], said["why"]) == (0.0, "No model has been trained yet.")
    with pytest.raises(CommandRefused, match="No model has been trained yet"):
        await desk.questions["models.forecast"]({"symbol": "AUSDT"})
    with pytest.raises(CommandRefused, match="No model has been trained yet"):
        await desk.questions["models.explain"]({"symbol": "AUSDT", "model": "linear", "horizon": 24})


async def test_the_page_is_told_what_models_count_now_and_who_is_left_out(desk, store, tmp_path):
    trained(desk, tmp_path)
    said = desk.overlay(OVERVIEW)
    assert said["share"] == 0.4
    assert [row["failed"] for row in said["models"]] == [None, "slow"]
    desk._loop.config = SystemConfig(symbols=SYMBOLS, max_model_share=0.1)
    said = desk.overlay(OVERVIEW)
    assert said["share"] == 0.1
    assert "The setting holds them to 10%; they earned 40%." in said["why"]
    desk._loop.config = SystemConfig(symbols=SYMBOLS, strategy="ema-cross")
    assert desk.overlay(OVERVIEW)["share"] == 0.0
    one = await desk.questions["models.forecast"]({"symbol": "BUSDT"})
    assert one["close_px"] == 50.0
    assert [(m["name"], m["fresh"]) for m in one["members"]] == [("linear", True), ("lstm", False)]
    assert one["base_up"] == [0.5] * 6
    with pytest.raises(CommandRefused, match="The models forecast AUSDT, BUSDT, and not CUSDT"):
        await desk.questions["models.forecast"]({"symbol": "CUSDT"})


def test_the_status_says_which_models_are_on_and_what_they_count(desk, tmp_path):
    assert model_status(None, desk._loop.config, 0) is None
    assert status_lines(None) == {"set in use": "this engine runs no models"}
    lines = status_lines(model_status(desk.host, desk._loop.config, 100 * HOUR))
    assert lines["because"] == desk.host.trouble
    assert (lines["set in use"], lines["share of a decision"]) == ("none", "0 %")
    trained(desk, tmp_path)
    desk.host.loaded |= {
        "ts_trained": 4 * HOUR, "ts_expires": 340 * HOUR, "left_out": {}, "why_share": "trading skill: +9.0 % a year",
    }  # fmt: skip
    found = model_status(desk.host, desk._loop.config, 100 * HOUR)
    assert (found["age_days"], found["expires_in_days"]) == (4.0, 10.0)
    assert status_lines(found) == {
        "set in use": "one", "age": "4 d 0 h, expires in 10 days", "members on": "linear", "left out": "lstm: slow",
        "challenger": "none", "share of a decision": "40 %", "because": "Forecasters: trading skill: +9.0 % a year.",
    }  # fmt: skip
    late = model_status(desk.host, SystemConfig(symbols=SYMBOLS, max_model_share=0.1), 400 * HOUR)
    assert "has expired" in status_lines(late)["age"]
    assert late["share"] == 0.1
    assert "The setting holds them to 10%" in late["why"]


async def test_forecasts_of_both_roles_are_kept(desk, store, tmp_path):
    trained(desk, tmp_path)
    desk._keep("champion", answer(9 * HOUR))
    desk._keep("challenger", answer(9 * HOUR, version="two"))
    store.flush()
    rows = store.rows("SELECT role, count(*) AS n FROM forecasts GROUP BY 1 ORDER BY 1")
    assert rows == [{"role": "challenger", "n": 36}, {"role": "champion", "n": 36}]  # 3 models, 2 symbols, 6 horizons


def retraining(desk, store, age_days, status="done", beside=None, expires=60, heir=0, **settings):
    """Return what asks for trainings at an age of the newest one, and the reasons it gave.

    ``expires`` and ``heir`` are the days after that training on which the set in force and its challenger expire.
    """
    now = (1_000 + age_days * 24) * HOUR
    desk._loop.config = SystemConfig(symbols=SYMBOLS, **settings)
    desk._loop.clock = SimpleNamespace(now=lambda: int(now))
    desk.host.latest = answer(99 * HOUR) | {"beside": beside or {}}
    run = {"status": status, "ts_started": 1_000 * HOUR if status == "done" else int(now) - HOUR}
    jobs = SimpleNamespace(newest=lambda kind: run)
    book = ModelBook(store.path.parent)
    ends, heir_ends = ((1_000 + 24 * days) * HOUR if days else 0 for days in (expires, heir))
    book.standing = lambda ts_now: {
        "ts_trained": 1_000 * HOUR, "ts_last": 90 * HOUR, "ts_expires": ends, "ts_heir": heir_ends,
    }  # fmt: skip
    asked = []

    async def train(body):
        asked.append((body["actor"], body["reason"]))

    return Retraining(SimpleNamespace(loop=desk._loop, store=store), jobs, book, desk, train), asked


UNLIKE = [{"topic": "Traded volume", "feature": str(k), "psi": 1.0, "usual": 0.1,
           "verdict": "unlike" if k < 3 else "steady"} for k in range(10)]  # fmt: skip


@pytest.mark.parametrize(("age_days", "more", "begins"), [
    (8, {}, "schedule: every 7 days"),
    (6, {}, None),
    (8, {"use_retraining": False}, None),
    (8, {"heir": 60, "expires": 53}, None),  # its test needs time
    (49, {"heir": 60, "expires": 53}, None),
    (50, {"heir": 60, "expires": 53},
     "expiry: the set in force expires in 3.0 days, and nobody is there to follow it for long"),
    (50, {"heir": 67, "expires": 53}, None),  # that one follows it
    (57, {"expires": 60, "retrain_every_days": 60},
     "expiry: the set in force expires in 3.0 days, and nobody is there to follow it for long"),
    (60, {"expires": 53, "use_retraining": False}, None),
    (4, {"expires": 3}, "expiry: the set in force has expired, and nobody is there to follow it for long"),
    (8, {"status": "running"}, None),
    (8, {"status": "failed"}, None),  # an hour ago
    (4, {"beside": {"drift": UNLIKE}}, "drift: 3 of 10 inputs are unlike any week of the training (traded volume)"),
    (2, {"beside": {"drift": UNLIKE}}, None),  # within the pause
    (4, {"beside": {"drift": UNLIKE[2:]}}, None),  # one in ten always is
    (4, {"beside": {"drift": UNLIKE}, "use_drift_retraining": False}, None),
    (4, {"beside": {"changes": [[95 * 3_600_000, "the size of moves changed"]]}},
     "regime: the size of moves changed, 1970-01-04 23:00 UTC"),
    (4, {"beside": {"changes": [[89 * 3_600_000, "older than its bars"]]}}, None),
    (4, {"beside": {"changes": [[95 * 3_600_000, "switched off"]]}, "use_regime_retraining": False}, None),
])  # fmt: skip
async def test_models_are_trained_again_for_a_reason_and_not_too_often(desk, store, age_days, more, begins):
    again, asked = retraining(desk, store, age_days, **more)
    await again.when_due()
    assert asked == ([] if begins is None else [(begins.split(":")[0], begins)])


async def test_forecasts_that_are_surely_worse_than_the_base_rate_are_drift(desk, store):
    days = 16
    rng = np.random.default_rng(1)
    side = rng.choice([-1.0, 1.0], size=24 * days + 1)
    px = 100.0 * np.exp(np.cumsum(0.01 * side))
    # bar k closes at hour k at px[k]; what was said there leans to the side that did not come
    store.append("bars", [bar("AUSDT", k - 1, px[k]) for k in range(1, 24 * days)])
    for k in range(1, 24 * days):
        said = answer(k * HOUR, prob_up=0.5 - 0.2 * side[k + 1])
        said["close_px"][0] = px[k]
        store.append("forecasts", forecast_rows("champion", said, LEVELS, HORIZONS))
    store.flush()
    losses = recent_losses(store, "one", 0)
    one = next(row for row in losses if (row["day"], row["horizon"]) == (5, 1))
    assert one["n"] == 24
    # said 0.3 of what came where the base rate said 0.5: ln 0.3 - ln 0.5 an hour
    assert one["log_loss_gain"] == pytest.approx(24 * (math.log(0.3) - math.log(0.5)))
    again, asked = retraining(desk, store, 4)
    desk.host.latest["ts_close"] = 24 * days * HOUR
    await again.when_due()
    assert asked == [("drift", "drift: forecasts of the newest 30 days were surely worse than the base rate")]
    _, told = again.advice()
    assert "Forecasts: surely worse than the base rate over the newest 16 days that were judged." in told
    assert told[:2] == [
        "By the calendar: in 3.0 days.", "Expiry: the set in force expires in 56.0 days; nobody follows it yet.",
    ]  # fmt: skip
    told = retraining(desk, store, 4, heir=64)[0].advice()[1]
    assert told[0] == "By the calendar: once the challenger is decided, or shortly before the set in force expires."
    assert "its challenger then takes its place" in told[1]


def test_the_record_is_read_once_a_bar_for_the_advice_however_often_the_page_asks(desk, store, monkeypatch):
    again, _ = retraining(desk, store, 4)
    read = []
    monkeypatch.setattr(store, "rows", lambda *asked: read.append(asked[1]) or Database.rows(store, *asked))
    first = again.advice()
    assert len(read) == 1
    assert again.advice() == first
    assert len(read) == 1
    desk.host.latest |= {"ts_close": desk.host.latest["ts_close"] + HOUR}  # a bar, with new outcomes
    again.advice()
    desk.host.latest |= {"version": "two"}  # another set came into force
    again.advice()
    assert [asked[1] for asked in read] == ["one", "one", "two"]


async def test_a_training_that_cannot_begin_is_told_once(desk, store):
    again, _ = retraining(desk, store, 8)
    told = []
    desk._loop.incident = lambda *said: told.append(said)

    async def refuse(body):
        raise CommandRefused("There are too few hourly candles.")

    again._train = refuse
    await again.when_due()
    await again.when_due()
    assert [said[:2] for said in told] == [("warning", "models")]
    assert "did not begin (schedule: every 7 days): There are too few" in told[0][2]


def test_the_doctor_says_what_models_run_and_how_old_they_are(desk, tmp_path):
    assert models_check(desk.host, 100 * HOUR)["detail"].startswith("None has been trained yet")
    trained(desk, tmp_path)
    desk.host.loaded |= {"ts_trained": 52 * HOUR, "ts_expires": 52 * HOUR + 60 * 24 * HOUR}
    fine = models_check(desk.host, 100 * HOUR)
    assert (fine["ok"], fine["detail"]) == (
        True,
        "Set one, trained 2.0 days ago, expires in 58 days; newest answer 1.0 h old. Left out: lstm (slow).",
    )
    assert not models_check(desk.host, 102 * HOUR)["ok"]
    assert "has expired" in models_check(desk.host, 52 * HOUR + 61 * 24 * HOUR)["detail"]
    desk.host.trouble = "The models say nothing: it broke."
    broken = models_check(desk.host, 100 * HOUR)
    assert (broken["ok"], broken["detail"]) == (False, "The models say nothing: it broke.")

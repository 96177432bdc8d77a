"""The engine's side of the models: forecasts kept and scored, the page's answers, trainings, changes with reasons."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from engine.errors import CommandRefused
from engine.runtime.live_models import HORIZONS, LiveModels
from engine.runtime.model_desk import ModelDesk
from engine.runtime.model_scores import coverage, forecast_rows, forecast_scores, reliability, stored_bars
from engine.settings import SystemConfig
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
    assert reliability(store, HORIZONS)[0] == [{"stated": 0.6, "came": 1.0, "count": 1}]
    assert coverage(store)["points"] == []  # too few outcomes to say anything


def test_coverage_is_rolling_over_outcomes(store):
    store.append("bars", [bar("AUSDT", h, 100.0) for h in range(300)])
    for at in range(1, 280):
        store.append("forecasts", forecast_rows("champion", answer(at * HOUR), LEVELS, HORIZONS))
    store.flush()
    found = coverage(store)
    assert found["levels"] == [0.95, 0.9, 0.8, 0.5]
    assert len(found["points"]) > 100
    assert {tuple(held) for _, *held in found["points"]} == {(1.0, 1.0, 1.0, 1.0)}
    # a middle half that lies above what came holds nothing, and only that line falls
    store.execute("UPDATE forecasts SET low_50 = 0.5")
    assert {tuple(held) for _, *held in coverage(store)["points"]} == {(1.0, 1.0, 1.0, 0.0)}


def test_history_for_the_models_has_a_clock_without_holes(store):
    store.append("bars", [bar("AUSDT", h, 100.0 + h) for h in (5, 6, 8)] + [bar("BUSDT", 8, 50.0)])
    store.flush()
    rows = stored_bars(store, SYMBOLS, "1h", 100)
    assert [ts // HOUR for ts, _ in rows] == [6, 7, 8, 9]  # closes
    assert [columns[3] for _, columns in rows] == [[105.0, None], [106.0, None], [None, None], [108.0, 50.0]]
    assert [ts // HOUR for ts, _ in stored_bars(store, SYMBOLS, "1h", 3)] == [7, 8, 9]


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


def test_forecasts_of_both_roles_are_kept(desk, store, tmp_path):
    trained(desk, tmp_path)
    desk._keep("champion", answer(9 * HOUR))
    desk._keep("challenger", answer(9 * HOUR, version="two"))
    store.flush()
    rows = store.rows("SELECT role, count(*) AS n FROM forecasts GROUP BY 1 ORDER BY 1")
    assert rows == [{"role": "challenger", "n": 36}, {"role": "champion", "n": 36}]  # 3 models, 2 symbols, 6 horizons


@pytest.mark.parametrize(("age_days", "use", "begins"), [(8, True, True), (6, True, False), (8, False, False)])
async def test_models_are_trained_again_on_schedule(desk, store, age_days, use, begins):
    desk._loop.config = SystemConfig(symbols=SYMBOLS, use_retraining=use)
    desk._loop.clock = SimpleNamespace(now=lambda: 1 + age_days * 24 * HOUR)
    book = SimpleNamespace(overview=lambda n_bars, ts_now: {"models": [{"ts_trained": 1}]})
    page, asked = ModelDesk(SimpleNamespace(loop=desk._loop, store=store), None, book, desk), []

    async def train(body):
        asked.append(body["reason"])

    page._train = train
    await desk.host.on_hour()
    assert asked == (["schedule: every 7 days"] if begins else [])

"""A challenger in the shadow: scored on the same tape, promoted or sent away on evidence, taken back by a person."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import numpy as np
import pytest

from engine.runtime import challenge as challenges
from engine.runtime.challenge import ACTOR, Challenge, block_differences
from engine.runtime.model_desk import ModelDesk
from engine.runtime.model_scores import forecast_rows
from engine.settings import SystemConfig
from models import champion
from models.book import ModelBook
from models.forecast import HORIZONS, QUANTILE_LEVELS, Prediction
from models.roles import enter, read_roles
from storage.database import Database, verify_audit

HOUR = 3_600 * 10**9
DAYS, FIRST = 24, 480_000  # hours since the epoch, on the edge of a block of two days
SIGMA = 0.01


@pytest.fixture
def tape(tmp_path):
    """Return a record of hourly candles of one symbol, with what an ignorant and a knowing set said of each."""
    store = Database(tmp_path / "paper.duckdb")
    rng = np.random.default_rng(5)
    n_bars, lean = 24 * DAYS, 0.8
    side = rng.choice([-1.0, 1.0], size=n_bars + 1)
    log_px = np.cumsum(SIGMA * (lean * side + rng.standard_normal(n_bars + 1)))
    px = 100.0 * np.exp(log_px)
    # bar k opens at hour FIRST + k - 1 and closes at FIRST + k; its close is px[k]
    store.append("bars", [
        {"symbol": "AUSDT", "interval": "1h", "ts_open": (FIRST + k - 1) * HOUR, "open_px": px[k], "high_px": px[k],
         "low_px": px[k], "close_px": px[k], "volume": 1.0} for k in range(n_bars)
    ])  # fmt: skip
    width = np.array([-1.96, -1.645, -1.28, -0.674, 0.0, 0.674, 1.28, 1.645, 1.96])
    said = {}
    for version, knows in (("dull", 0.0), ("keen", 1.0)):
        quantile = np.array(
            [[width + knows * lean * side[k + 1] / np.sqrt(h) for h in HORIZONS] for k in range(n_bars)]
        )
        prob = np.array([[0.5 + knows * 0.2 * side[k + 1]] * len(HORIZONS) for k in range(n_bars)])
        said[version] = Prediction(quantile[:, None], prob[:, None])
        for k in range(n_bars):
            one = {"quantile": quantile[k : k + 1].tolist(), "prob_up": prob[k : k + 1].tolist()}
            answer = {"ts_close": (FIRST + k) * HOUR, "version": version, "symbols": ["AUSDT"],
                      "close_px": [px[k]], "sigma": [SIGMA], "ensemble": one}  # fmt: skip
            role = "champion" if version == "dull" else "challenger"
            store.append("forecasts", forecast_rows(role, answer, list(QUANTILE_LEVELS), list(HORIZONS)))
    store.flush()
    yield SimpleNamespace(store=store, home=tmp_path, said=said, px=px, n_bars=n_bars)
    store.close()


def desk_of(tape, force="dull", rival="keen"):
    enter(tape.home, force, 1, "the first", "test")
    enter(tape.home, rival, 2, "the second", "test")
    told = []
    loop = SimpleNamespace(
        config=SystemConfig(symbols=("AUSDT",)), clock=SimpleNamespace(now=lambda: 3),
        incident=lambda *said: told.append(said),
    )  # fmt: skip
    return Challenge(loop, tape.store, ModelBook(tape.home)), loop, told


def test_the_record_gives_the_same_blocks_as_the_arrays_do(tape):
    """The losses in SQL are those of models.champion, to rounding."""
    assert (challenges.PINBALL_SCALE, challenges.ACTOR) == (champion.PINBALL_SCALE, "sequential test")
    ts_close = (FIRST + np.arange(tape.n_bars)) * HOUR
    target = np.full((tape.n_bars, 1, len(HORIZONS)), np.nan)
    ts_known = ts_close[:, None] + np.array(HORIZONS) * HOUR
    for h, horizon in enumerate(HORIZONS):
        target[:-horizon, 0, h] = np.log(tape.px[horizon : tape.n_bars] / tape.px[: tape.n_bars - horizon]) / (
            SIGMA * np.sqrt(horizon)
        )
    expected = champion.block_differences(tape.said["dull"], tape.said["keen"], target, ts_close, ts_known)
    found = block_differences(tape.store, "dull", "keen", champion.BLOCK_NS)
    np.testing.assert_allclose([row["difference"] for row in found], expected, rtol=1e-9)
    assert found[0]["ts"] == FIRST * HOUR + champion.BLOCK_NS
    # two days, of which the outcomes at h hours of the last h bars fall into the next block
    assert found[0]["n"] == sum(48 - horizon for horizon in HORIZONS)
    # the shadow is of the bars that both have forecast
    tape.store.execute("DELETE FROM forecasts WHERE version = 'keen' AND ts_close < ?", [(FIRST + 30) * HOUR])
    shadow = challenges.shadow_tape(tape.store, "dull", "keen", HORIZONS)
    assert shadow["ts_close"][0] == (FIRST + 30) * HOUR
    np.testing.assert_allclose(shadow["keen"]["quantile"], tape.said["keen"].quantile[30:])
    np.testing.assert_allclose(shadow["dull"]["prob_up"], tape.said["dull"].prob_up[30:])
    np.testing.assert_allclose(shadow["close_px"][:, 0], tape.px[30 : tape.n_bars])


async def test_evidence_promotes_with_a_record_and_one_click_takes_it_back(tape, monkeypatch):
    monkeypatch.setattr("models.book.described_set", lambda home, version: {})  # these sets have no files
    monkeypatch.setattr("models.roles.why_unusable", lambda home, version, ts: None)
    duel, loop, told = desk_of(tape)
    poor = {"champion": 0.002, "challenger": -0.0013, "error": 0.001, "days": 24}
    with monkeypatch.context() as lost:  # who forecasts better and would have lost money waits for a person
        lost.setattr(duel._judge, "earned", lambda *asked: poor)
        standing = duel.standing("dull", "keen")
        assert standing["action"] == "hold"
        assert "forecasts better" in standing["verdict"]
        assert "33.0 bp less than those of the set in force, after costs, over 24 days" in standing["verdict"]
        await duel.follow()
        assert (read_roles(tape.home).challenger, told) == ("keen", [])
    assert challenges.why_held(None).startswith("It is not put into force before it is known")
    assert challenges.why_held(poor | {"challenger": 0.002}) is None
    duel._known = None
    standing = duel.standing("dull", "keen")
    assert standing["action"] == "promote"
    assert standing["evidence"] >= standing["needed"] == 20.0
    assert len(standing["path"]) == DAYS // 2 - 1
    assert standing["money"]["challenger"] > standing["money"]["champion"] == 0.0
    assert standing["ahead"] is None
    await asyncio.gather(duel.follow(), duel.follow())  # two answers at once promote once
    roles = read_roles(tape.home)
    assert (roles.champion, roles.challenger) == ("keen", None)
    assert roles.history[-1]["actor"] == ACTOR
    assert "forecasts better" in roles.history[-1]["reason"]
    assert [told[0][:2], len(told)] == [("warning", "models"), 1]
    assert "keen forecasts now in place of dull" in told[0][2]
    page = ModelDesk(SimpleNamespace(store=tape.store, loop=loop), None, ModelBook(tape.home))
    await page.orders["models.rollback"]({"reason": "a person prefers the one before"})
    assert read_roles(tape.home).champion == "dull"
    tape.store.flush()
    rows = tape.store.rows("SELECT * FROM audit ORDER BY seq")
    assert [(row["actor"], row["action"]) for row in rows] == [(ACTOR, "models.promote"), ("desk", "models.rollback")]
    assert verify_audit(rows) is None


async def test_a_worse_challenger_is_sent_away_and_the_setting_leaves_it_to_a_person(tape):
    duel, loop, told = desk_of(tape, force="keen", rival="dull")
    loop.config = SystemConfig(symbols=("AUSDT",), use_promotion=False)
    await duel.follow()
    assert (read_roles(tape.home).challenger, told) == ("dull", [])
    loop.config = SystemConfig(symbols=("AUSDT",))
    await duel.follow()
    roles = read_roles(tape.home)
    assert (roles.champion, roles.challenger) == ("keen", None)
    assert "dull was sent away and keen stays" in told[0][2]


async def test_without_evidence_nothing_happens(tape):
    duel, _, told = desk_of(tape, rival="nobody")
    standing = duel.standing("dull", "nobody")
    assert (standing["action"], standing["outcomes"], standing["path"]) == ("wait", 0, [])
    await duel.follow()
    assert (read_roles(tape.home).challenger, told) == ("nobody", [])


async def test_a_challenger_takes_the_place_of_a_set_that_has_expired_whatever_the_setting(tape, monkeypatch):
    spent = {"dull": "dull expired 0.1 days ago", "keen": "keen expired 0.2 days ago"}
    monkeypatch.setattr("models.book.described_set", lambda home, version: {})
    for name in ("models.roles.why_unusable", "models.book.why_unusable"):
        monkeypatch.setattr(name, lambda home, version, ts: spent.get(version))
    duel, loop, told = desk_of(tape)
    loop.config = SystemConfig(symbols=("AUSDT",), use_promotion=False)
    await duel.hand_over()  # neither can be used: a training has to come first
    assert (read_roles(tape.home)[:2], told) == (("dull", "keen"), [])
    del spent["keen"]
    await asyncio.gather(duel.hand_over(), duel.hand_over())
    roles = read_roles(tape.home)
    assert (roles.champion, roles.challenger) == ("keen", None)
    assert roles.history[-1]["actor"] == "expiry"
    assert roles.history[-1]["reason"] == (
        "Dull expired 0.1 days ago; the challenger takes its place, not shown to be better or worse."
    )
    assert [said[:2] for said in told] == [("warning", "models")]
    assert "keen forecasts now in place of dull: Dull expired" in told[0][2]
    tape.store.flush()
    rows = tape.store.rows("SELECT actor, action FROM audit ORDER BY seq")
    assert [tuple(row.values()) for row in rows] == [("expiry", "models.promote")]

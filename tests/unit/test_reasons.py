"""Reasons are worked out after decisions, within their time, kept under the answer that a decision names, and found."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from engine.errors import CommandRefused
from engine.runtime import reasons
from engine.runtime.reasons import Reasons
from storage.database import Database
from storage.errors import StorageError

HOUR = 3_600 * 10**9
SYMBOLS = ["AUSDT", "BUSDT", "CUSDT"]


def answer(hour, version="one", weight=(0.1, None, -0.7)):
    return {"ts_close": hour * HOUR, "version": version, "symbols": SYMBOLS, "weight": list(weight)}


class Host:
    """Answers at once; ``broken`` names a symbol of which nothing can be said, ``then`` is done at each question."""

    def __init__(self):
        self.asked, self.broken, self.latest, self.trouble = [], None, None, None
        self.then = lambda: None

    async def reasons(self, symbol, ts_close, known, before_s):
        self.asked.append(symbol)
        self.then()
        if symbol == self.broken:
            return {"error": "the set in force had no forecast of it at this bar."}
        return {"said": [1.5, 0.51], "known": known}


@pytest.fixture
def made(tmp_path):
    store = Database(tmp_path / "paper.duckdb")
    journal = SimpleNamespace(append=lambda table, rows: (store.append(table, rows), store.flush()))
    market = SimpleNamespace(ts_exchange=10 * HOUR + HOUR // 2)
    loop = SimpleNamespace(journal=journal, market=market, clock=SimpleNamespace(now=lambda: 0))
    session = SimpleNamespace(speed=1.0)

    async def known(horizon):
        return {"share": 0.2, "horizon": horizon}

    host = Host()
    desk = Reasons(SimpleNamespace(loop=loop, store=store, session=session), host, known)
    yield SimpleNamespace(desk=desk, host=host, store=store, market=market, session=session)
    store.close()


def kept(made):
    return {row["symbol"]: row for row in made.store.rows("SELECT * FROM reasons")}


async def asked(made, **body):
    return await made.desk.questions["models.reasons"](body)


async def test_the_strongest_wishes_come_first_and_each_is_kept_with_its_numbers(made):
    made.host.broken = "BUSDT"
    await made.desk.follow(answer(10))
    assert made.host.asked == ["CUSDT", "AUSDT", "BUSDT"]
    found = kept(made)
    assert json.loads(found["AUSDT"]["detail"])["known"] == {"share": 0.2, "horizon": 24}
    assert found["AUSDT"]["took_ms"] is not None
    assert (found["BUSDT"]["detail"], found["BUSDT"]["why_not"]) == (
        None, "the set in force had no forecast of it at this bar",
    )  # fmt: skip
    made.host.broken = None
    made.host.asked.clear()
    await made.desk.follow(answer(10))  # after a restart: what is on the record stays as it is
    assert made.host.asked == ["BUSDT"]


async def test_a_bar_that_is_due_comes_first_and_the_record_says_so(made):
    made.market.ts_exchange = 11 * HOUR - HOUR // 3600 * 2  # two seconds
    await made.desk.follow(answer(10))
    assert made.host.asked == []
    assert kept(made)["CUSDT"]["why_not"] == "the models waited for the bar that closed 2.0 s later, which came first"
    made.market.ts_exchange, made.session.speed = 11 * HOUR + 1, 3600.0  # an hour a second
    await made.desk.follow(answer(11))
    assert made.host.asked == []


async def test_a_record_that_cannot_be_read_costs_the_reasons_and_nothing_else(made, monkeypatch):
    def broken(*asked):
        raise StorageError("No space left on device")

    with monkeypatch.context() as now:
        now.setattr(made.store, "rows", broken)
        await made.desk.follow(answer(10))
    assert made.host.asked == []
    await made.desk.follow(answer(10))
    assert len(kept(made)) == 3


async def test_a_newer_answer_ends_the_work_on_an_older_one(made):
    made.host.then = lambda: setattr(made.desk, "_newest", 11 * HOUR)
    await made.desk.follow(answer(10))
    found = kept(made)
    assert found["CUSDT"]["detail"] is not None
    assert {found[symbol]["why_not"] for symbol in ("AUSDT", "BUSDT")} == {reasons.NEXT_BAR}
    await made.desk.follow(answer(9))
    assert len(kept(made)) == 3


async def test_the_time_for_one_bar_is_limited(made, monkeypatch):
    monkeypatch.setattr(reasons, "BUDGET_S", 0.5)  # less than one symbol is thought to take
    await made.desk.follow(answer(10))
    assert {row["why_not"] for row in kept(made).values()} == {"the 0.5 s for this were used up by other symbols"}


async def test_any_stored_decision_finds_its_reasons_or_why_there_are_none(made):
    await made.desk.follow(answer(10))

    def decided(number, models):
        made.store.append("decisions", [{"decision_id": number, "detail": json.dumps({"models": models})}])

    decided(1, {"version": "one", "ts_close": 10 * HOUR})
    decided(2, None)
    decided(3, {"why_not": "The models have not answered yet."})
    decided(4, {"version": "older", "ts_close": 3 * HOUR})
    decided(5, {"version": "newer", "ts_close": 10 * HOUR})
    made.store.flush()
    found = await asked(made, decision_id="1", symbol="CUSDT")
    assert (found["record"]["said"], found["why_not"], found["version"]) == ([1.5, 0.51], None, "one")
    assert (await asked(made, decision_id=2, symbol="CUSDT"))["why_not"] == "models took no part in this decision"
    assert (await asked(made, decision_id=3, symbol="CUSDT"))["why_not"] == "The models have not answered yet."
    assert "before reasons were kept" in (await asked(made, decision_id=4, symbol="CUSDT"))["why_not"]
    assert "being worked out" in (await asked(made, decision_id=5, symbol="CUSDT"))["why_not"]
    with pytest.raises(CommandRefused, match="no decision 77"):
        await asked(made, decision_id=77, symbol="CUSDT")
    with pytest.raises(CommandRefused, match="have not answered yet"):
        await asked(made, symbol="CUSDT")
    made.host.latest = answer(10)
    assert (await asked(made, symbol="AUSDT"))["record"]["said"] == [1.5, 0.51]

"""Drills on the record: one at a time, each with an outcome, a failure that is told, and a schedule by level."""

from __future__ import annotations

import asyncio
import json

import pytest

from engine.domain import NS_PER_DAY
from engine.errors import CommandRefused
from engine.runtime.drills import Drills, drill_verdict
from storage.database import Database, verify_audit

NOW = 1_900_000_000_000_000_000
PASSED = {"level": 3, "ok": True, "cancels_ms": 120.0, "time_to_flat_s": 0.8, "flaky_s": 6.5,
          "failures": 5, "message": "2 positions closed"}  # fmt: skip


@pytest.fixture
def store(tmp_path):
    store = Database(tmp_path / "paper.duckdb")
    yield store
    store.close()


@pytest.fixture
def told():
    return []


class Rehearsed(Drills):
    """Drills whose process is replaced by a given outcome."""

    outcome: dict | Exception = PASSED

    async def _rehearse(self, level):
        await asyncio.sleep(0.01)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome | {"level": level}


@pytest.fixture
def drills(store, told):
    return Rehearsed(store, lambda *words: told.append(words), lambda: NOW)


async def over(drills) -> dict:
    while drills.running is not None:
        await asyncio.sleep(0.005)
    return drills.rows()[0]


async def test_an_outcome_is_a_metric_and_an_audited_row(drills, store, told):
    started = drills.start(3, "ann")
    assert drills.rows()[0]["ok"] is None
    with pytest.raises(CommandRefused, match="going on"):
        drills.start(4, "ann")
    row = await over(drills)
    assert (row["drill_id"], row["ok"], row["time_to_flat_s"]) == (started["drill_id"], True, 0.8)
    metric = store.rows("SELECT * FROM metrics WHERE name = 'drill'")[0]
    assert (metric["ts"], metric["value"]) == (NOW, 0.8)
    audit = store.rows("SELECT * FROM audit ORDER BY seq")
    assert [item["action"] for item in audit] == ["drill.start", "drill"]
    assert json.loads(audit[1]["detail"])["cancels_ms"] == 120.0
    assert (row["flaky_s"], row["failures"]) == (6.5, 5)
    assert verify_audit(audit) is None
    assert told == []
    assert drill_verdict(store, NOW + NS_PER_DAY) == (True, "Flat in 0.80 s, 1.0 days ago; 30 days is the limit.")


async def test_a_failure_is_a_critical_incident_and_forbids_live(drills, store, told):
    drills.outcome = PASSED | {"ok": False, "time_to_flat_s": None, "message": "expected no position; 1 is left"}
    drills.start(3, "schedule")
    row = await over(drills)
    assert row["ok"] is False
    severity, source, sentence = told[0]
    assert (severity, source) == ("critical", "drill")
    assert "level 3 (flatten) failed: expected no position; 1 is left" in sentence
    ok, why = drill_verdict(store, NOW)
    assert not ok
    assert "expected no position" in why


async def test_a_drill_that_breaks_never_reads_as_passed(drills, told):
    drills.outcome = json.JSONDecodeError("no JSON", "x", 0)
    drills.start(2, "ann")
    row = await over(drills)
    assert row["ok"] is False
    assert "the drill itself failed: JSONDecodeError" in row["message"]
    assert len(told) == 1


async def test_the_schedule_takes_each_level_in_turn_and_then_rests(drills):
    taken = []
    while (level := drills.due(7)) is not None:
        drills.start(level, "schedule")
        assert drills.due(7) is None  # one goes on
        await over(drills)
        taken.append(level)
    assert taken == [3, 4, 2, 1]


async def test_a_passed_drill_of_another_level_does_not_hide_a_failed_one(drills, store):
    for level, ok in ((3, True), (4, False), (3, True)):
        drills.outcome = PASSED | {"ok": ok}
        drills.start(level, "ann")
        await over(drills)
    assert drill_verdict(store, NOW)[0] is False


def test_a_level_that_is_none_is_refused(drills):
    with pytest.raises(CommandRefused, match="Drill level 0 is not 1"):
        drills.start(0, "ann")


async def test_the_drills_process_sees_no_key_of_ours(store, monkeypatch):
    monkeypatch.setenv("ASTER_PRIVATE_KEY", "0xsecret")
    seen = {}

    async def spy(*_, env, **__):
        seen.update(env)
        raise OSError("not started")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", spy)
    drills = Drills(store, lambda *_: None, lambda: NOW)
    drills.start(1, "ann")
    row = await over(drills)
    assert "not started" in row["message"]
    assert seen
    assert not [name for name in seen if name.startswith(("ASTER_", "ASTROLABE_"))]

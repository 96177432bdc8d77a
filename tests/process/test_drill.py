"""A real drill from a real engine: its own exchange and engine, one press, and an outcome that the record keeps."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pyarrow.flight as fl
import pytest
from engine_process import EngineProcess, Sandbox

from engine.domain import KillLevel
from engine.errors import CommandRefused
from engine.runtime.rehearsal import DrillFailed, press

pytestmark = [pytest.mark.slow, pytest.mark.timeout(480)]


@pytest.fixture(scope="module")
def sandbox():
    sandbox = Sandbox("--seed", "23", "--symbols", "BTCUSDT,ETHUSDT,SOLUSDT")
    yield sandbox
    sandbox.stop()


@pytest.fixture(scope="module")
def engine(sandbox, tmp_path_factory):
    engine = EngineProcess(tmp_path_factory.mktemp("home"), sandbox)
    engine.until(lambda status: status["phase"] == "trading")
    yield engine
    engine.stop()


def engine_rows(engine, table: str) -> list[dict]:
    card = json.loads((engine.home / "engine.json").read_text())
    options = fl.FlightCallOptions(headers=[(b"authorization", f"Bearer {card['token']}".encode())])
    with fl.connect(card["flight_url"]) as client:
        return client.do_get(fl.Ticket(json.dumps({"table": table}).encode()), options).read_all().to_pylist()


def finished(engine, within_s: float = 400.0) -> dict:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        rows = engine.action("drills")
        if rows and rows[0]["ok"] is not None:
            return rows[0]
        time.sleep(0.2)
    raise AssertionError(f"no outcome within {within_s} s: {rows}")


def test_a_drill_of_flatten_ends_flat_and_leaves_the_trading_account_alone(engine, sandbox):
    started = engine.action("drill.start", {"level": 3, "idempotency_key": "drill-0001"})
    assert engine.action("drill.start", {"level": 3, "idempotency_key": "drill-0001"}) == started
    with pytest.raises(CommandRefused, match="A drill of level 3 is going on"):
        engine.action("drill.start", {"level": 4, "idempotency_key": "drill-0002"})
    row = finished(engine)
    assert row["drill_id"] == started["drill_id"]
    assert row["ok"] is True, row["message"]
    assert 0 < row["cancels_ms"] < 5_000
    assert row["cancels_ms"] / 1e3 < row["time_to_flat_s"] < 30
    assert row["failures"] >= 4, "the flaky exchange must have failed cancels, closing orders and a question"
    assert 0.5 < row["flaky_s"] < 60
    status = engine.action("status")
    assert status["kill_level"] == 0
    by_hand = [row for row in engine_rows(engine, "commands") if row["command"] in ("ticket.submit", "kill")]
    assert by_hand == []
    orders = {order["clientOrderId"] for order in sandbox.books()["orders"]}
    own = {row["client_id"] for row in engine_rows(engine, "orders")}
    assert orders - own == set(), "an order that this engine did not send reached its account"
    ladder = engine.action("ladder")
    minimum = next(rung for rung in ladder["rungs"] if rung["name"] == "minimum")
    assert next(item for item in minimum["conditions"] if item["name"] == "Drill")["ok"]
    assert ladder["share"] == 0.0


def test_an_unknown_level_is_refused(engine):
    with pytest.raises(CommandRefused, match="Drill level 7 is not 1"):
        engine.action("drill.start", {"level": 7, "idempotency_key": "drill-0003"})


def test_nothing_of_a_drill_outlives_it(engine):
    finished(engine)
    time.sleep(0.5)
    children = [pid for pid in os.listdir("/proc") if pid.isdigit() and _parent(pid) == engine.process.pid]
    commands = [Path(f"/proc/{pid}/cmdline").read_bytes().decode().replace("\0", " ") for pid in children]
    assert not [command for command in commands if "rehearsal" in command]


def _parent(pid: str) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return 0


class DeafRig:
    """An engine that says yes to the kill switch and does nothing."""

    def books(self) -> dict:
        order = {"clientOrderId": "a-1", "closePosition": False, "reduceOnly": False, "symbol": "BTCUSDT"}
        return {"positions": [], "open_orders": [order], "orders": [order]}

    def entries(self) -> list:
        return self.books()["open_orders"]

    def command(self, action: str, **body) -> dict:
        return {"kill_level": body.get("level", 0), "client_id": "a-2"}


@pytest.mark.parametrize(
    ("level", "words"),
    [
        (KillLevel.PAUSE, "expected a refusal of a new entry"),
        (KillLevel.CANCEL, "expected no resting entry order"),
        (KillLevel.FLATTEN, "expected no position and no order"),
    ],
)
def test_a_switch_that_only_says_yes_fails_the_drill(monkeypatch, level, words):
    monkeypatch.setattr("engine.runtime.rehearsal.EFFECT_S", 0.2)
    with pytest.raises(DrillFailed, match=words):
        press(DeafRig(), level)

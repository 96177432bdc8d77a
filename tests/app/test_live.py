"""The relay: coalescing, subscriptions, bounded memory, what browsers are told when the engine goes away."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request

import pytest
import uvicorn
from fake_engine import FakeEngine
from starlette.applications import Starlette
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from app.client import EngineClient
from app.live import MAX_EVENTS, MAX_TRADES, Outbox, Relay
from app.routes import routes


def message(**fields):
    return fields, json.dumps(fields)


def outbox(symbol="BTCUSDT", wants_tops=False):
    box = Outbox(lambda: None)
    box.subscribe(symbol, wants_tops)
    return box


def drained(box):
    return [json.loads(text) for text in box.drain()]


def test_newer_prices_replace_older_ones_and_trades_are_all_kept():
    box = outbox()
    for px in (1.0, 2.0, 3.0):
        box.put(*message(t="top", s="BTCUSDT", b=px))
        box.put(*message(t="trade", s="BTCUSDT", p=px))
    assert drained(box) == [
        {"t": "top", "s": "BTCUSDT", "b": 3.0},
        *({"t": "trade", "s": "BTCUSDT", "p": px} for px in (1.0, 2.0, 3.0)),
    ]
    assert box.drain() == []


def test_a_closed_bar_is_not_replaced_by_the_first_tick_of_the_next():
    box = outbox()
    box.put(*message(t="bar", s="BTCUSDT", o=0, x=False, p=[1]))
    box.put(*message(t="bar", s="BTCUSDT", o=0, x=True, p=[2]))
    box.put(*message(t="bar", s="BTCUSDT", o=60_000, x=False, p=[3]))
    assert [(m["o"], m["p"]) for m in drained(box)] == [(0, [2]), (60_000, [3])]


def test_only_the_subscribed_symbol_comes_and_orders_come_always():
    box = outbox("BTCUSDT")
    box.put(*message(t="book", s="ETHUSDT"))
    box.put(*message(t="top", s="ETHUSDT"))
    box.put(*message(t="orders", rows=[]))
    assert drained(box) == [{"t": "orders", "rows": []}]


def test_other_symbols_best_prices_come_at_a_slower_pace():
    box = outbox("BTCUSDT", wants_tops=True)
    box.put(*message(t="top", s="ETHUSDT", b=1))
    assert [m["s"] for m in drained(box)] == ["ETHUSDT"]
    box.put(*message(t="top", s="ETHUSDT", b=2))
    assert drained(box) == []  # less than a quarter of a second later: kept, not lost
    box._others_sent -= 1
    assert drained(box) == [{"t": "top", "s": "ETHUSDT", "b": 2}]


def test_changing_the_symbol_drops_what_waited_for_the_old_one():
    box = outbox("BTCUSDT")
    box.put(*message(t="trade", s="BTCUSDT"))
    box.put(*message(t="book", s="BTCUSDT"))
    box.put(*message(t="status", equity=1))
    box.subscribe("ETHUSDT", False)
    assert [m["t"] for m in drained(box)] == ["status"]


def test_a_browser_that_reads_nothing_costs_bounded_memory():
    box = outbox("BTCUSDT", wants_tops=True)
    for i in range(20_000):
        box.put(*message(t="trade", s="BTCUSDT", p=i))
        box.put(*message(t="bar", s="BTCUSDT", o=i * 60_000))
        box.put(*message(t="top", s="ETHUSDT", b=i))
        box.put(*message(t="fill", trade_id=i))
    assert len(box) <= MAX_TRADES + MAX_EVENTS + 64 + 1
    assert [m["p"] for m in drained(box) if m["t"] == "trade"][-1] == 19_999


def test_nothing_is_shown_as_current_after_the_engine_is_lost():
    box = outbox()
    box.put(*message(t="top", s="BTCUSDT", b=1))
    box.put(*message(t="engine", up=False, reason="gone", since_ms=5))
    assert [m["t"] for m in drained(box)] == ["engine"]


def test_a_nan_from_the_engine_reaches_the_browser_as_null():
    relay, box = Relay(EngineClient()), outbox()
    relay._join(box)
    relay.publish('{"t": "positions", "rows": [{"symbol": "BTCUSDT", "liq_px": NaN}]}')
    assert next(m for m in drained(box) if m["t"] == "positions")["rows"][0]["liq_px"] is None


class Browser:
    """Just enough of a browser: GET with headers, and the live socket."""

    def __init__(self, port):
        self.origin = f"http://127.0.0.1:{port}"

    def get(self, path, **headers):
        request = urllib.request.Request(self.origin + path, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as refusal:
            return refusal.code, refusal.read()

    def live(self, origin=None):
        return connect(self.origin.replace("http", "ws") + "/live", origin=origin or self.origin, proxy=None)


@pytest.fixture
def served(tmp_path):
    """A fake engine behind our routes, and a browser."""
    engine = FakeEngine(tmp_path).start()
    client = EngineClient(tmp_path)
    relay = Relay(client)
    relay.start()
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes(client, relay)), port=0, log_level="critical"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield engine, Browser(server.servers[0].sockets[0].getsockname()[1])
    relay.stop()
    server.should_exit = True
    thread.join(5)
    if not engine.stopping.is_set():
        engine.stop()


def read_until(socket, is_enough, seconds=8.0):
    """Collect the first message of each kind until ``is_enough`` of the newest one and of all kinds."""
    seen: dict[str, dict] = {}
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        batch = json.loads(socket.recv(timeout=seconds))
        assert batch[0]["t"] == "tx"
        assert abs(batch[0]["tx"] - time.time_ns()) < 5e9
        for item in batch[1:]:
            seen.setdefault(item["t"], item)
            if is_enough(item, seen):
                return seen
    raise AssertionError(f"only {sorted(seen)} came")


def test_a_browser_gets_the_state_at_once_and_then_its_symbols_stream(served):
    _, browser = served
    wanted = {"engine", "status", "positions", "orders", "top", "bar", "book", "trade"}
    with browser.live() as socket:
        socket.send(json.dumps({"sub": {"symbol": "ETHUSDT"}}))
        seen = read_until(socket, lambda _, seen: wanted <= set(seen))
    assert seen["engine"]["up"] is True
    assert {seen[kind]["s"] for kind in ("top", "bar", "book", "trade")} == {"ETHUSDT"}
    assert len(seen["book"]["b"]) == 20


def test_open_orders_come_even_if_the_stream_tells_only_changes(served):
    engine, browser = served
    engine._orders_message = lambda: {"t": "hello"}
    with browser.live() as socket:
        seen = read_until(socket, lambda item, _: item["t"] == "orders")
    assert [row["client_id"] for row in seen["orders"]["rows"]] == [r["client_id"] for r in engine.books.open_orders()]
    assert seen["orders"]["rows"][0]["limit_px"] is None  # a stop has no limit price: null, not NaN


def test_a_lost_engine_is_told_with_the_moment(served):
    engine, browser = served
    with browser.live() as socket:
        read_until(socket, lambda item, _: item["t"] == "status")
        engine.stop()
        lost = []
        read_until(socket, lambda item, _: item["t"] == "engine" and not item["up"] and not lost.append(item))
    assert lost[0]["reason"]
    assert abs(lost[0]["since_ms"] / 1000 - time.time()) < 10


def test_a_foreign_page_may_not_open_the_socket(served):
    _, browser = served
    with pytest.raises(InvalidStatus), browser.live(origin="http://evil.example"):
        pass


def test_a_name_that_somebody_points_at_this_machine_gets_nothing(served):
    _, browser = served
    assert browser.get("/market/bars?symbol=BTCUSDT", Host="evil.example")[0] == 403


def test_candles_come_as_rows_and_a_foreign_page_gets_none(served):
    engine, browser = served
    code, body = browser.get("/market/bars?symbol=BTCUSDT&interval=5m&limit=3")
    rows = json.loads(body)
    assert code == 200
    assert [row[0] % 300 for row in rows] == [0, 0, 0]
    assert rows[0][4] == pytest.approx(engine.market.bars("BTCUSDT", "5m", 3)["close_px"].iloc[0])
    assert browser.get("/market/bars?symbol=BTCUSDT", **{"Sec-Fetch-Site": "cross-site"})[0] == 403
    assert browser.get("/market/bars?symbol=BTCUSDT&interval=7m")[0] == 400


def test_our_fills_come_newest_first(served):
    engine, browser = served
    rows = json.loads(browser.get("/market/fills")[1])
    assert [row["trade_id"] for row in rows] == [row["trade_id"] for row in engine.books.fills[::-1]]


def test_health_says_that_the_screen_is_up_and_the_engine_is_not(served):
    engine, browser = served
    assert json.loads(browser.get("/healthz")[1]) == {"ui": "ok", "engine": {"up": True, "phase": "trading"}}
    assert b"astrolabe_ui_browsers" in browser.get("/metrics")[1]
    engine.stop()
    assert json.loads(browser.get("/healthz")[1])["engine"]["up"] is False
    assert browser.get("/market/bars?symbol=BTCUSDT")[0] == 503


def test_scripts_are_revalidated_on_each_load(served):
    _, browser = served
    with urllib.request.urlopen(browser.origin + "/frontend/feed.js", timeout=5) as answer:
        assert answer.headers["cache-control"] == "no-cache"

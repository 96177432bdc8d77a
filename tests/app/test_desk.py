"""Shell and desk: known, empty, unknown; the kill switch; a ticket that cannot be sent twice; the desk in a browser."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from fake_engine import FakeEngine
from streamlit.testing.v1 import AppTest

from app.client import EngineClient, EngineUnavailable
from app.components import blotter
from app.components.ticket import begin_review, preview_draft, send_reviewed

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from browser_path import WHY_NOT, find_browser  # noqa: E402

SHELL = ROOT / "app" / "shell.py"
TICKET = {"symbol": "BTCUSDT", "side": "buy", "kind": "market", "size": {"unit": "quote", "value": 500},
          "limit_px": None, "stop_px": None, "reduce_only": False}  # fmt: skip


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("ASTROLABE_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def engine(home):
    engine = FakeEngine(home, ticking=False).start()
    yield engine
    if not engine.stopping.is_set():
        engine.stop()


def shell() -> AppTest:
    script = AppTest.from_file(str(SHELL), default_timeout=20).run()
    assert not script.exception
    return script


def said(script: AppTest) -> str:
    kinds = ("markdown", "caption", "warning", "error", "info", "metric")
    return " | ".join(str(element.value) for kind in kinds for element in script.get(kind))


def button(script: AppTest, label: str):
    return next(element for element in script.button if element.label == label)


def commands(engine: FakeEngine, name: str) -> list[dict]:
    return [body for called, body in engine.calls if called == name]


# ---- three states ------------------------------------------------------------------------------------------------


def test_the_desk_shows_the_books_of_the_engine(engine):
    text = said(shell())
    assert "3 open positions · 5 open orders" in text
    assert "PAPER" in text
    assert "simulated market" in text
    assert f"{engine.books.equity():,.2f}".replace(",", "\u202f") in text
    assert "unknown" not in text


def test_a_flat_account_is_empty_and_not_unknown(home):
    engine = FakeEngine(home, empty=True, ticking=False).start()
    text = said(shell())
    assert "No open position · No open order" in text
    assert "unknown since" not in text
    engine.stop()


def test_without_an_engine_the_desk_is_unknown_and_not_empty(home):
    text = said(shell())
    assert re.search(r"Positions and orders unknown since \d\d:\d\d:\d\d", text)
    assert "MODE UNKNOWN" in text
    assert "No open position" not in text
    assert "PAPER" not in text
    assert "0.00" not in text


def test_an_engine_that_goes_away_leaves_no_old_number(engine):
    script = shell()
    engine.stop(leave_card=True)
    text = said(script.run())
    assert "unknown since" in text
    assert "3 open positions" not in text


def test_live_mode_is_written_and_not_only_coloured(home):
    engine = FakeEngine(home, mode="live", ticking=False).start()
    assert "LIVE · REAL MONEY" in said(shell())
    engine.stop()


# ---- mode and kill switch ----------------------------------------------------------------------------------------


def test_live_stays_refused_until_every_item_is_green(engine):
    script = shell()
    script.segmented_control(key="shell_mode").set_value("Live").run()
    text = said(script)
    assert "Credentials in the vault" in text
    assert "Refused: live trading stays off" in text
    engine.armed_items = True
    assert "Refused: live trading" not in said(script.run())
    assert engine.status()["mode"] == "paper"


@pytest.mark.parametrize(("label", "level"), [("Pause", 1), ("Cancel all", 2), ("Flatten now", 3), ("Halt now", 4)])
def test_each_kill_level_reaches_the_engine_once_in_under_a_second(engine, label, level):
    script, arrived, kill = shell(), [], engine.act_kill
    engine.act_kill = lambda body: (arrived.append(time.monotonic()), kill(body))[1]
    begun = time.monotonic()
    button(script, label).click().run()
    assert arrived[0] - begun < 1.0
    sent = commands(engine, "kill")
    assert [body["level"] for body in sent] == [level]
    assert sent[0]["idempotency_key"]
    assert f"Kill switch {level}" in said(script)
    script.run()
    assert len(commands(engine, "kill")) == 1  # a rerun kills nothing


@pytest.mark.parametrize(
    ("worst", "sentence"),
    [(0.03, "Smaller positions today"), (0.04, "Reducing only until tomorrow"), (0.0446, "Flat until tomorrow (UTC)")],
)
def test_the_sidebar_says_what_todays_loss_still_allows(engine, worst, sentence):
    assert "Today's worst loss" not in said(shell())
    engine.day_worst = worst
    script = shell()
    assert sentence in said(script)
    assert f"{100 * worst:.2f}\u202f% of 5.00\u202f% allowed" in said(script)


def test_a_click_that_is_delivered_twice_acts_once():
    state, closed = {}, []
    for key in ("first", "first", "second"):
        blotter.act(state, lambda key=key: closed.append(key) or {}, "Closing.", key)
    assert closed == ["first", "second"]
    assert state[blotter.STATE]["n"] == 2


def test_a_halt_is_released_only_by_the_typed_word(engine):
    script = shell()
    button(script, "Halt now").click().run()
    button(script, "Resume trading").click().run()
    assert engine.kill_level == 4
    assert "type RESUME" in said(script)
    script.text_input(key="shell_confirm").set_value("RESUME").run()
    button(script, "Resume trading").click().run()
    assert engine.kill_level == 0


def test_a_kill_that_did_not_arrive_says_so(engine):
    script = shell()
    engine.act_kill = lambda body: 1 / 0
    button(script, "Pause").click().run()
    assert "did NOT take effect" in said(script)


# ---- ticket and blotter ------------------------------------------------------------------------------------------


def test_a_preview_has_costs_and_the_gates_answer_and_sends_nothing(engine):
    state: dict = {}
    preview_draft(state, EngineClient(engine.home), {"n": 3, "ticket": TICKET})
    preview = state["draft"]["preview"]
    assert state["draft"]["n"] == 3
    assert preview["fee"] == pytest.approx(preview["notional"] * 0.0004)
    assert preview["ok"] is True
    assert commands(engine, "ticket.submit") == []


def test_the_key_is_fixed_at_review_and_spent_by_sending(engine):
    state, client, before = {}, EngineClient(engine.home), len(engine.books.fills)
    begin_review(state, client, {"n": 1, "ticket": TICKET})
    key = state["review"]["key"]
    send_reviewed(state, client, key)
    send_reviewed(state, client, key)  # a rerun, a second click, a replayed message
    send_reviewed(state, client, "another key")
    assert len(engine.books.fills) == before + 1
    assert [body["idempotency_key"] for body in commands(engine, "ticket.submit")] == [key]
    assert state["outcome"] == {"ok": True, "text": f"Order {engine.books.fills[-1]['client_id']}: FILLED"}


def test_without_an_answer_the_same_key_is_kept_for_asking_again(engine, monkeypatch):
    state, client = {}, EngineClient(engine.home)
    begin_review(state, client, {"n": 1, "ticket": TICKET})
    key, before = state["review"]["key"], len(engine.books.fills)
    send = client.submit_ticket

    def answer_is_lost(*args, **kwargs):
        send(*args, **kwargs)
        raise EngineUnavailable("The engine did not answer in time.", 0.0)

    monkeypatch.setattr(client, "submit_ticket", answer_is_lost)
    send_reviewed(state, client, key)
    assert state["review"]["key"] == key
    assert "may or may not" in state["review"]["unsure"]
    monkeypatch.undo()
    send_reviewed(state, client, key)
    assert state["review"] is None
    assert len(engine.books.fills) == before + 1


def test_a_refused_ticket_says_why_and_keeps_no_key(engine):
    state, client = {}, EngineClient(engine.home)
    begin_review(state, client, {"n": 1, "ticket": {**TICKET, "size": {"unit": "quote", "value": 9000}}})
    assert state["draft"]["preview"]["ok"] is False
    send_reviewed(state, client, state["review"]["key"])
    assert state["review"] is None
    assert state["outcome"]["ok"] is False
    assert "the cap is 0.50" in state["outcome"]["text"]


def test_a_refused_action_is_told_and_each_sentence_is_a_new_one(engine):
    state, client = {}, EngineClient(engine.home)
    blotter.act(state, lambda: client.close_position("BTCUSDT", "k1"), "Closing.")
    assert state[blotter.STATE] == {"n": 1, "text": "Closing.", "ok": True}
    blotter.act(state, lambda: client.close_position("DOGEUSDT", "k2"), "Closing.")
    assert state[blotter.STATE]["n"] == 2
    assert state[blotter.STATE]["text"] == "Refused: There is no open position in DOGEUSDT."


def in_doubt(engine) -> str:
    """Rest an order whose outcome is unknown and return its id."""
    nan = float("nan")
    row = engine.books.rest("ETHUSDT", 1, 0.5, limit_px=3000.0, stop_px=nan, reduce_only=False, tif="GTX")
    now = time.time_ns()
    row.update(status="UNKNOWN", unknown_since_ns=now - 12_000_000_000, next_lookup_ns=now + 90_000_000_000)
    engine.publish_orders()
    return row["client_id"]


def test_the_venue_is_asked_about_an_order_in_doubt_and_its_answer_told(engine):
    state, client_id = {}, in_doubt(engine)
    blotter.ask_venue(state, EngineClient(engine.home), client_id)
    assert state[blotter.STATE] == {"n": 1, "text": "The venue has it: NEW, 0 filled.", "ok": True}
    assert commands(engine, "order.lookup") == [{"client_id": client_id}]
    blotter.ask_venue(state, EngineClient(engine.home), "no-such-order")
    assert state[blotter.STATE] == {"n": 2, "text": "Refused: Order no-such-order is not open.", "ok": False}


# ---- in a browser ------------------------------------------------------------------------------------------------


@pytest.fixture
def site(home):
    """The real application on a free port, over a ticking fake engine."""
    engine = FakeEngine(home).start()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app/main.py", "--server.port", str(port)]
    log = (home / "ui.log").open("wb")
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ}, stdout=log, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}"
    wait_for(address + "/healthz")
    yield engine, address, process
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        process.wait(20)
    log.close()
    if not engine.stopping.is_set():
        engine.stop()


def wait_for(address: str, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(address, timeout=2).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"{address} did not answer")


@pytest.mark.browser
@pytest.mark.skipif(find_browser() is None, reason=WHY_NOT)
def test_the_desk_in_a_browser_moves_trades_once_and_tells_a_lost_engine(site):
    from playwright.sync_api import expect, sync_playwright

    engine, address, process = site
    with sync_playwright() as play:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = play.chromium.launch(executable_path=find_browser(), args=flags)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        asked, broken = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: broken.append(str(error)))
        page.goto(address)
        expect(page.locator(".blotter tbody tr").first).to_be_visible(timeout=20_000)
        expect(page.locator(".book .bids .px").first).not_to_be_empty(timeout=10_000)
        before = page.evaluate("window.__astrolabe.updates")
        page.wait_for_timeout(2000)
        assert page.evaluate("window.__astrolabe.updates") - before >= 10

        page.locator(".symbols button", has_text="ETH").click()
        expect(page.locator(".chart h2")).to_have_text("ETH perpetual", timeout=10_000)
        page.locator(".ticket .field input:visible").first.fill("500")
        expect(page.locator(".ticket .gate")).to_contain_text("would let it through", timeout=10_000)
        page.get_by_role("button", name="Review buy ETH").click()
        page.get_by_role("button", name=re.compile("^Send: buy")).dblclick()
        expect(page.locator(".outcome")).to_contain_text("FILLED", timeout=10_000)
        assert len(commands(engine, "ticket.submit")) == 1

        page.get_by_role("button", name="Algorithm").click()
        page.get_by_role("button", name="Iceberg").click()
        page.locator(".ticket .field", has_text="Size").locator("input").fill("500")
        page.locator(".ticket .field", has_text="Shown at once").locator("input").fill("0.05")
        page.locator(".ticket .field", has_text="Worst price").locator("input").fill("2000")
        page.get_by_label("Hidden: show nothing").check()
        page.get_by_role("button", name="Review buy ETH").click()
        expect(page.locator(".confirm")).to_contain_text("0.05 ETH shown at once, hidden", timeout=10_000)
        page.get_by_role("button", name=re.compile("^Send: buy")).click()
        expect(page.locator(".outcome")).to_contain_text("WORKING", timeout=10_000)
        (started,) = commands(engine, "parents.start")
        assert (started["limit_px"], started["display_qty"], started["hidden"]) == (2000, 0.05, True)

        close = page.locator(".blotter tbody .action").first
        close.click()
        assert commands(engine, "position.close") == []  # the first click only asks
        page.locator(".blotter .action.asks").click()
        expect(page.locator(".notice")).to_contain_text("Closing", timeout=10_000)
        assert len(commands(engine, "position.close")) == 1

        in_doubt(engine)
        page.get_by_role("button", name=re.compile("^Open orders .*1 unknown")).click()
        doubt = page.locator(".blotter tbody tr:visible").first
        expect(doubt).to_contain_text(re.compile(r"UNKNOWN 1\d\s?s, asks in \d\d\s?s"))
        doubt.get_by_role("button", name="Ask venue now").click()
        expect(page.locator(".notice")).to_contain_text("The venue has it", timeout=10_000)
        expect(page.get_by_role("button", name="Ask venue now").locator("visible=true")).to_have_count(0)

        engine.stop()
        expect(page.locator(".blotter .veil")).to_contain_text("unknown since", timeout=10_000)
        expect(page.locator(".ticket .veil")).to_contain_text("No order can be sent")
        assert page.locator(".blotter tbody tr:visible").count() == 0
        browser.close()
    foreign = [url for url in asked if not url.startswith((address, address.replace("http", "ws"), "blob:", "data:"))]
    assert foreign == []
    assert broken == []
    process.send_signal(signal.SIGINT)
    assert process.wait(20) is not None  # Ctrl-C ends the screen though a socket was open

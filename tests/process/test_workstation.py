"""The workstation as a trader meets it: one command, a browser, the real engine on a practice exchange."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from engine_process import Sandbox, prepare

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from browser_path import WHY_NOT, find_browser

from engine.errors import Unreachable
from engine.runtime.remote import ask

ROOT = Path(__file__).resolve().parents[2]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.timeout(240),
    pytest.mark.skipif(find_browser() is None, reason=WHY_NOT),
]


@pytest.fixture(scope="module")
def sandbox():
    sandbox = Sandbox("--seed", "5", "--symbols", "BTCUSDT,ETHUSDT,SOLUSDT")
    yield sandbox
    sandbox.stop()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("workstation")
    prepare(home)
    return home


@pytest.fixture(scope="module")
def address(sandbox, home):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "ASTROLABE_HOME": str(home),
        "ASTER_BASE_URL": sandbox.hello["base_url"],
        "ASTER_WS_URL": sandbox.hello["ws_url"],
        "ASTER_PRIVATE_KEY": sandbox.hello["private_key"],
    }
    command = [sys.executable, "-m", "streamlit", "run", "app/main.py", "--server.port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield f"http://127.0.0.1:{port}"
    process.send_signal(signal.SIGINT)
    assert process.wait(30) is not None
    assert not (home / "engine.json").exists(), "the engine that this screen started must end with it"


@pytest.fixture(scope="module")
def page(address):
    from playwright.sync_api import sync_playwright

    _until(lambda: urllib.request.urlopen(f"{address}/healthz", timeout=2), 60, "the page is not served")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=find_browser(), args=FLAGS)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(60_000)
        page.goto(address)
        yield page
        browser.close()


def _until(condition, within_s: float, what: str):
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            found = condition()
        except (OSError, Unreachable):
            found = None
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what} within {within_s} s")


def _status(home):
    return ask(home, "status")


def _positions(sandbox) -> list[str]:
    return [row["symbol"] for row in sandbox.books()["positions"] if float(row["positionAmt"])]


def test_one_command_opens_a_desk_with_a_moving_chart(page):
    page.wait_for_function("window.__astrolabe && window.__astrolabe.updates > 20")
    before = page.evaluate("window.__astrolabe.updates")
    page.wait_for_timeout(2000)
    assert page.evaluate("window.__astrolabe.updates") - before >= 10, "fewer than five updates a second"
    assert page.get_by_text("PAPER", exact=True).first.is_visible()


def test_cancel_all_in_the_sidebar_reaches_the_exchange_within_a_second(page, sandbox, home):
    _until(lambda: _status(home)["phase"] == "trading", 90, "the engine does not trade")
    ticket = {"symbol": "BTCUSDT", "side": "buy", "kind": "limit", "size": {"unit": "quote", "value": 200.0}}
    px = ask(home, "ticket.preview", ticket | {"kind": "market"})["px"]
    sent = ask(home, "ticket.submit", ticket | {"limit_px": round(px * 0.99, 1), "idempotency_key": "far-away-bid"})

    def resting() -> bool:
        return any(order["clientOrderId"] == sent["client_id"] for order in sandbox.books()["open_orders"])

    _until(resting, 5, "the order does not rest")
    button = page.get_by_role("button", name="Cancel all")
    button.wait_for()
    # From the click itself: before it the driver waits for the button to stand still, which no trader does.
    once = "{ capture: true, once: true }"
    page.evaluate(f"document.addEventListener('click', () => {{ window.__clicked = Date.now(); }}, {once})")
    button.click()
    _until(lambda: not resting(), 5, "the order is not cancelled")
    gone = time.time()
    assert gone - page.evaluate("window.__clicked") / 1000.0 < 1.0
    page.get_by_text("Kill switch 2: ").wait_for()


def test_flatten_in_the_sidebar_closes_every_position_and_says_so(page, sandbox, home):
    page.get_by_role("button", name="Resume trading").click()
    _until(lambda: _status(home)["kill_level"] == 0, 5, "trading did not resume")
    ticket = {"symbol": "ETHUSDT", "side": "buy", "kind": "market", "size": {"unit": "quote", "value": 300.0}}
    ask(home, "ticket.submit", ticket | {"idempotency_key": "hold-something"})
    _until(lambda: "ETHUSDT" in _positions(sandbox), 10, "no position")
    page.get_by_role("button", name="Flatten").click()
    page.get_by_role("button", name="Flatten now").click()
    _until(lambda: not _positions(sandbox), 20, "the book is not flat")
    page.get_by_text("Kill switch 3: ").wait_for()


@pytest.mark.parametrize("name", ["Portfolio", "Backtest", "Journal", "Health", "Settings", "Desk"])
def test_every_page_opens_on_the_real_engine_without_an_error(page, name):
    page.get_by_role("link", name=name, exact=True).click()
    heading = "Order book" if name == "Desk" else name
    page.get_by_text(heading, exact=True).first.wait_for()
    page.wait_for_timeout(1500)
    assert page.get_by_text("Traceback").count() == 0
    assert page.locator("[data-testid=stException]").count() == 0
    _until(lambda: page.get_by_text("unknown since").count() == 0, 15, "something stays unknown")

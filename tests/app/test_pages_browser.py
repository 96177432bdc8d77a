"""The slower pages in a real browser: they draw, a backtest runs from the form, and a dead engine is unknown."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from page_engine import PageEngine

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from browser_path import WHY_NOT, find_browser  # noqa: E402

pytestmark = pytest.mark.browser
START_S = 40


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def engine(home):
    running = PageEngine(home, ticking=True).start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def url(engine, home):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app/main.py", f"--server.port={port}"]
    environment = {**os.environ, "ASTROLABE_HOME": str(home)}
    server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + START_S
    while True:
        try:
            urllib.request.urlopen(f"{address}/_stcore/health", timeout=1)
            break
        except OSError:
            assert time.monotonic() < deadline, "the screen did not start"
            time.sleep(0.2)
    yield address
    server.terminate()
    server.wait(20)


@pytest.fixture(scope="module")
def browser():
    path = find_browser()
    if path is None:
        pytest.skip(WHY_NOT)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        running = driver.chromium.launch(executable_path=path, args=flags)
        yield running
        running.close()


@pytest.fixture
def tab(browser):
    opened = browser.new_page(viewport={"width": 1440, "height": 900})
    opened.set_default_timeout(20_000)
    yield opened
    opened.close()


def test_every_page_draws_without_an_error(tab, url):
    signs = (("portfolio", "Ratios"), ("data", "Coverage"), ("journal", "Decision 60"), ("settings", "Risk"))
    for name, sign in signs:
        tab.goto(f"{url}/{name}")
        tab.get_by_text(sign, exact=True).first.wait_for()
        assert tab.get_by_test_id("stException").count() == 0
    tab.goto(f"{url}/portfolio")
    tab.locator(".js-plotly-plot").first.wait_for()


def test_backtest_runs_from_the_form_to_its_chart(tab, url, engine):
    tab.goto(f"{url}/backtest")
    tab.get_by_role("button", name="Run backtest").click()
    tab.get_by_role("button", name="Cancel", exact=True).wait_for()  # it is being worked on
    tab.wait_for_url("**run_id=run-0001**")
    tab.frame_locator("iframe[title*='lightweight_charts']").first.locator("canvas").first.wait_for()
    tab.get_by_role("tab", name="Honesty").click()
    tab.get_by_text("Canaries", exact=False).first.wait_for()
    assert [name for name, _ in engine.calls].count("run.start") == 1


def test_a_file_is_uploaded_previewed_and_downloads_show_their_progress(tab, url, engine, tmp_path):
    path = tmp_path / "BTCUSDT.csv"
    path.write_text("when,open,high,low,close,volume\n1577836800000,1,2,0.5,1.5,10\n")
    tab.goto(f"{url}/data")
    tab.locator(".js-plotly-plot").first.wait_for()
    tab.locator("input[type=file]").set_input_files(str(path))
    tab.get_by_text("no column looks like 'timestamp'").wait_for()
    tab.get_by_role("tab", name="Download").click()
    tab.get_by_role("button", name="Download", exact=True).click()
    tab.get_by_text("4,000 rows, up to 2021-06-01").wait_for()
    engine.finish_data_run("download-1")
    tab.get_by_text("btc-hours@2 is stored: 70,000 rows, 4 findings.").wait_for()
    assert tab.get_by_test_id("stException").count() == 0
    assert [name for name, _ in engine.calls].count("data.start") == 1


def test_engine_that_stops_answering_is_unknown(tab, url, engine):
    engine.stop()
    tab.goto(f"{url}/journal")
    tab.get_by_text("Journal: unknown since").wait_for()
    assert tab.get_by_text("No decisions yet").count() == 0

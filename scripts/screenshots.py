"""Take the pictures of every page for docs/screens.md: a fresh workstation on the simulated market, nothing arranged.

    python scripts/screenshots.py [--out docs/images] [--wait 150] [--home FOLDER]

``--wait`` is how many seconds the engine trades before the pictures are taken. With ``--home``, of a data folder that
is there already; where its newest finished run is a walk-forward, that is taken too, and so is what trained models say.

What the pages show is done before, in the engine: the portfolio of sleeves trades, two orders are worked by an
algorithm (one ends, one goes on while the pictures are taken), the book is held against the crises, and the sleeves are
compared.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "benchmarks")]

from measuring import (  # noqa: E402
    EngineDoor,
    Missing,
    browser_page,
    door_when_ready,
    fresh_home,
    wait_for,
    wait_trading,
    workstation,
)

SIZE = {"width": 1440, "height": 900}
TALL = {"width": 1440, "height": 1300}
SETTLE_MS = 6000
LIGHT_CHART = "iframe[title*='lightweight_charts']"
RUN_MS = 300_000  # with its whole honesty panel, on a busy machine
NOTHING_YET = {"data": "No data set yet"}  # pages that are empty on a fresh folder: an older picture shows more


COMPARE_S = 400.0
FINISHED = ("done", "failed", "cancelled")


def trade(door: EngineDoor) -> None:
    """Let the portfolio of sleeves decide, and have an algorithm work an order that ends before the pictures."""
    door.act("settings.set", values={"strategy": "portfolio"}, actor="screenshots")
    work_order(door, "ETHUSDT", "buy", "twap", 1.0)


def work_order(door: EngineDoor, symbol: str, side: str, algorithm: str, minutes: float) -> None:
    """Start an order of 400 USDT; one that the risk gate refuses is said and left out."""
    size = {"unit": "quote", "value": 400.0}
    try:
        door.act("parents.start", symbol=symbol, side=side, size=size, algorithm=algorithm, minutes=minutes)
    except Exception as refusal:
        print(f"no {algorithm} order in {symbol}: {str(refusal).splitlines()[0]}")


def hold_up(door: EngineDoor) -> None:
    """Replay the crises, compare the sleeves, and leave an order at work."""
    door.act("stress.run", actor="screenshots")
    door.act("portfolio.compare", actor="screenshots")
    wait_for(
        "the comparison of sleeves",
        lambda: door.ask("portfolio")["comparison"]["status"] in FINISHED or None,
        COMPARE_S,
    )
    work_order(door, "BTCUSDT", "sell", "almgren-chriss", 20.0)


def shoot_sleeves(page: Any, url: str, out: Path) -> None:
    """Take the lower part of the Portfolio page: the sleeves now, through time, and compared."""
    page.set_viewport_size(TALL)
    page.goto(url)
    page.get_by_role("heading", name="Sleeves", exact=True).wait_for(timeout=60_000)
    page.wait_for_timeout(SETTLE_MS)
    page.get_by_role("heading", name="Sleeves", exact=True).evaluate("element => element.scrollIntoView(true)")
    page.wait_for_timeout(1_000)
    page.screenshot(path=str(out / "portfolio_sleeves.png"))
    print(out / "portfolio_sleeves.png")


def shoot_why(page: Any, url: str, out: Path) -> None:
    """Take what moved the newest forecast, where models have been trained and have answered."""
    page.set_viewport_size(TALL)
    page.goto(url)
    page.wait_for_timeout(SETTLE_MS)
    part = page.get_by_text("Why", exact=True)
    if part.count():
        part.first.click()
        page.wait_for_timeout(SETTLE_MS)
        page.screenshot(path=str(out / "insights_why.png"))
        print(out / "insights_why.png")


def take(page: Any, url: str, path: Path, size: dict[str, int] = SIZE) -> None:
    page.set_viewport_size(size)
    page.goto(url)
    page.wait_for_timeout(SETTLE_MS)
    empty = NOTHING_YET.get(path.stem)
    if empty and path.exists() and page.get_by_text(empty).count():
        print(f"{path} is kept: the page says {empty!r}")
        return
    if page.locator(LIGHT_CHART).count():  # loads on its own, later than the page
        page.frame_locator(LIGHT_CHART).first.locator("canvas").first.wait_for(timeout=60_000)
    page.screenshot(path=str(path))
    print(path)


def run_backtest(page: Any, url: str) -> bool | None:
    """Run one from the form; refused while the engine still loads its history, so the caller asks again."""
    page.goto(url)
    page.get_by_role("button", name="Run backtest").click(timeout=60_000)
    page.wait_for_timeout(4_000)
    if page.get_by_role("button", name="Cancel", exact=True).count() == 0 and page.get_by_role("tab").count() == 0:
        return None  # refused: the sentence stands below the form
    page.get_by_role("tab", name="Honesty").wait_for(timeout=RUN_MS)
    return True


def shoot_tabs(page: Any, url: str, out: Path) -> None:
    """Take the parts of a result that lie behind tabs."""
    page.goto(url)
    for name, tab in (
        ("backtest_honesty", "Honesty"),
        ("backtest_doubt", "What would make"),
        ("backtest_trades", "Trades"),
    ):
        page.get_by_role("tab").filter(has_text=tab).first.click(timeout=60_000)
        page.wait_for_timeout(SETTLE_MS)
        page.screenshot(path=str(out / f"{name}.png"))
        print(out / f"{name}.png")
    # the account's record is minutes old and says nothing: the run's is longer
    link = page.get_by_role("link", name="What it means for the goal").get_attribute("href")
    take(page, f"{url.removesuffix('/backtest')}{link}", out / "goal.png", TALL)


def shoot_walk_forward(page: Any, url: str, out: Path) -> None:
    """Take the newest run where it is a walk-forward: before another run takes its place."""
    page.goto(url)
    page.wait_for_timeout(SETTLE_MS)
    if page.get_by_role("heading", name="Walk-forward:").count():
        take(page, url, out / "backtest_walkforward.png", TALL)


def shoot(url: str, out: Path) -> None:
    with browser_page() as page:
        shoot_walk_forward(page, f"{url}/backtest", out)
        wait_for("a backtest's result", lambda: run_backtest(page, f"{url}/backtest"), 400)
        take(page, url, out / "desk.png")
        for name in sorted(path.stem for path in (ROOT / "pages").glob("*.py") if path.stem != "desk"):
            take(page, f"{url}/{name}", out / f"{name}.png", TALL)
        shoot_why(page, f"{url}/insights", out)
        shoot_sleeves(page, f"{url}/portfolio", out)
        shoot_tabs(page, f"{url}/backtest", out)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--wait", type=float, default=150.0)
    parser.add_argument("--home", type=Path)
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    try:
        given = nullcontext(chosen.home) if chosen.home else fresh_home()
        with given as home, workstation(home, "screen.log") as (url, process):
            door = door_when_ready(home, process)
            wait_trading(door, 180)
            trade(door)
            time.sleep(chosen.wait)
            hold_up(door)
            shoot(url, chosen.out)
    except Missing as reason:
        raise SystemExit(str(reason)) from None


if __name__ == "__main__":
    main()

"""Take the pictures of every page for docs/screens.md: a fresh workstation on the simulated market, nothing arranged.

    python scripts/screenshots.py [--out docs/images] [--wait 150] [--home FOLDER]

``--wait`` is how many seconds the engine trades before the pictures are taken. With ``--home``, of a data folder that
is there already; where its newest finished run is a walk-forward, that is taken too.
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
    Missing,
    browser_page,
    desk_command,
    door_when_ready,
    free_port,
    fresh_home,
    http_ok,
    running,
    wait_for,
    wait_trading,
)

SIZE = {"width": 1440, "height": 900}
TALL = {"width": 1440, "height": 1300}
SETTLE_MS = 6000
LIGHT_CHART = "iframe[title*='lightweight_charts']"
RUN_MS = 300_000  # with its whole honesty panel, on a busy machine
NOTHING_YET = {"data": "No data set yet"}  # pages that are empty on a fresh folder: an older picture shows more


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
        shoot_tabs(page, f"{url}/backtest", out)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--wait", type=float, default=150.0)
    parser.add_argument("--home", type=Path)
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    try:
        given = nullcontext(chosen.home) if chosen.home else fresh_home()
        with given as home, running(desk_command(port), home, "screen.log") as process:
            wait_for("the first page", lambda: http_ok(f"{url}/healthz") or None, 60)
            wait_trading(door_when_ready(home, process), 180)
            time.sleep(chosen.wait)
            shoot(url, chosen.out)
    except Missing as reason:
        raise SystemExit(str(reason)) from None


if __name__ == "__main__":
    main()

"""The market falls by 30 % in five minutes: does the account stay above its limits? Prints JSON; takes many minutes.

    python benchmarks/crash.py [--seeds 3] [--books trend,long,…] [--seconds 330] [--screens FOLDER]

A real engine with default settings trades against a practice exchange. Once its book stands, the exchange's fault
``crash`` moves every price by 30 % over five minutes at real speed, with a quarter of the makers' quantities. Five
books: ``trend`` holds what the built-in rule wants; ``long`` and ``short`` want four symbols of half of the equity each
and hold what the gate lets them; ``long-bare`` and ``short-bare`` hold all of that, twice the equity, with the rules on
the whole book switched off, so that only the day's limit is left. The move is against all but ``trend``. Equity is read
from the exchange's own books five times a second. Bound: the loss if nobody had done anything, from the weights.

A run whose book was empty when the fall began shows nothing: it is listed, and counted neither as held nor at all.
The worst day's loss is held against 5 %, the worst fall from the peak against 15 %. ``over`` says by how much a limit
was gone through. ``--screens`` also opens the Risk, Desk and Execution pages in a browser meanwhile and keeps pictures.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from chaos_rig import Exchange
from measuring import (
    EngineDoor,
    Missing,
    browser_page,
    door_when_ready,
    engine_command,
    fresh_home,
    options,
    report,
    running,
    wait_trading,
    workstation,
)

from engine.settings import SystemConfig
from storage.database import Database

HELD = SystemConfig().symbols[:4]
POLL_S = 0.2
BUILD_S = 100.0  # how long a book may take to stand
LEAST_GROSS = 0.02  # of the equity: below it there is no book
FLAT_S = 20.0  # a book that stays flat this long has nothing left to lose
STRATEGY = '''"""Always {word}, at the caps."""


class Strategy:
    history = 2

    def on_bar(self, past):
        return {{symbol: {weight} if symbol in {held} else 0.0 for symbol in past.symbols}}
'''
MOVES = {"trend": -0.3, "long": -0.3, "short": 0.3, "long-bare": -0.3, "short-bare": 0.3}
PAGES = {"risk": "risk", "desk": "", "execution": "execution"}  # the desk is what opens first, at the root
PICTURE_MS = 6_000


def prepare(home: Path, book: str) -> SystemConfig:
    """Store the settings: the defaults, and what the book needs."""
    config = SystemConfig()
    word, _, is_bare = book.partition("-")
    if word != "trend":
        path = home / f"{word}.py"
        path.write_text(STRATEGY.format(word=word, weight=0.5 if word == "long" else -0.5, held=HELD))
        from engine.strategies.versions import keep

        config = config.model_copy(update={"strategy": keep(home, str(path)), "use_gate_book": not is_bare})
    store = Database(home / "paper.duckdb")
    store.remember("config", config.model_dump(mode="json")).result(30)
    store.close()
    return config


def stand(exchange: Exchange, book: str) -> dict[str, Any]:
    """Wait until the book stands and return the exchange's books then."""
    deadline, wanted = time.monotonic() + BUILD_S, 1.7 if book.endswith("bare") else 0.2
    while True:
        books = exchange.books()
        if gross_of(books) >= wanted or time.monotonic() > deadline:
            return books
        time.sleep(1.0)


def equity_of(books: dict[str, Any]) -> float:
    """Return wallet plus unrealised profit, USDT."""
    return float(books["balances"]["margin_balance"])


def gross_of(books: dict[str, Any]) -> float:
    """Return the notional of all positions over equity."""
    return sum(abs(float(row["notional"])) for row in books["positions"]) / equity_of(books)


def if_held(books: dict[str, Any], move: float) -> float:
    """Return the loss, as a share of equity, if every price moves and nobody does anything."""
    signed = sum(float(row["notional"]) for row in books["positions"])
    return max(-signed * move / equity_of(books), 0.0)


def live_through(exchange: Exchange, door: EngineDoor, seconds: float) -> dict[str, Any]:
    """Watch the account through the crash and return what became of it."""
    peak = day_open = equity_of(exchange.books())
    status = door.ask("status")
    peak = max(peak, status["peak_equity"] or peak)
    day_open = status["equity"] - status["day_pnl"] if status["day_pnl"] is not None else day_open
    began = time.monotonic()
    lowest, drawdown, flat_since, flat_at, gross = peak, 0.0, None, None, []
    while (elapsed := time.monotonic() - began) < seconds:
        books = exchange.books()
        equity = equity_of(books)
        peak, lowest = max(peak, equity), min(lowest, equity)
        drawdown = max(drawdown, 1.0 - equity / peak)
        gross.append([round(elapsed, 1), round(gross_of(books), 3), round(equity, 2)])
        if books["positions"]:
            flat_since = None
        elif flat_since is None:
            flat_since, flat_at = elapsed, elapsed
        if flat_since is not None and elapsed - flat_since > FLAT_S:
            break
        time.sleep(POLL_S)
    return {
        "worst_day_loss": round(max(1.0 - lowest / day_open, 0.0), 5), "worst_drawdown": round(drawdown, 5),
        "flat_after_s": None if flat_at is None else round(flat_at, 1), "end_equity": gross[-1][2],
        "course": gross[:: max(len(gross) // 40, 1)],
    }  # fmt: skip


def told(door: EngineDoor) -> list[str]:
    """Return what the engine reported as critical, oldest first."""
    rows = door.read(table="incidents", limit=50).to_pylist()
    return [row["message"] for row in reversed(rows) if row["severity"] in ("critical", "error")]


def worst_fill(door: EngineDoor) -> float | None:
    """Return the largest distance of a closing fill from its decision price, as a fraction against us."""
    rows = [row for row in door.read(table="fills", limit=1000).to_pylist() if row["decision_px"]]
    against = [(row["px"] / row["decision_px"] - 1.0) * (1 if row["qty"] > 0 else -1) for row in rows]
    return round(max(against), 5) if against else None


def run(book: str, seed: int, seconds: float, screens: Path | None) -> dict[str, Any]:
    """Return one run's outcome."""
    move = MOVES[book]
    with ExitStack() as stack:
        home = stack.enter_context(fresh_home())
        config = prepare(home, book)
        exchange = Exchange(seed, home, "--balance", "10000", symbols=config.symbols)
        stack.callback(exchange.stop)
        process = stack.enter_context(running(engine_command(home), home, "engine.log", **exchange.environment))
        door = door_when_ready(home, process, 180)
        wait_trading(door, 180)
        books = stand(exchange, book)
        row = {"book": book, "seed": seed, "move": move, "gross_before": round(gross_of(books), 3),
               "stood": gross_of(books) >= LEAST_GROSS,
               "loss_if_held": round(if_held(books, move), 4)}  # fmt: skip
        viewer = stack.enter_context(watching(home, screens)) if screens is not None else None
        watch = stack.enter_context(ThreadPoolExecutor(1))
        exchange.rules([{"action": "crash", "move": move, "over_s": 300, "depth": 0.25}])
        outcome = watch.submit(live_through, exchange, door, seconds)
        if viewer is not None:
            viewer(f"{book}-{seed}")
            outcome.result()
            viewer(f"{book}-{seed}-after")
        row |= outcome.result()
        status = door.ask("status")
        row |= {"kill_level": status["kill_level"], "told": told(door), "worst_fill": worst_fill(door)}
    over = {
        "day": max(row["worst_day_loss"] - config.max_daily_loss, 0.0),
        "drawdown": max(row["worst_drawdown"] - config.max_total_drawdown, 0.0),
    }  # fmt: skip
    return row | {"over": {name: round(value, 5) for name, value in over.items()}, "held": not any(over.values())}


@contextmanager
def watching(home: Path, folder: Path) -> Iterator[Callable[[str], None]]:
    """Open the workstation's screen and a browser; yield what takes a picture of each page under a name."""
    folder.mkdir(parents=True, exist_ok=True)
    with workstation(home, "screen.log") as (url, _), browser_page(1440, 1300) as page:
        page.goto(f"{url}/risk", wait_until="commit", timeout=120_000)  # before the crash: the first page is slow
        page.wait_for_timeout(PICTURE_MS)

        def take(name: str) -> None:
            for place, path in PAGES.items():
                page.goto(f"{url}/{path}", wait_until="commit", timeout=120_000)
                page.wait_for_timeout(PICTURE_MS)
                page.screenshot(path=str(folder / f"crash-{name}-{place}.png"))

        yield take


def main() -> None:
    chosen = options(
        __doc__, ("--seeds", {"type": int, "default": 3}), ("--books", {"default": ",".join(MOVES)}),
        ("--seconds", {"type": float, "default": 330.0}), ("--screens", {"type": Path}),
    )  # fmt: skip
    rows = []
    for book in chosen.books.split(","):
        for seed in range(1, chosen.seeds + 1):
            try:
                rows.append(run(book, seed, chosen.seconds, chosen.screens))
            except Missing as reason:
                raise SystemExit(str(reason)) from None
            print(json.dumps({key: value for key, value in rows[-1].items() if key != "course"}), flush=True)
    stood = [row for row in rows if row["stood"]]
    result = {
        "runs": rows, "held": sum(row["held"] for row in stood), "of": len(stood), "empty": len(rows) - len(stood),
        "worst_day_loss": max((row["worst_day_loss"] for row in stood), default=None),
        "worst_drawdown": max((row["worst_drawdown"] for row in stood), default=None),
        "target": "worst day loss <= 0.05 and worst drawdown <= 0.15 in every run",
    }  # fmt: skip
    report(result, chosen.json)


if __name__ == "__main__":
    main()

"""`python -m engine stress`: past and made-up crises against the book that is held, or against one that is typed."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any

import typer
from rich.table import Table

from engine.terminal import HomeOption, JsonOption, console, data_folder

TIMEOUT_S = 120.0


def stress(
    book: Annotated[
        str | None, typer.Option(help="Weights such as BTCUSDT=0.5,ETHUSDT=-0.2 instead of the engine's book")
    ] = None,
    equity: Annotated[float, typer.Option(min=1, help="USDT, with --book")] = 10_000.0,
    last: Annotated[bool, typer.Option("--last", help="Show the newest replay instead of making one")] = False,
    data_dir: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Replay crises against the current book: held, with its stops, and with the engine's own control reacting.

    With --book no engine is needed; default limits apply, and every position is taken as just opened.
    """
    if book is not None:
        found = typed_book(book, equity)
    else:
        from engine.runtime.remote import ask

        question = "stress" if last else "stress.run"
        found = ask(data_folder(data_dir), question, {"actor": "terminal"}, timeout_s=TIMEOUT_S)
    if as_json:
        typer.echo(json.dumps(found, indent=2, allow_nan=False))
    else:
        show(found)


def typed_book(text: str, equity: float) -> dict[str, Any]:
    """Return the replay of a book given as ``SYMBOL=WEIGHT`` pairs, under the default settings.

    Raises
    ------
    typer.BadParameter
        A pair is not of that form.
    """
    import numpy as np

    from engine.limits import MAINTENANCE_RATE
    from engine.research.book_risk import Returns
    from engine.research.book_stress import HeldBook
    from engine.research.book_stress import stress as replay
    from engine.runtime.risk_book import control_of
    from engine.settings import SystemConfig

    weights: dict[str, float] = {}
    for pair in text.split(","):
        name, _, value = pair.partition("=")
        try:
            weights[name.strip().upper()] = float(value)
        except ValueError:
            raise typer.BadParameter(f"{pair!r} is not SYMBOL=WEIGHT, such as BTCUSDT=0.5") from None
    config = SystemConfig(symbols=tuple(weights))
    symbols, px = config.symbols, 100.0
    weight = np.array(list(weights.values()))
    stops = px * (1.0 - np.sign(weight) * config.protective_stop_pct)
    held = HeldBook(
        symbols, weight * equity / px, np.full(len(weight), px), np.where(weight != 0.0, stops, math.nan), equity,
        equity, equity, MAINTENANCE_RATE, 0.0004,
    )  # fmt: skip
    returns = Returns(symbols, np.zeros(0, dtype=np.int64), np.zeros((0, len(weight))))
    return replay(held, control_of(config, returns, symbols), returns)


def show(found: dict[str, Any]) -> None:
    """Print a replay for people."""
    if not found["rows"]:
        console.print("No replay yet. Make one: python -m engine stress")
        return
    limits = found["limits"]
    table = Table("scenario", "held", "with stops", "with control", "worst day", "drawdown", "limits")
    for row in found["rows"]:
        modes = row["modes"]
        control = modes["control"]
        named = f" ({len(row['by_beta'])} by beta)" if row["by_beta"] else ""
        table.add_row(
            row["key"] + named, *(f"{modes[mode]['loss']:.1%}" for mode in ("held", "stops", "control")),
            f"{control['worst_day']:.1%}", f"{control['drawdown']:.1%}",
            ", ".join(control["broken"]) or ("hold" if any(limits.values()) else "none on"),
        )  # fmt: skip
    console.print(table)
    console.print(
        f"Largest loss from {found['equity']:,.2f} USDT. Limits: a day's loss {_limit(limits['max_daily_loss'])}, "
        f"drawdown {_limit(limits['max_drawdown'])}. {found['source']}",
        highlight=False,
        markup=False,
    )


def _limit(fraction: float | None) -> str:
    return "not limited (switched off)" if fraction is None else f"{fraction:.1%}"

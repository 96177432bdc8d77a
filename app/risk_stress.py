"""How the Risk page writes the stress replay: rows and sentences. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from app.formats import age, is_known, moment, money, percent, plural, signed_percent
from app.tables import Column

STRESS_COLUMNS = (
    Column("state", "Limits", "verdict", "Whether the limits hold with the control reacting", 90),
    Column("title", "Scenario", "text", "", 255),
    Column("held", "Held", "percent", "Largest loss from now, share of equity, when nobody does anything", 75),
    Column("stops", "With stops", "percent", "The same with the stops that rest on the exchange", 85),
    Column("control", "With control", "percent", "The same with stops, gate and loss limits deciding every hour", 95),
    Column("money", "Lost, USDT", "money", "With control", 95),
    Column("worst_day", "Worst day", "percent", "With control; the first day includes today's loss so far", 85),
    Column("drawdown", "Drawdown", "percent", "With control, from the peak of equity", 85),
    Column("end", "At the end", "figure", "Change from now, with control", 95),
    Column("liquidation", "To liquidation", "figure", "When held: adverse move that would have been left", 105),
)


def stress_rows(found: dict[str, Any]) -> pd.DataFrame:
    """Return a row a scenario, in the engine's order: past ones first."""
    rows, none_on = [], not any(found["limits"].values())
    for row in found["rows"]:
        held, control = row["modes"]["held"], row["modes"]["control"]
        rows.append({
            "state": _state(control["broken"], none_on),
            "title": row["title"], "held": held["loss"], "stops": row["modes"]["stops"]["loss"],
            "control": control["loss"], "money": control["loss_money"], "worst_day": control["worst_day"],
            "drawdown": control["drawdown"], "end": signed_percent(control["end"]),
            "liquidation": _distance(held),
        })  # fmt: skip
    return pd.DataFrame(rows, columns=[column.name for column in STRESS_COLUMNS]).replace({None: np.nan})


def _state(broken: list[str], none_on: bool) -> str:
    return f"▼ {', '.join(broken)}" if broken else "— none on" if none_on else "▲ hold"


def _distance(held: dict[str, Any]) -> str:
    if held["liquidated"]:
        return "liquidated"
    distance = held["liquidation_distance"]
    if not is_known(distance):
        return "flat"
    return percent(distance) if distance <= 1.0 else f"over {percent(1.0, 0)}"


def verdict(found: dict[str, Any]) -> str:
    """Say whether the limits hold, where they do not, and which of them is switched off and so held against nothing."""
    broken = [row["title"] for row in found["rows"] if row["modes"]["control"]["broken"]]
    told = " and ".join(f"{name} of {percent(limit)}" for name, limit in _limits(found) if limit is not None)
    if not any(found["weight"].values()):
        return "The book was flat, so nothing could be lost. Replay again when something is held."
    off = "".join(f" **No limit on {name} is in force**: it is switched off." for name, limit in _limits(found)
                  if limit is None)  # fmt: skip
    if not told:
        worst = percent(found["worst"]["loss"])
        gone = f" In {plural(len(broken), 'scenario')} the account would be liquidated." if broken else ""
        return f"With the control reacting, the worst scenario loses {worst} of equity.{gone}{off}"
    if not broken:
        return f"With the control reacting, the limits ({told}) hold in all {len(found['rows'])} scenarios.{off}"
    return (
        f"With the control reacting, a limit ({told}) does **not** hold in {len(broken)} of {len(found['rows'])} "
        f"scenarios, marked below.{off}"
    )


def _limits(found: dict[str, Any]) -> list[tuple[str, float | None]]:
    limits = found["limits"]
    return [("a day's loss", limits["max_daily_loss"]), ("a drawdown", limits["max_drawdown"])]


def stress_caption(found: dict[str, Any]) -> str:
    """Say how old the replay is, of which book it is, and what it assumes."""
    return (
        f"Replayed {age(found['age_s'])} ago ({moment(found['ts'])} UTC, {found['trigger']}) on a book of "
        f"{money(found['equity'])}: the book may have changed since. Within an hour, every symbol is at its worst for "
        f"the book at the same moment; stops fill half of the way beyond their price. {found['source']}"
    )


def scenario_lines(found: dict[str, Any]) -> list[str]:
    """Return a line a scenario: what it is, which symbols moved by beta, and what the quote currency is worth."""
    lines = []
    for row in found["rows"]:
        beta = f" By their beta to Bitcoin, because they did not trade then: {', '.join(row['by_beta'])}."
        outside = row["modes"]["control"]["end_dollars"]
        worth = f" Outside of the quote currency the account changes by {signed_percent(outside)}."
        lines.append(
            f"**{row['title']}**: {row['note']}"
            + (beta if row["by_beta"] else "")
            + (worth if row["quote_value"] != 1.0 else "")
        )
    return lines

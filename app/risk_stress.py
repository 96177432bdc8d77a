"""How the Risk page writes the stress replay: rows and sentences. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from app.formats import age, is_known, moment, money, percent, signed_percent
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
    rows = []
    for row in found["rows"]:
        held, control = row["modes"]["held"], row["modes"]["control"]
        rows.append({
            "state": "▲ hold" if not control["broken"] else f"▼ {', '.join(control['broken'])}",
            "title": row["title"], "held": held["loss"], "stops": row["modes"]["stops"]["loss"],
            "control": control["loss"], "money": control["loss_money"], "worst_day": control["worst_day"],
            "drawdown": control["drawdown"], "end": signed_percent(control["end"]),
            "liquidation": _distance(held),
        })  # fmt: skip
    return pd.DataFrame(rows, columns=[column.name for column in STRESS_COLUMNS]).replace({None: np.nan})


def _distance(held: dict[str, Any]) -> str:
    if held["liquidated"]:
        return "liquidated"
    distance = held["liquidation_distance"]
    if not is_known(distance):
        return "flat"
    return percent(distance) if distance <= 1.0 else f"over {percent(1.0, 0)}"


def verdict(found: dict[str, Any]) -> str:
    """Say in one sentence whether the limits hold, and where they do not."""
    broken = [row["title"] for row in found["rows"] if row["modes"]["control"]["broken"]]
    limits = found["limits"]
    told = f"a day's loss of {percent(limits['max_daily_loss'])} and a drawdown of {percent(limits['max_drawdown'])}"
    if not any(found["weight"].values()):
        return "The book was flat, so nothing could be lost. Replay again when something is held."
    if not broken:
        return f"With the control reacting, the limits ({told}) hold in all {len(found['rows'])} scenarios."
    return (
        f"With the control reacting, a limit ({told}) does **not** hold in {len(broken)} of {len(found['rows'])} "
        "scenarios, marked below."
    )


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

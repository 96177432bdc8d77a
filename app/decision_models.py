"""How the Journal writes what the models said of a decision, and what that counted. Pure."""

from __future__ import annotations

from typing import Any

import pandas as pd

from app.formats import UNKNOWN, is_known, moment, number, percent, signed
from app.tables import Column

NO_PART = (
    "Models took no part: none has been trained, the setting that lets them is off, or the strategy listens to none."
)


def lines(detail: dict[str, Any]) -> list[str]:
    """Return what models counted in a decision, by what, who was left out and how long they took; or why nothing.

    A record of before models were kept on it is as one without them.
    """
    said = detail.get("models")
    if not said:
        return [NO_PART]
    if said.get("why_not"):
        return [said["why_not"], "The rule alone decided."]
    used, earned = said.get("used_share"), said.get("share")
    told = [f"Set {said['version']}, by the bar that closed {moment(said['ts_close'])} UTC. {_counted(detail, used)}"]
    told.append(f"Earned so far: {percent(earned, 0)}{_parts(said)}.")
    if is_known(used) and is_known(earned) and used < earned:
        told[-1] += f" A setting holds them to {percent(used, 0)}."
    left_out = said.get("left_out") or {}
    told.append("Left out: " + "; ".join(f"{name} ({why})" for name, why in left_out.items()) + "." if left_out
                else "Nobody was left out.")  # fmt: skip
    if is_known(said.get("elapsed_ms")):
        told.append(f"Answered {number(said['elapsed_ms'], 1, 'ms')} after the models were shown the bar.")
    return told


def _counted(detail: dict[str, Any], used: float | None) -> str:
    if not is_known(used):
        return "What they counted is unknown."
    if not used:
        return "They counted 0 %, so the rule alone decided; below is what they wished."
    if detail.get("portfolio"):
        return f"The portfolio's sleeve of models took {percent(used, 0)} of their wishes."
    return f"They counted {percent(used, 0)} of the decision."


def _parts(said: dict[str, Any]) -> str:
    parts = [
        f"{who} {percent(said[name], 0)}"
        for who, name in (("agents", "agents_share"), ("headlines", "news_share"))
        if is_known(said.get(name))
    ]
    return f", of that by themselves {' and '.join(parts)}" if parts else ""


def _ends(said: dict[str, Any]) -> list[tuple[int, int]]:
    """Return place and length in hours of the shortest and the longest horizon."""
    horizons = said.get("horizons") or []
    return [(0, horizons[0]), (len(horizons) - 1, horizons[-1])] if len(horizons) > 1 else []


def columns(detail: dict[str, Any]) -> tuple[Column, ...]:
    """Return the columns of ``rows``: probabilities over the shortest and the longest horizon that were said."""
    said = detail.get("models") or {}
    chances = tuple(
        Column(f"rise_{hours}", f"Rise in {hours} h, %", "figure", "The ensemble's probability of a rise", 110)
        for _, hours in _ends(said)
        if said.get("prob_up")
    )
    wish = Column("wish", "Wish, −1 to 1", "figure", "Wholly short to wholly long, before it is scaled", 110)
    return (Column("symbol", "Symbol", "text", "", 90), wish, *chances)


def rows(detail: dict[str, Any]) -> pd.DataFrame:
    """Return one row a symbol of what models wished and forecast; none where they said nothing."""
    said, named = detail.get("models") or {}, [column.name for column in columns(detail)]
    wishes = said.get("wish")
    if not wishes:
        return pd.DataFrame(columns=named)
    chances = said.get("prob_up") or [[]] * len(wishes)
    found = [
        {"symbol": symbol, "wish": signed(wish, 2).lstrip("▲▼± ") if is_known(wish) else UNKNOWN}
        | {f"rise_{hours}": percent(chance[place], 1) for place, hours in _ends(said) if len(chance) > place}
        for symbol, wish, chance in zip(detail["symbols"], wishes, chances, strict=True)
    ]
    return pd.DataFrame(found, columns=named)

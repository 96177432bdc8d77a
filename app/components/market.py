"""Header bar, chart, book and tape: what a person watches. All they ask for is another symbol or timeframe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import streamlit as st

from app.components import declare

TIMEFRAMES = ("1m", "5m", "15m", "1h", "4h", "1d")

_header = declare("header")
_chart = declare("chart")
_book = declare("book")
_tape = declare("tape")


class MarketView(NamedTuple):
    """What the desk looks at. ``instruments`` is empty while the engine is away: decimals are then guessed."""

    symbol: str
    interval: str
    symbols: tuple[str, ...]
    instruments: dict[str, dict[str, Any]]

    def as_props(self) -> dict[str, Any]:
        """Return the part of it that scripts need."""
        steps = {
            symbol: {"tick_size": card["tick_size"], "lot_size": card["lot_size"]}
            for symbol, card in self.instruments.items()
        }
        return {"symbol": self.symbol, "interval": self.interval, "symbols": list(self.symbols), "instruments": steps}


def choose(key: str, field: str, allowed: tuple[str, ...], state_key: str) -> Callable[[], None]:
    """Return a callback that keeps a component's wish in the session and in the address, if it is an allowed one."""

    def keep() -> None:
        wish = getattr(st.session_state[key], field)
        if wish in allowed:
            st.session_state[state_key] = wish
            st.query_params[field] = wish

    return keep


def header_bar(view: MarketView) -> None:
    """Show symbols, market and account numbers, and the age of every feed."""
    key = "desk_header"
    _header(
        key=key,
        data=view.as_props(),
        on_symbol_change=choose(key, "symbol", view.symbols, "desk_symbol"),
        on_refresh_change=lambda: None,  # the rerun is the refresh
    )


def price_chart(view: MarketView) -> None:
    """Show candles, volume, our fills and our price lines."""
    key = "desk_chart"
    _chart(key=key, data=view.as_props(), on_interval_change=choose(key, "interval", TIMEFRAMES, "desk_interval"))


def order_book(view: MarketView) -> None:
    """Show twenty levels a side with cumulative bars and the spread in basis points."""
    _book(key="desk_book", data=view.as_props())


def trade_tape(view: MarketView) -> None:
    """Show everybody's newest trades."""
    _tape(key="desk_tape", data=view.as_props())

"""The part of the backtest form that tries many parameter sets: the grid, and what is done with it."""

from __future__ import annotations

from typing import Any

import streamlit as st

from app.sweeps import grid_of

GRID_EXAMPLE = "fast = 5:50:5\nslow = 60, 120, 240"
USES = {"sweep": "Sweep: all of time", "walkforward": "Walk-forward: choose, then trade what follows"}
WALK_FIELDS = ("train_days", "test_days", "purge_days", "anchored")
WITHOUT_GRID = "A walk-forward chooses among parameter sets: fill in the grid, one name = values a line."


def grid_form() -> None:
    """Show the grid, whether it is swept or walked forward, and how time is cut for the latter."""
    with st.expander("Parameter grid: a sweep or a walk-forward"):
        st.text_area("One name = values a line", key="backtest.grid", height=90, placeholder=GRID_EXAMPLE,
                     help="Values as 5, 10, 20 or as first:last:step. Filled in: every combination is run and counted "
                     "as a trial")  # fmt: skip
        st.selectbox("What is done with it", list(USES), format_func=USES.get, key="backtest.use")
        st.caption("For a walk-forward only:")
        first, second = st.columns(2)
        first.number_input("Chosen on, days", 0.5, 10_000.0, 365.0, 30.0, format="%g", key="backtest.train_days",
                           help="Length of each training stretch")  # fmt: skip
        second.number_input("Traded, days", 0.1, 10_000.0, 90.0, 10.0, format="%g", key="backtest.test_days",
                            help="Length of the stretch after it, on which the choice is traded")  # fmt: skip
        first.number_input("Gap, days", 0.0, 1_000.0, 1.0, 1.0, format="%g", key="backtest.purge_days",
                           help="Left out between: for positions that still run when training ends")  # fmt: skip
        st.selectbox("Training begins", [False, True], key="backtest.anchored", help="Of each fold",
                     format_func=lambda on: "at the first bar of all" if on else "moving along with it")  # fmt: skip


def asked_of_grid(held: Any) -> tuple[str, dict[str, Any], str | None]:
    """Return the kind of run, what it is asked besides a backtest, and a sentence on what is missing.

    Parameters
    ----------
    held : mapping
        The session's state.
    """
    grid = grid_of(held.get("backtest.grid") or "")
    if held.get("backtest.use") == "walkforward":
        cut = {name: held[f"backtest.{name}"] for name in WALK_FIELDS}
        return "walkforward", {"grid": grid} | cut, None if grid else WITHOUT_GRID
    return ("sweep", {"grid": grid}, None) if grid else ("backtest", {}, None)

"""What the whole account would lose in each shock of the limit on stress, by name, worst first."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from engine.domain import F8
from engine.runtime.decider import Decider
from engine.settings import SystemConfig
from engine.shocks import losses, seen_enough


class Moving(NamedTuple):
    """How the strategy's symbols move together, by the gate's own running estimate."""

    symbols: tuple[str, ...]
    covariance: F8  # (N, N) of one bar's log returns
    known: np.ndarray  # (N,) bool; False: not seen for as long as its volatility needs


def moving_together(decider: Decider | None) -> Moving | None:
    """Return a copy of the estimate in force; None before the engine decides. Call it where decisions are made."""
    if decider is None:
        return None
    covariance = np.array(decider.state.covariance)
    known = seen_enough(decider.state.n_bars, covariance, decider.params.vol_horizon_bars)
    return Moving(tuple(decider.symbols), covariance, known)


def shock_rows(
    config: SystemConfig, moving: Moving | None, weight: Mapping[str, float], equity: float
) -> list[dict[str, Any]] | None:
    """Return ``title, loss, loss_money, limit, left, enforced`` of each shock, the worst first; None while unknown.

    Parameters
    ----------
    config : SystemConfig
        In force, as far as the capital ladder lets it.
    moving : Moving, optional
    weight : dict of symbol to float
        Signed, of every open position: the strategy's and a person's. A symbol that the strategy does not trade counts
        like one that was seen too briefly.
    equity : float, quote currency

    Notes
    -----
    A loss is a positive fraction of equity; negative is a gain. The gate adds up the loss of a person's positions and
    that of the strategy's, each in its own worst shock, which is never less than the worst row here.
    """
    if moving is None or not math.isfinite(equity) or any(math.isnan(share) for share in weight.values()):
        return None
    symbols = tuple(dict.fromkeys((*moving.symbols, *weight)))
    n_known, n_symbols = len(moving.symbols), len(symbols)
    covariance, known = np.zeros((n_symbols, n_symbols)), np.zeros(n_symbols, dtype=bool)
    covariance[:n_known, :n_known], known[:n_known] = moving.covariance, moving.known
    moves = {"fall": config.stress_fall, "rise": config.stress_rise, "own": config.stress_own}
    book = np.array([weight.get(symbol, 0.0) for symbol in symbols])
    found = losses(symbols, book, covariance, known, moves)
    limit = config.max_stress_loss
    rows = [
        {"title": title, "loss": loss, "loss_money": loss * equity, "limit": limit, "left": limit - loss,
         "enforced": config.book_limits_on}
        for title, loss in found.items()
    ]  # fmt: skip
    return sorted(rows, key=lambda row: -row["loss"])

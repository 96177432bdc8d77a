"""Costs from our own fills: the newest model of each market that the engine fitted and left in the data folder."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from engine.domain import F8
from engine.errors import ConfigError
from engine.execution.impact import CostModel, backtest_params, from_json, turnover_costs

LIVE = "live"
PREFERRED = (LIVE, "mirror", "replay", "simulated")
"""Where fills may come from, the best evidence first: real money, then the markets of the practice exchange."""

SAME = {"taker_fee": "fee"}  # another name by which a person may state it
FEWEST_ORDERS = 20
"""Orders of ours that filled, below which the fit is little more than what was assumed anyway."""

ASSUMED, OWN = "assumed", "own"


class OwnCosts(NamedTuple):
    """A fitted cost model and where it comes from."""

    model: CostModel
    version: str
    ts: int  # ns, of the fit
    mode: str  # paper or live: fills at the practice exchange are kinder than real ones may be
    market: str  # one of ``PREFERRED``: fills of one market are never mixed with those of another

    @property
    def origin(self) -> str:
        """What a result says of its costs."""
        where = self.mode if self.market == LIVE else f"{self.mode} on the {self.market} market"
        return f"{OWN} {self.version}, {self.model.n_children} orders, {where}"

    def completed(self, params: dict[str, Any], grid: Iterable[str] = ()) -> dict[str, Any]:
        """Return parameters of a backtest with what our fills say where nobody stated anything.

        Parameters
        ----------
        params : dict
            As a person stated them: they win.
        grid : iterable of str
            Names that a sweep varies: they are stated too.
        """
        said = {*params, *grid}
        own = backtest_params(self.model)
        return {name: value for name, value in own.items() if not {name, SAME.get(name)} & said} | params

    def turnover_rate(self, close_px: F8, volume: F8, equity: float) -> float:
        """Return what it costs to turn an account over once, spread evenly over the symbols, fraction of equity.

        Parameters
        ----------
        close_px, volume : (T, N) float64, quote per base, and base
            Hourly bars; NaN is unknown. A symbol without volume has no known impact and gets no part.
        equity : float, quote
        """
        hours = [_hour(close_px[:, n], volume[:, n]) for n in range(close_px.shape[1])]
        known = np.array([hour for hour in hours if hour[0] > 0.0])
        if not len(known):
            return float(turnover_costs(self.model, np.ones(1), np.ones(1), np.zeros(1))[0])  # spread and fees alone
        part = np.full(len(known), equity / len(known))
        return float(turnover_costs(self.model, part, known[:, 0], known[:, 1]).sum() / equity)


def _hour(close_px: F8, volume: F8) -> tuple[float, float]:
    """Return what an hour of one symbol trades, quote, and its volatility; 0 where either is unknown."""
    traded = (volume * close_px)[volume > 0.0]
    moves = np.diff(np.log(close_px))
    moves = moves[np.isfinite(moves)]
    return (float(np.median(traded)), float(moves.std())) if len(traded) and len(moves) else (0.0, 0.0)


def file_name(market: str) -> str:
    """Return the name of a market's fit in the data folder; the record itself is the running engine's alone."""
    return f"cost_model_{market}.json"


def own_costs(home: Path) -> OwnCosts:
    """Return the newest fit of a data folder, of the first of ``PREFERRED`` that has enough orders.

    Raises
    ------
    ConfigError
        No model has been fitted there, each rests on too few orders, or a file cannot be read.
    """
    most = None
    for market in PREFERRED:
        found = _read(home / file_name(market), market)
        if found is not None and found.model.n_children >= FEWEST_ORDERS:
            return found
        if found is not None and (most is None or found.model.n_children > most):
            most = found.model.n_children
    if most is None:
        raise ConfigError(
            f"there are no costs of our own in {home}: trade on paper first, then python -m engine parents costs --fit"
        )
    raise ConfigError(f"costs of our own need {FEWEST_ORDERS} orders that filled, and there are {most}")


def _read(place: Path, market: str) -> OwnCosts | None:
    try:
        kept = json.loads(place.read_text())
        mode = LIVE if market == LIVE else "paper"
        model = from_json(kept["model"])
        return OwnCosts(model, str(kept.get("version") or "unnamed"), int(kept.get("ts") or 0), mode, market)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{place} cannot be read as a cost model ({error}): fit it again") from error


def chosen_costs(
    home: Path, costs: str, params: dict[str, Any], grid: Iterable[str] = ()
) -> tuple[dict[str, Any], str]:
    """Return a run's parameters with the costs that were chosen, and what its result says of them.

    Parameters
    ----------
    costs : str
        assumed or own; anything else is what an earlier call returned, and stays.

    Raises
    ------
    ConfigError
        Our own costs are asked for and cannot be had.
    """
    if costs != OWN:
        return params, costs
    found = own_costs(home)
    return found.completed(params, grid), found.origin


def offered(home: Path) -> dict[str, Any]:
    """Return what a form says of our own costs: ``why`` they cannot be chosen (None: they can), and their values.

    ``n_orders, needed, version, ts`` ns, ``mode`` (paper, live), ``market``, and ``half_spread, impact, taker_fee,
    maker_fee, maker_share``, fractions.
    """
    try:
        found = own_costs(home)
    except ConfigError as error:
        return {"why": str(error), "needed": FEWEST_ORDERS, "n_orders": None}
    model = found.model
    return {
        "why": None, "needed": FEWEST_ORDERS, "n_orders": model.n_children, "version": found.version, "ts": found.ts,
        "mode": found.mode, "market": found.market,
        "half_spread": model.half_spread.value, "impact": model.impact.value, "taker_fee": model.taker_fee,
        "maker_fee": model.maker_fee, "maker_share": model.maker_share,
    }  # fmt: skip

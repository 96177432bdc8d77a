"""What a person holds beside the strategy, and what it leaves of the account's limits. Nothing a person holds is sold.

The caps are for the whole account, so the strategy gets what is left of them. Gross, leverage and the cushion add up;
expected shortfall and the stress loss of two books together are at most the sum of both (they are subadditive); nets
are counted as if the strategy were always on the same side. So what fits into the rest fits into the account.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from engine.core import step as core
from engine.core.book_rules import affordable_gross
from engine.core.risk import DRIFT_TOLERANCE
from engine.domain import (
    AccountView,
    Decision,
    InstrumentTable,
    MarketSlice,
    Params,
    Purpose,
    Rule,
    Sleeve,
    TradingState,
)
from engine.runtime.account import Account
from engine.runtime.market import MarketState

if TYPE_CHECKING:
    from engine.runtime.executor import Executor

OFF = 1e9
ALL_TAKEN = 1e6  # a gap so large that nothing can be afforded
SENTENCE = "A person holds {held:.2f} times equity of it, and {room:.2f} is left to the strategy within the symbol cap."


class HandBook(NamedTuple):
    """What is held by hand, over equity. A loss measured as NaN is unknown, and lets nothing grow."""

    weight: Mapping[str, float]  # signed, every symbol of the account
    cvar: float
    stress: float

    @property
    def gross(self) -> float:
        """Sum of absolute weights."""
        return sum(abs(weight) for weight in self.weight.values())

    @property
    def net(self) -> float:
        """Longs less shorts, either way."""
        return abs(sum(self.weight.values()))

    @property
    def one_side(self) -> float:
        """The most that any cluster of these positions can come to."""
        long = sum(max(weight, 0.0) for weight in self.weight.values())
        return max(long, self.gross - long)


def quantities(executor: Executor) -> dict[str, float]:
    """Return what a person holds of each symbol, signed base units, or will hold once their working orders have filled.

    The larger of the two: an order that rests now may fill before the next decision.
    """
    found = {}
    working = executor.open_orders(purpose=Purpose.MANUAL)
    for symbol in {*executor.account.open_positions(), *(order.spec.symbol for order in working)}:
        held = executor.account.position(symbol).manual_qty
        more = [order.in_flight_qty for order in working if order.spec.symbol == symbol]
        ends = (held, held + sum(q for q in more if q > 0.0), held + sum(q for q in more if q < 0.0))
        found[symbol] = max(ends, key=abs)
    return {symbol: qty for symbol, qty in found.items() if qty != 0.0}


def equity_at_marks(account: Account, market: MarketState) -> float:
    """Return the account's equity at the venue's marks, quote currency; NaN when one is missing."""
    return account.cash + account.unrealized({symbol: market.mark_px(symbol) for symbol in account.positions})


def hand_book(
    qty: Mapping[str, float], equity: float, market: MarketState, bar: MarketSlice, state: core.State,
    symbols: Sequence[str], table: InstrumentTable, params: Params,
) -> HandBook:  # fmt: skip
    """Return the weights of what is held by hand and its losses, measured by the decision function itself.

    A symbol that the strategy does not know counts with 100 % of volatility a year and the heaviest tail, and with the
    whole of the largest shock.

    Parameters
    ----------
    qty : dict
        Signed base units by symbol, as ``quantities`` gives them.
    equity : float, quote currency, > 0
    market : MarketState
    bar : MarketSlice
        The bar that has closed.
    state : State
        Before that bar; not changed.
    symbols, table, params
        The strategy's.
    """
    weight = {symbol: held * market.mark_px(symbol) / equity for symbol, held in qty.items() if held}
    if params.sleeve == Sleeve.EMA_CROSS:  # it has no rules on the book, and nothing that measures one
        return HandBook(weight, 0.0, 0.0)
    px = np.array([market.mark_px(symbol) for symbol in symbols])
    held = np.array([qty.get(symbol, 0.0) for symbol in symbols])
    known = np.array([weight.get(symbol, 0.0) for symbol in symbols])
    limits = params.risk.copy()
    for name in ("max_cvar", "max_cluster_weight", "max_net_weight", "liquidation_gross", "max_participation"):
        limits[name] = np.inf
    limits["kelly_fraction"], limits["gap"], limits["max_stress_loss"] = 0.0, 0.0, OFF
    free = params._replace(
        sleeve=int(Sleeve.EXTERNAL), allow_short=True, max_symbol_weight=OFF, max_gross_weight=OFF, max_leverage=OFF,
        max_daily_loss=OFF, max_drawdown=OFF, max_age_s=OFF, risk=limits,
    )  # fmt: skip
    view = AccountView(equity, held, np.zeros(len(symbols)), np.where(held != 0.0, px, 0.0), px, TradingState.RUNNING)
    book = state.book.copy()
    for name in ("day_worst", "day_locked", "drawdown_locked"):  # a locked book would measure nothing
        book[name] = 0
    _, decision = core.step(state._replace(book=book), bar, view, table, known, free)
    cvar, stress = (float(decision.measured[0, rule]) for rule in (Rule.CVAR, Rule.STRESS))
    unknown = sum(abs(w) for symbol, w in weight.items() if symbol not in symbols)
    if unknown:
        risk = params.risk[0]
        cvar += unknown * float(np.sqrt(risk["horizon_bars"] / params.bars_per_year) * params.tail_table.max())
        of_the_market = float(max(risk["stress_fall"], risk["stress_rise"]) + risk["stress_own"])
        past = float(np.abs(params.shocks[:, -1]).max()) if len(params.shocks) else 0.0
        stress += unknown * max(of_the_market, past)
    return HandBook(weight, cvar, stress)


def what_is_left(params: Params, hand: HandBook, equity: float, peak: float) -> Params:
    """Return the strategy's limits: those of the account less what is held by hand.

    Parameters
    ----------
    params : Params
    hand : HandBook
    equity, peak : float, quote currency
        Of the account, at this decision.

    Notes
    -----
    The cushion's limit is affordable = cushion / (gap · tolerance), which the core works out by itself. A gap that is
    larger by affordable / (affordable - gross by hand) takes exactly that gross off it.
    """
    limits, gross = params.risk.copy(), hand.gross
    taken = {"max_cvar": hand.cvar, "max_stress_loss": hand.stress, "max_net_weight": hand.net,
             "max_cluster_weight": hand.one_side, "liquidation_gross": gross}  # fmt: skip
    for name, used in taken.items():
        limits[name] = np.maximum(limits[name] - used, 0.0)
    gap = float(limits["gap"][0])
    affordable = affordable_gross(equity, max(peak, equity), params.max_drawdown, gap)
    if gap > 0.0:
        limits["gap"] = min(gap * affordable / (affordable - gross), ALL_TAKEN) if affordable > gross else ALL_TAKEN
    return params._replace(
        risk=limits, max_gross_weight=max(params.max_gross_weight - gross, 0.0),
        max_leverage=max(params.max_leverage - gross, 0.0),
    )  # fmt: skip


def within_symbol_cap(
    decision: Decision, view: AccountView, hand: HandBook, symbols: Sequence[str], table: InstrumentTable, cap: float,
    band: float,
) -> tuple[Decision, dict[str, str]]:  # fmt: skip
    """Return the decision with what the strategy may have of each symbol beside a person's part, and why where less.

    The core knows one cap for all symbols. A target on the person's side is clipped to what is left of it; what the
    strategy has beyond that is sold, where no drift of prices explains it.

    Parameters
    ----------
    decision, view, hand
    symbols : sequence of str
    table : InstrumentTable
    cap : float, weight
    band : float, weight
        A growth that the clipping leaves is not worth an order below it.
    """
    act, target_qty, why = decision.act.copy(), decision.target_qty.copy(), {}
    for i, symbol in enumerate(symbols):
        held, px = hand.weight.get(symbol, 0.0), float(view.mark_px[i])
        if held == 0.0 or not target_qty[i] * held > 0.0 or not decision.equity > 0.0:
            continue
        room = max(cap - abs(held), 0.0)
        per_weight = decision.equity / px
        if abs(target_qty[i]) <= room * per_weight:
            continue
        present = float(view.position_qty[i] + view.in_flight_qty[i])
        lot = float(table.lot_size[i])
        most = np.floor(room * per_weight / lot + 1e-9) * lot if lot > 0.0 else room * per_weight
        why[symbol] = SENTENCE.format(held=abs(held), room=room)
        same_side = max(present * np.sign(held), 0.0)
        if same_side > room * per_weight * (1.0 + DRIFT_TOLERANCE) or most - same_side >= band * per_weight:
            act[i], target_qty[i] = 1, np.sign(held) * most
        else:
            act[i], target_qty[i] = 0, present
    return decision._replace(act=act, target_qty=target_qty), why


def record(hand: HandBook) -> dict[str, Any]:
    """Return what a decision's record keeps of it; the limits beside the measured numbers are what it leaves."""
    return {"weight": dict(hand.weight), "cvar": hand.cvar, "stress": hand.stress, "gross": hand.gross}

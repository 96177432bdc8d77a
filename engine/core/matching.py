"""Fills on historical bars: what was decided at a close is executed at the next open, worse by the slippage."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.core.account import apply_fill
from engine.core.compiling import kernel_part
from engine.core.costs import Costs, fee_of, slipped_px
from engine.core.state import State
from engine.domain import F8, I8

_NOT_GIVEN: F8 = np.zeros((0, 0))

MONEY = np.dtype([
    ("cash", np.float64),  # settled, ccy
    ("fees", np.float64),  # paid so far, ccy
    ("slippage", np.float64),  # paid so far against the price before the fill, ccy
    ("funding", np.float64),  # paid so far, ccy; negative when received
    ("pnl_realized", np.float64),  # before fees and funding, ccy
    ("n_fills", np.int64),
    ("ambiguous_bars", np.int64),  # bars in which the order of events is unknown and was taken to be the worse one
    ("liquidations", np.int64),
])  # fmt: skip


class SimBars(NamedTuple):
    """What happens to the simulated account. T bars of N symbols on one clock, NaN where a symbol has no bar.

    The last four are read only where an assumption or a limit needs them, and are (0, 0) when they are not given.
    """

    ts_close: I8  # (T,) ns, strictly increasing
    open_px: F8  # (T, N)
    close_px: F8  # (T, N)
    funding_rate: F8  # (T, N) due at the bar's close; (0, N) when there is no funding
    high_px: F8 = _NOT_GIVEN  # (T, N)
    low_px: F8 = _NOT_GIVEN  # (T, N)
    volume: F8 = _NOT_GIVEN  # (T, N) base
    hour_notional: F8 = _NOT_GIVEN  # (T, N) quote, what usually trades in an hour, see ``turnover``


class FillKind(IntEnum):
    """Why a fill happened."""

    ORDER = 0
    STOP = 1
    TAKE = 2
    LIQUIDATION = 3


class SimAccount(NamedTuple):
    """The simulated account: private memory of a scan, changed in place."""

    position_qty: F8  # (N,) signed base
    in_flight_qty: F8  # (N,) signed base: decided, waiting for an open
    entry_px: F8  # (N,)
    mark_px: F8  # (N,) newest close
    age_s: F8  # (N,) seconds since that close
    slot_cash: F8  # (N,) ccy: sub-account of each symbol, only for the yardstick's all-in sizing
    money: np.ndarray  # (1,) MONEY


class FillLog(NamedTuple):
    """Executions, arrays of equal capacity; the first ``money.n_fills`` entries are valid."""

    bar: I8  # index of the bar in which it happened
    symbol: I8
    qty: F8  # signed base
    px: F8
    fee: F8
    slippage: F8  # ccy
    pnl_realized: F8  # ccy, before the fee
    kind: I8  # FillKind


def new_sim_account(n_symbols: int, cash: float) -> SimAccount:
    """Return a flat account that holds ``cash`` in the quote currency."""
    money = np.zeros(1, dtype=MONEY)
    money["cash"] = cash
    return SimAccount(
        position_qty=np.zeros(n_symbols),
        in_flight_qty=np.zeros(n_symbols),
        entry_px=np.zeros(n_symbols),
        mark_px=np.full(n_symbols, np.nan),
        age_s=np.full(n_symbols, np.inf),
        slot_cash=np.full(n_symbols, cash / n_symbols),
        money=money,
    )


def new_fill_log(capacity: int) -> FillLog:
    """Return an empty log for ``capacity`` executions."""
    whole = {"bar", "symbol", "kind"}
    columns: dict[str, Any] = {
        name: np.zeros(capacity, dtype=np.int64 if name in whole else np.float64) for name in FillLog._fields
    }
    return FillLog(**columns)


def grown_fill_log(log: FillLog, capacity: int) -> FillLog:
    """Return a copy of the log with room for ``capacity`` executions."""
    fresh = new_fill_log(capacity)
    for column, filled in zip(fresh, log, strict=True):
        column[: len(filled)] = filled
    return fresh


@kernel_part
def book_fill(
    account: SimAccount, log: FillLog, i: int, t: int, qty: float, px: float, before_px: float, fee_rate: float,
    kind: int,
) -> None:  # fmt: skip
    """Book a fill of ``qty`` (signed base) of symbol ``i`` in bar ``t`` at ``px``, in place.

    ``before_px`` is the market's price without us: what lies between is slippage.
    """
    fee = fee_of(qty, px, fee_rate)
    slippage = abs(qty) * abs(px - before_px)
    realised = apply_fill(account.position_qty, account.entry_px, i, qty, px)
    money = account.money[0]
    money["cash"] += realised - fee
    money["fees"] += fee
    money["slippage"] += slippage
    money["pnl_realized"] += realised
    account.slot_cash[i] += realised - fee
    n = money["n_fills"]
    log.bar[n] = t
    log.symbol[n] = i
    log.qty[n] = qty
    log.px[n] = px
    log.fee[n] = fee
    log.slippage[n] = slippage
    log.pnl_realized[n] = realised
    log.kind[n] = kind
    money["n_fills"] = n + 1


@kernel_part
def execute(account: SimAccount, log: FillLog, i: int, t: int, qty: float, open_px: float, costs: Costs) -> None:
    """Execute ``qty`` (signed base) of symbol ``i`` at the open of bar ``t``, in place."""
    px = slipped_px(open_px, qty, costs.slippage_rate)
    book_fill(account, log, i, t, qty, px, open_px, costs.fee_rate, 0)


@kernel_part
def execute_all_in(
    account: SimAccount, log: FillLog, i: int, t: int, direction: float, open_px: float, costs: Costs
) -> None:
    """Execute the yardstick's rule: close what is held, then put the symbol's whole cash into ``direction``.

    qty = cash / (px * (1 + fee)), the same for a short sale. Without cash nothing is opened.
    """
    if account.position_qty[i] != 0.0:
        execute(account, log, i, t, -account.position_qty[i], open_px, costs)
    if direction != 0.0 and account.slot_cash[i] > 0.0:
        px = slipped_px(open_px, direction, costs.slippage_rate)
        qty = account.slot_cash[i] / (px * (1.0 + costs.fee_rate))
        execute(account, log, i, t, direction * qty, open_px, costs)


@kernel_part
def fill_pending(
    n_symbols: int,
    account: SimAccount,
    log: FillLog,
    pending: npt.NDArray[np.int8],
    state: State,
    open_px: F8,
    t: int,
    all_in: bool,
    costs: Costs,
) -> None:
    """Execute at the open of bar ``t`` what waits; a symbol without an open keeps waiting."""
    for i in range(n_symbols):
        if pending[i] == 0 or not open_px[t, i] > 0.0:
            continue
        if all_in:
            execute_all_in(account, log, i, t, state.signal[i], open_px[t, i], costs)
        else:
            execute(account, log, i, t, account.in_flight_qty[i], open_px[t, i], costs)
        account.in_flight_qty[i] = 0.0
        pending[i] = 0


@kernel_part
def pay_funding(n_symbols: int, account: SimAccount, funding_rate: F8, t: int) -> None:
    """Settle the funding of bar ``t`` on positions at their mark: positive rates are paid by longs. NaN: none due."""
    money = account.money[0]
    for i in range(n_symbols):
        rate = funding_rate[t, i]
        if account.position_qty[i] != 0.0 and rate == rate and rate != 0.0:
            paid = account.position_qty[i] * account.mark_px[i] * rate
            money["cash"] -= paid
            money["funding"] += paid
            account.slot_cash[i] -= paid

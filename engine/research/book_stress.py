"""What a scenario would do to the book that is held now: held as it is, with its stops, and with the engine's control.

Within an hour every symbol is taken to move to the price that is worst for its position at the same time, which is
worse than it was. Stops and the control act on that way down, in the order in which their levels are reached.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from engine.core import step as core
from engine.core.decide import no_limits
from engine.domain import F8, NS_PER_S, AccountView, MarketSlice, Params, Sleeve, TradingState
from engine.research.book_risk import Returns, betas_of, closing_margin, daily_sigmas
from engine.research.scenarios import BENCHMARK, Scenario, crises, historic, synthetic

MODES = ("held", "stops", "control")
HOUR_NS = 3_600 * NS_PER_S
HOURS_A_DAY = 24
ROUNDING = 1e-9


class HeldBook(NamedTuple):
    """The account as it is now. Money in the quote currency; arrays are (N,)."""

    symbols: tuple[str, ...]
    qty: F8  # signed base
    px: F8  # mark, quote per base, > 0
    stop_px: F8  # protective stop on the exchange, NaN without one
    equity: float
    peak_equity: float
    day_open_equity: float
    maintenance_rate: float  # maintenance margin over notional
    taker_fee: float


class Control(NamedTuple):
    """What the engine's own rules need to act in a scenario."""

    params: Params  # of hourly bars; the sleeve is replaced
    closes: F8  # (T, N) hourly closes before now, for the core's memory; T may be 0
    max_daily_loss: float  # fraction; infinite where it is not enforced
    max_drawdown: float


class _Account:
    """The account on its way through a scenario, in one mode."""

    def __init__(self, book: HeldBook, scenario: Scenario, mode: str, control: Control) -> None:
        self.book, self.scenario, self.control = book, scenario, control
        self.mode = mode
        self.px, self.qty, self.equity = book.px.astype(float), book.qty.astype(float), book.equity
        self.peak, self.day_open = max(book.peak_equity, book.equity), book.day_open_equity
        self.lowest, self.drawdown, self.worst_day, self.nearest = book.equity, 0.0, 0.0, np.inf
        self.halted = self.flat_today = self.liquidated = False
        self.stopped = np.zeros(len(book.qty), dtype=bool)
        self.cost = 0.0
        self._note(book.equity)

    def pay(self, notional: float) -> None:
        """Pay fee and slippage on a fill."""
        cost = abs(notional) * (self.book.taker_fee + self.scenario.slippage)
        self.cost += cost
        self.equity -= cost

    def close(self, which: np.ndarray, px: F8) -> None:
        """Close positions at given prices."""
        self.equity += float(np.sum(self.qty[which] * (px[which] - self.px[which])))
        self.pay(float(np.sum(np.abs(self.qty[which]) * px[which])))
        self.qty[which] = 0.0

    def _note(self, equity: float) -> None:
        self.lowest = min(self.lowest, equity)
        self.peak = max(self.peak, equity)
        self.drawdown = max(self.drawdown, 1.0 - equity / self.peak)
        self.worst_day = max(self.worst_day, 1.0 - equity / self.day_open)

    def hour(self, h: int) -> None:
        """Live through one hour: its worst moment, what acts on the way there, its close and its funding."""
        scenario = self.scenario
        if h and h % HOURS_A_DAY == 0:
            self.day_open, self.flat_today = max(self.equity, 1e-9), False
        worst_px = self.px * (1.0 + np.where(self.qty >= 0.0, scenario.low[h], scenario.high[h]))
        if self.mode != "held":
            self._act_on_the_way(worst_px)
        at_worst = self.equity + float(self.qty @ (worst_px - self.px))
        notional = float(np.abs(self.qty) @ worst_px)
        if notional > 0.0:
            self.nearest = min(self.nearest, at_worst / notional - self.book.maintenance_rate)
            if at_worst <= notional * self.book.maintenance_rate:
                self.liquidated, self.equity, at_worst = True, max(at_worst, 0.0), max(at_worst, 0.0)
                self.qty[:] = 0.0
        self._note(at_worst)
        new_px = self.px * (1.0 + scenario.close[h])
        self.equity += float(self.qty @ (new_px - self.px)) - float((self.qty * new_px) @ scenario.funding[h])
        self.px = new_px
        self._note(self.equity)

    def _act_on_the_way(self, worst_px: F8) -> None:
        """Let stops fill and the control flatten between the last close (0) and the hour's worst price (1)."""
        for index, place in self._stops(worst_px):
            if self._flatten_before(place, worst_px):
                return
            trigger = self.px + place * (worst_px - self.px)
            only = np.arange(len(self.qty)) == index
            self.close(only, trigger + self.scenario.through * (worst_px - trigger))
            self.stopped[index] = True
        self._flatten_before(1.0, worst_px)

    def _stops(self, worst_px: F8) -> list[tuple[int, float]]:
        found = []
        for index in np.flatnonzero(self.qty):
            way, left = worst_px[index] - self.px[index], self.book.stop_px[index] - self.px[index]
            ahead = left * np.sign(self.qty[index])  # negative while the stop is not reached
            if way != 0.0 and (ahead >= 0.0 or left / way <= 1.0) and np.isfinite(left):
                found.append((int(index), float(max(left / way, 0.0)) if ahead < 0.0 else 0.0))
        return sorted(found, key=lambda stop: stop[1])

    def _flatten_before(self, place: float, worst_px: F8) -> bool:
        """Close everything when a loss limit is reached before ``place`` on the way; return whether it was."""
        if self.mode != "control" or not np.any(self.qty):
            return self.halted
        way = float(self.qty @ (worst_px - self.px))
        halt_at, stop_at = self._levels()
        level = max(halt_at, stop_at)
        if self.equity + place * way > level:
            return False
        reached = min(max((self.equity - level) / -way, 0.0), 1.0) if way < 0.0 else 0.0
        at = reached + self.scenario.through * (1.0 - reached)
        self.close(self.qty != 0.0, self.px + at * (worst_px - self.px))
        self.flat_today = True
        self.halted = self.halted or self.equity <= halt_at
        return True

    def _levels(self) -> tuple[float, float]:
        """Return the equity at which the engine halts and at which it flattens for the day, ahead of the limits."""
        limits, notional = self.control, float(np.abs(self.qty) @ self.px)
        ahead = self.equity * closing_margin(notional / self.equity, self.book.taker_fee) if self.equity > 0.0 else 0.0
        return self.peak * (1.0 - limits.max_drawdown) + ahead, self.day_open * (1.0 - limits.max_daily_loss) + ahead


class _Gate:
    """The engine's decision function at the end of each hour; its wish is the book of now, hour after hour."""

    def __init__(self, book: HeldBook, control: Control) -> None:
        self._params = core.normal_params(control.params._replace(sleeve=int(Sleeve.EXTERNAL)))
        state = core.new_state(len(book.qty), self._params)
        if len(control.closes):
            state = core.warm_up(state, np.ascontiguousarray(control.closes), self._params)
        self._state = core.restore_book(state, max(book.peak_equity, book.equity), book.day_open_equity, 0)
        self._wish = book.qty * book.px / book.equity

    def act(self, account: _Account, h: int) -> None:
        """Decide at the close of hour ``h`` and trade what was approved at that close."""
        px, qty = account.px, account.qty
        state = TradingState.HALTED if account.halted else TradingState.RUNNING
        entry = np.where(qty != 0.0, px, 0.0)  # with entries at the price, cash is equity
        view = AccountView(account.equity, qty.copy(), np.zeros(len(qty)), entry, px.copy(), int(state))
        slice_ = MarketSlice((h + 1) * HOUR_NS, px, px, px, px, np.ones(len(px)), np.zeros(len(px)))
        wish = np.where(account.stopped | account.flat_today, 0.0, self._wish)
        self._state, decision = core.step(self._state, slice_, view, no_limits(len(qty)), wish, self._params)
        change = np.where(decision.act != 0, decision.target_qty - qty, 0.0)
        account.pay(float(np.abs(change) @ px))
        account.qty = qty + change


def run_scenario(book: HeldBook, scenario: Scenario, control: Control) -> dict[str, Any]:
    """Return what a scenario does to a book in each of the three modes.

    Parameters
    ----------
    book : HeldBook
    scenario : Scenario
        Its N symbols are the book's.
    control : Control

    Returns
    -------
    dict
        ``key, title, kind, hours, by_beta, note, quote_value`` and ``modes``: by mode ``loss`` (largest fall from
        the equity of now, fraction), ``loss_money``, ``end`` (change at the end, fraction), ``end_dollars`` (the same
        with the quote currency at what it is then worth), ``drawdown`` and ``worst_day`` (fractions; the first day has
        today's loss so far), ``liquidation_distance`` (adverse move that would have been left, fraction; None when
        flat), ``liquidated``, ``costs`` and ``broken``: the limits that did not hold.
    """
    return {
        "key": scenario.key, "title": scenario.title, "kind": scenario.kind, "hours": len(scenario.close),
        "by_beta": list(scenario.by_beta), "note": scenario.note, "quote_value": scenario.quote_value,
        "modes": {mode: _run(book, scenario, mode, control) for mode in MODES},
    }  # fmt: skip


def _run(book: HeldBook, scenario: Scenario, mode: str, control: Control) -> dict[str, Any]:
    account = _Account(book, scenario, mode, control)
    gate = _Gate(book, control) if mode == "control" else None
    for h in range(len(scenario.close)):
        account.hour(h)
        if gate is not None and account.equity > 0.0:
            gate.act(account, h)
    broken = [
        name
        for name, found, limit in (
            ("drawdown", account.drawdown, control.max_drawdown),
            ("daily loss", account.worst_day, control.max_daily_loss),
        )
        if found > limit * (1.0 + ROUNDING)
    ]
    end = account.equity / book.equity
    return {
        "loss": max(1.0 - account.lowest / book.equity, 0.0), "loss_money": max(book.equity - account.lowest, 0.0),
        "end": end - 1.0, "end_dollars": end * scenario.quote_value - 1.0, "drawdown": account.drawdown,
        "worst_day": account.worst_day, "costs": account.cost, "liquidated": account.liquidated,
        "liquidation_distance": float(account.nearest) if np.isfinite(account.nearest) else None,
        "broken": broken + (["liquidation"] if account.liquidated else []),
    }  # fmt: skip


def stress(book: HeldBook, control: Control, returns: Returns) -> dict[str, Any]:
    """Return every scenario's outcome for a book, and the worst of them.

    Parameters
    ----------
    book : HeldBook
    control : Control
    returns : Returns
        Hourly, of the book's symbols and Bitcoin as far as known: betas and volatilities come from it.

    Returns
    -------
    dict
        ``rows`` (see ``run_scenario``), ``worst`` (key and loss of the worst scenario under control), ``holds`` (no
        limit broken under control; None where none is enforced), ``limits`` (fractions; None: not enforced), ``source``
        of the past moves, and the ``beta`` and ``sigma_day`` that were used.
    """
    beta, sigma_day = betas_of(returns, BENCHMARK), daily_sigmas(returns)
    weight = book.qty * book.px / book.equity
    scenarios = [*historic(book.symbols, beta), *synthetic(book.symbols, weight, beta, sigma_day)]
    rows = [run_scenario(book, scenario, control) for scenario in scenarios]
    worst = max(rows, key=lambda row: row["modes"]["control"]["loss"])
    limits = {"max_daily_loss": control.max_daily_loss, "max_drawdown": control.max_drawdown}
    enforced = {name: limit if np.isfinite(limit) else None for name, limit in limits.items()}
    broken = any(row["modes"]["control"]["broken"] for row in rows)
    return {
        "rows": rows, "worst": {"key": worst["key"], "loss": worst["modes"]["control"]["loss"]},
        "holds": not broken if broken or any(enforced.values()) else None, "source": crises()["source"],
        "beta": beta, "sigma_day": sigma_day, "equity": book.equity,
        "weight": dict(zip(book.symbols, weight.tolist(), strict=True)),
        "limits": enforced,
    }  # fmt: skip

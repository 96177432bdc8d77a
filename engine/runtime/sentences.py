"""What the order path says to people. Each sentence names what was found, what was expected, and what to do."""

from __future__ import annotations

from collections.abc import Iterable

from engine.settings import SystemConfig

RECONCILE_ADVICE = (
    " The venue's word is taken. New risk waits until nothing is left unexplained: see the books on the Health page, "
    "and the runbook, Books do not agree."
)
NO_REASON = "No reason was given. Say why the difference is accepted, in a sentence: it goes on the record."
NOT_COMPARED = "The books have not been compared yet: the engine is still starting. Ask again in a few seconds."
GATES_STAY_ON = (
    "In live mode use_gate_daily_loss, use_gate_drawdown and use_gate_book cannot be switched off, and one was. "
    "Leave them on and change the limits instead, such as max_daily_loss or max_total_drawdown."
)
NO_YARDSTICK = (
    "In live mode ema-cross cannot be traded: it is the public yardstick, and Kelly, CVaR, gap, cluster, net and "
    "stress limits do not hold for it. Choose trend, portfolio or a file of your own, or try ema-cross on paper."
)


def _listed(names: Iterable[str], nothing: str = "none") -> str:
    return ", ".join(sorted(names)) or nothing


# orders ---------------------------------------------------------------------------------------------------------------


def not_recorded(symbol: str, trouble: object) -> str:
    """Say why an order whose intent is not on disk did not leave."""
    return (
        f"{symbol}: the order was not sent, because its record could not be written ({trouble}), and an order leaves "
        "only when its intent is on disk. Free disk space, then send it again."
    )


def switch_pressed(symbol: str) -> str:
    """Say why an order that was being written down did not leave."""
    return (
        f"{symbol}: the order was not sent, because the kill switch was pressed while it was being written down. "
        "Release the switch first if the order is still wanted."
    )


def halted(symbol: str, why: str) -> str:
    """Say why nothing at all may be sent."""
    return (
        f"{symbol}: nothing was sent, because trading is halted: {why}. Release the halt in the sidebar, or with "
        "`python -m engine resume --confirm RESUME`, before sending orders."
    )


def only_reducing(symbol: str, position_qty: float, why: str) -> str:
    """Say why an order that adds risk may not be sent."""
    return (
        f"{symbol}: nothing was sent. The position is {position_qty:g}, and only orders that reduce it are allowed "
        f"now: {why}."
    )


def no_stop(symbol: str, reason: str, again_s: float) -> str:
    """Say that a position lost its stop because the venue refused it."""
    return (
        f"{symbol} has no stop at the exchange now: the venue refused it ({reason}). It is tried again every "
        f"{again_s:.0f} s; close the position if this goes on."
    )


def in_doubt(symbol: str, client_id: str, reason: str) -> str:
    """Say that nobody knows yet what became of an order."""
    return (
        f"{symbol}: order {client_id} has no trustworthy answer ({reason}). It is looked up every second and never "
        "sent again; the symbol gets no new order until the venue has said what became of it."
    )


def task_failed(error: BaseException | None) -> str:
    """Say that something in the background failed that should not have."""
    return (
        f"A task of the engine failed ({type(error).__name__}: {error}). What it was doing is tried again by itself or "
        "shows in the next comparison of the books; export this incident's bundle on the Health page and report it."
    )


# commands -------------------------------------------------------------------------------------------------------------


def no_action(name: str, known: Iterable[str]) -> str:
    """Say that there is no such action."""
    return f"There is no action {name!r}. There are {_listed(known)}."


def bad_key(name: str, key: object) -> str:
    """Say what is wrong with a command's idempotency key."""
    return (
        f"The command {name} came with the idempotency_key {key!r}; it needs one of 8 to 64 characters, new for each "
        "action of a person and the same when it is sent again."
    )


def accepted_before(command: str, status: str) -> str:
    """Say that a command's key was used before and its outcome is not known here."""
    return (
        f"This command ({command}) was accepted before with the same key and is {status}: nothing was done a second "
        "time. The Journal page shows what became of it; a new wish needs a new key."
    )


def no_decision(decision_id: int, newest: int) -> str:
    """Say that there is no such decision."""
    return f"There is no decision {decision_id}; the newest is {newest}. The Journal page lists those that there are."


def no_order(client_id: str) -> str:
    """Say that there is no such order."""
    return (
        f"There is no order {client_id} on this account's record. The blotter on the Desk lists open orders, "
        "`python -m engine export orders FILE` all of them."
    )


def not_open(client_id: str, what: str) -> str:
    """Say that an order that was to be cancelled is not open."""
    return (
        f"Order {client_id} is not open any more ({what}): there is nothing to cancel. The blotter shows what is open."
    )


def not_traded(symbol: str, known: Iterable[str]) -> str:
    """Say that the venue lacks a symbol."""
    listed = _listed(known, "nothing yet: the engine is still starting")
    return f"{symbol} is not traded at this venue. It trades {listed}."


def cannot_size(symbol: str, *, has_price: bool) -> str:
    """Say what is missing to size an order."""
    missing = "balance of the account" if has_price else f"price for {symbol}"
    return (
        f"There is no {missing} yet, and without it nothing can be sized. Wait until the streams on the Health page "
        "are up, then try again."
    )


def nothing_to_close(symbol: str, held: Iterable[str]) -> str:
    """Say that there is no position to close."""
    return f"There is no open position in {symbol}, so nothing to close. Open positions: {_listed(held)}."


# start and connection -------------------------------------------------------------------------------------------------


def unreachable(trouble: object, again_s: float) -> str:
    """Say that the venue did not answer at the start."""
    return (
        f"The venue cannot be reached ({trouble}), and nothing starts before it answers. It is tried again every "
        f"{again_s:.0f} s: check the network, and ASTER_BASE_URL if it is set."
    )


def left_out(missing: Iterable[str], listed: Iterable[str]) -> str:
    """Say which configured symbols this venue does not list."""
    return (
        f"Configured, not listed by this venue and so not traded: {_listed(missing)}. It lists {_listed(listed)}; "
        "choose among them in Settings."
    )


def none_listed(missing: Iterable[str], listed: Iterable[str]) -> str:
    """Say that the venue lists none of the configured symbols."""
    return f"The venue does not trade {_listed(missing)}. It trades {_listed(listed)}: choose among them."


def unprotected(symbols: Iterable[str]) -> str:
    """Say which positions have no stop at the end of the start."""
    return (
        f"No protective stop is at the exchange yet for {_listed(symbols)}, and every open position must have one. It "
        "is tried again by itself; close the position, or set a stop on the venue's own site, if this stays."
    )


def no_history(strategy: str, trouble: object, again_s: float) -> str:
    """Say that the strategy's history cannot be read."""
    return (
        f"The history that {strategy} needs cannot be read ({trouble}), and nothing is decided before. It is asked for "
        f"again every {again_s:.0f} s."
    )


def stream_down(name: str, reason: str) -> str:
    """Say that a stream is down."""
    return (
        f"{name} stream is down: {reason}. It reconnects by itself; new risk waits for it, reducing does not. Check "
        "the network if it stays down."
    )


def not_writable(trouble: str) -> str:
    """Say that the record cannot be written."""
    return (
        f"The record cannot be written: {trouble[:300]}. Only reducing orders are sent until it can. Free disk space; "
        "nothing else needs to be done."
    )


def money_moved(amount: float, equity: float) -> str:
    """Say that money came in or went out, and what that changes."""
    what = "A deposit" if amount > 0 else "A withdrawal"
    return (
        f"{what} of {abs(amount):,.2f} USDT: equity is {equity:,.2f} USDT now. Peak and the day's opening equity moved "
        "in proportion, so neither the drawdown nor the day's loss changed. Nothing needs to be done."
    )


def drawdown_reached(drawdown: float, ahead: float, limit: float) -> str:
    """Say that the drawdown limit is reached, with what closing the book may still cost."""
    return (
        f"drawdown {drawdown:.2%}, and closing may cost {ahead:.2%} more: that reaches the limit of {limit:.2%}. "
        "Halted, and everything is closed. Read the Journal, then release the halt with RESUME, which accepts the loss."
    )


def day_loss_reached(loss: float, ahead: float, limit: float) -> str:
    """Say that the daily loss limit is reached, with what closing the book may still cost."""
    return (
        f"today's loss {loss:.2%}, and closing may cost {ahead:.2%} more: that reaches the limit of {limit:.2%}. "
        "Closing everything. New risk is allowed again on the next UTC day; nothing needs to be done."
    )


def day_is_over(worst_loss: float, config: SystemConfig) -> str:
    """Say why nothing may grow today any more."""
    return (
        f"today's worst loss is {worst_loss:.2%} of {config.max_daily_loss:.2%} allowed, and from "
        f"{config.daily_reduce_share * config.max_daily_loss:.2%} on nothing may grow until the next UTC day"
    )


def bars_missing(n: int, trouble: object) -> str:
    """Say that a decision is made without bars that a lost connection swallowed."""
    return (
        f"{n} bars were missed and could not be fetched ({trouble}): the sleeves have not seen them, and the decision "
        "is made without. The candles are asked for again; nothing needs to be done."
    )


def task_died(name: str, error: BaseException) -> str:
    """Say that one of the engine's main tasks is gone."""
    return (
        f"The {name} task died ({type(error).__name__}: {error}). No new risk is taken any more; stops at the exchange "
        "stay. Export this incident's bundle on the Health page, then restart the engine."
    )

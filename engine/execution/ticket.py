"""A person's order: from what was typed, with its unit, to an order, its costs and the gate's answer. Pure."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from engine.core.book_rules import affordable_gross
from engine.domain import (
    BookTop,
    Instrument,
    OrderSpec,
    OrderType,
    Purpose,
    Rule,
    Side,
    Tif,
    TradingState,
    Verdict,
)
from engine.execution.day import day_rung
from engine.execution.planner import crossing_px
from engine.settings import SystemConfig

# What to do when a rule refuses; the venue's filters say it in their own sentences.
ADVICE = {
    Rule.TRADING_STATE: "Only reducing orders pass, or none after a halt: the sidebar says why and how to resume.",
    Rule.STALE_DATA: "Wait for a fresh price.",
    Rule.DAILY_LOSS: "Only reducing orders pass until the next UTC day.",
    Rule.DRAWDOWN: "Only reducing orders pass until a person resumes after the halt.",
    Rule.SYMBOL_CAP: "Order less, or raise max_symbol_weight in Settings.",
    Rule.GROSS_CAP: "Order less, or raise max_gross_weight in Settings.",
    Rule.LEVERAGE: "Order less, or raise max_leverage in Settings.",
    Rule.CUSHION: "Order less, or lower gap_pct in Settings.",
}


class Size(BaseModel):
    """How much, with its unit."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    unit: Literal["base", "quote", "risk_pct"]
    value: float = Field(gt=0)


class TicketRequest(BaseModel):
    """What a person typed. ``risk_pct`` is the percentage of equity lost if the protective stop is hit."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    symbol: str
    side: Literal["buy", "sell"]
    kind: Literal["market", "limit", "post_only", "stop"]
    size: Size
    limit_px: float | None = Field(None, gt=0)
    stop_px: float | None = Field(None, gt=0)
    reduce_only: bool = False


class TicketContext(NamedTuple):
    """What the preview is judged against. Everything is as of now; ``position_qty`` includes every known fill."""

    instrument: Instrument
    top: BookTop
    mark_px: float
    position_qty: float  # signed base, this symbol
    entry_px: float
    equity: float
    gross_notional: float  # all symbols, quote
    maintenance_margin: float
    trading_state: TradingState
    day_pnl: float
    day_open_equity: float
    drawdown: float
    price_age_s: float
    working_notional: float = 0.0  # what orders and targets under way may still add to the gross, quote
    day_worst: float = 0.0  # largest loss of the day so far, fraction of its opening equity


class Ticket(NamedTuple):
    """A judged ticket. ``spec`` is None when something refuses it."""

    spec: OrderSpec | None
    answer: dict[str, Any]


def judge(request: TicketRequest, context: TicketContext, config: SystemConfig) -> Ticket:
    """Return the order that the request means, what it costs and what each rule says."""
    side = Side.BUY if request.side == "buy" else Side.SELL
    px, problems = _reference_px(request, side, context)
    qty = _quantity(request, px, context, config)
    signed = qty * side
    after = context.position_qty + signed
    reduces = context.position_qty * signed < 0 and abs(signed) <= abs(context.position_qty) + 1e-12
    if request.reduce_only and not reduces:
        problems.append(
            f"Reduce-only, but the position is {context.position_qty:g} and {signed:+g} would open or flip it. Order "
            f"at most {-context.position_qty:+g}."
            if context.position_qty
            else "Reduce-only, but there is no position that the order could reduce: it would open or flip one."
        )
    reasons = [{"rule": "ORDER", "verdict": Verdict.REFUSE.name, "sentence": problem} for problem in problems]
    reasons += _rules(request, qty, px, after, reduces, context, config)
    problems = [reason["sentence"] for reason in reasons if reason["verdict"] == Verdict.REFUSE.name]
    instrument = context.instrument
    is_taker = request.kind in ("market", "stop") or _crosses(request, side, context)
    fee_rate = instrument.taker_fee if is_taker else instrument.maker_fee
    notional = qty * px
    opens = max(abs(after) - abs(context.position_qty), 0.0) * px
    leverage = min(config.max_leverage, instrument.max_leverage)
    answer = {
        "ok": not problems,
        "problems": problems,
        "reasons": reasons,
        "qty": qty,
        "px": px,
        "notional": notional,
        "fee": notional * fee_rate,
        "fee_rate": fee_rate,
        "margin": opens / leverage,
        "liq_px": _none_if_nan(liquidation_px(after, _entry_after(after, signed, px, context), context)),
        "position_after": after,
        "worst_loss": abs(after) * px * config.protective_stop_pct,
        "reduces": reduces,
        "warnings": _warnings(request, side, px, qty, context, config),
    }
    return Ticket(None if problems else _spec(request, side, qty, px, instrument), answer)


def _reference_px(request: TicketRequest, side: Side, context: TicketContext) -> tuple[float, list[str]]:
    touch = context.top.ask_px if side == Side.BUY else context.top.bid_px
    if request.kind in ("limit", "post_only"):
        if request.limit_px is None:
            return touch, [
                f"A {request.kind} order needs a limit price, and none was given; the market is at {touch:g}."
            ]
        grid = context.instrument.tick_size
        return round(request.limit_px / grid) * grid, []
    if request.kind == "stop":
        if request.stop_px is None:
            return touch, [f"A stop order needs a stop price, and none was given; the mark is {context.mark_px:g}."]
        if (request.stop_px - context.mark_px) * side <= 0:
            word = "above" if side == Side.BUY else "below"
            return request.stop_px, [
                f"The stop at {request.stop_px:g} would trigger at once: it must be {word} the mark price "
                f"{context.mark_px:g}."
            ]
        return request.stop_px, []
    return touch, []


def _quantity(request: TicketRequest, px: float, context: TicketContext, config: SystemConfig) -> float:
    if request.size.unit == "base":
        qty = request.size.value
    elif request.size.unit == "quote":
        qty = request.size.value / px
    else:
        qty = request.size.value / 100.0 * context.equity / (px * config.protective_stop_pct)
    lot = context.instrument.lot_size
    return math.floor(qty / lot + 1e-9) * lot


def _rules(
    request: TicketRequest,
    qty: float,
    px: float,
    after: float,
    reduces: bool,
    context: TicketContext,
    config: SystemConfig,
) -> list[dict[str, Any]]:
    equity = context.equity
    weight = abs(after) * px / equity if equity > 0 else math.inf
    under_way = context.gross_notional + context.working_notional
    gross = (under_way + (abs(after) - abs(context.position_qty)) * px) / equity if equity > 0 else math.inf
    day_loss = max(-context.day_pnl / context.day_open_equity, 0.0) if context.day_open_equity > 0 else 0.0
    day_worst = max(day_loss, context.day_worst)
    state = context.trading_state
    affordable = affordable_of(context, config)
    return [
        _reason(Rule.TRADING_STATE, state == TradingState.RUNNING or (reduces and state != TradingState.HALTED),
                f"Trading state is {state.name.lower().replace('_', '-')}."),
        _reason(Rule.STALE_DATA, reduces or context.price_age_s <= config.max_price_age_s,
                f"The price is {context.price_age_s:.1f} s old; {config.max_price_age_s:.0f} s is the limit."),
        _reason(Rule.DAILY_LOSS, reduces or day_rung(day_worst, config).may_grow,
                f"Today's worst loss is {day_worst:.2%} of {config.max_daily_loss:.2%} allowed; from "
                f"{config.daily_reduce_share * config.max_daily_loss:.2%} on nothing may grow."),
        _reason(Rule.DRAWDOWN, reduces or context.drawdown < config.max_total_drawdown or not config.use_gate_drawdown,
                f"Drawdown is {context.drawdown:.2%} of {config.max_total_drawdown:.2%} allowed."),
        _reason(Rule.SYMBOL_CAP, reduces or weight <= config.max_symbol_weight,
                f"The position would be {weight:.2f} times equity; the cap is {config.max_symbol_weight:.2f}."),
        _reason(Rule.GROSS_CAP, reduces or gross <= config.max_gross_weight,
                f"The book would be {gross:.2f} times equity; the cap is {config.max_gross_weight:.2f}."),
        _reason(Rule.CUSHION, reduces or gross <= affordable,
                f"The book would be {gross:.2f} times equity; a gap of {config.gap_pct:.0%} leaves the drawdown limit "
                f"intact up to {affordable:.2f}."),
        _reason(Rule.LEVERAGE, reduces or gross <= config.max_leverage,
                f"Leverage would be {gross:.2f}; the limit is {config.max_leverage:.2f}."),
        _filter_reason(request, qty, px, reduces, context),
    ]  # fmt: skip


def affordable_of(context: TicketContext, config: SystemConfig) -> float:
    """Return the gross weight that a gap may hit without taking equity below the drawdown limit; see ``book_rules``."""
    if not (config.use_gate_book and config.use_gate_drawdown):
        return math.inf
    peak = context.equity / (1.0 - context.drawdown) if context.drawdown < 1.0 else math.inf
    gap = config.gap_pct + config.stop_slippage_pct
    return affordable_gross(context.equity, peak, config.max_total_drawdown, gap)


def _filter_reason(
    request: TicketRequest, qty: float, px: float, reduces: bool, context: TicketContext
) -> dict[str, Any]:
    instrument = context.instrument
    largest = instrument.max_market_qty if request.kind in ("market", "stop") else instrument.max_qty
    if qty < instrument.min_qty:
        return _reason(
            Rule.VENUE_FILTER,
            False,
            f"Quantity {qty:g} is below the minimum {instrument.min_qty:g} {instrument.base}: order more.",
        )
    if qty > largest:
        return _reason(
            Rule.VENUE_FILTER,
            False,
            f"Quantity {qty:g} is above the maximum {largest:g} {instrument.base}: order in parts.",
        )
    if not reduces and qty * px < instrument.min_notional:
        return _reason(
            Rule.VENUE_FILTER,
            False,
            f"Notional {qty * px:.2f} is below the minimum {instrument.min_notional:g} {instrument.quote}: order more.",
        )
    away = abs(px / context.mark_px - 1.0)
    if request.kind in ("limit", "post_only") and away > instrument.price_band:
        return _reason(
            Rule.VENUE_FILTER,
            False,
            f"The limit is {away:.2%} from the mark; the venue allows {instrument.price_band:.2%}: come closer.",
        )
    return _reason(Rule.VENUE_FILTER, True, "Lot, quantity, notional and price band are within the venue's filters.")


def _reason(rule: Rule, passes: bool, sentence: str) -> dict[str, Any]:
    advice = "" if passes else ADVICE.get(rule, "")
    verdict = Verdict.PASS if passes else Verdict.REFUSE
    return {"rule": rule.name, "verdict": verdict.name, "sentence": f"{sentence} {advice}".rstrip()}


def _crosses(request: TicketRequest, side: Side, context: TicketContext) -> bool:
    if request.kind != "limit" or request.limit_px is None:
        return False
    return request.limit_px >= context.top.ask_px if side == Side.BUY else request.limit_px <= context.top.bid_px


def _warnings(
    request: TicketRequest, side: Side, px: float, qty: float, context: TicketContext, config: SystemConfig
) -> list[str]:
    found = []
    if request.kind == "post_only" and _crosses(request.model_copy(update={"kind": "limit"}), side, context):
        found.append("Post-only at this price would take liquidity: the venue will expire it.")
    if (
        request.kind == "market"
        and side * (context.position_qty + qty * side) * px > config.max_symbol_weight * context.equity * 0.8
    ):
        found.append("The position would be close to the symbol cap.")
    if not config.use_protective_stops:
        found.append("Protective stops are switched off in Settings.")
    return found


def _entry_after(after: float, signed: float, px: float, context: TicketContext) -> float:
    before = context.position_qty
    if after == 0.0:
        return math.nan
    if before * signed < 0:
        return context.entry_px if before * after > 0 else px
    return (context.entry_px * abs(before) + px * abs(signed)) / abs(after)


def liquidation_px(position_qty: float, entry_px: float, context: TicketContext) -> float:
    """Return the mark price at which equity would meet maintenance margin, all else unchanged; NaN when flat or none.

    Equity falls by qty · (mark − px) while this symbol's maintenance margin is mmr · |qty| · px, so
    px = (qty · mark − spare) / (qty − mmr · |qty|), where spare is equity less the other symbols' maintenance margin.
    The rate of the first bracket is estimated from the present margin, or 0.5 % when the book is flat.
    """
    if position_qty == 0.0 or math.isnan(entry_px):
        return math.nan
    rate = context.maintenance_margin / context.gross_notional if context.gross_notional > 0 else 0.005
    if math.isnan(rate):
        rate = 0.005
    others = rate * max(context.gross_notional - abs(context.position_qty) * context.mark_px, 0.0)
    denominator = position_qty - rate * abs(position_qty)
    px = (position_qty * context.mark_px - (context.equity - others)) / denominator
    return px if px > 0 else math.nan


def _spec(request: TicketRequest, side: Side, qty: float, px: float, instrument: Instrument) -> OrderSpec:
    limit_px, stop_px, tif, kind = math.nan, math.nan, Tif.GTC, OrderType.LIMIT
    if request.kind == "market":
        limit_px, tif = crossing_px(px, side, instrument), Tif.IOC
    elif request.kind == "limit":
        limit_px = px
    elif request.kind == "post_only":
        limit_px, tif = px, Tif.GTX
    else:
        kind, stop_px = OrderType.STOP_MARKET, round(px / instrument.tick_size) * instrument.tick_size
    return OrderSpec(
        request.symbol, int(side), kind.value, qty, limit_px, stop_px, tif.value, request.reduce_only, False,
        Purpose.MANUAL.value,
    )  # fmt: skip


def _none_if_nan(value: float) -> float | None:
    return None if math.isnan(value) else value

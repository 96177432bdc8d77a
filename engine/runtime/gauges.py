"""Every limit with what is used of it and what is left, from the account now and the newest decision. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from engine.domain import RULE_SENTENCE, Rule
from engine.runtime.by_hand import HandBook
from engine.settings import SystemConfig

NO_LIMIT = frozenset({"TRADING_STATE", "WARM_UP", "VENUE_FILTER", "REBALANCE_BAND"})
"""Rules whose two numbers are not a quantity and the most that is allowed of it."""

NOW, DECISION = "now", "decision"


class Book(NamedTuple):
    """The account at one moment. Money in the quote currency; NaN is unknown."""

    equity: float
    peak_equity: float
    day_open_equity: float
    weight: Mapping[str, float]  # signed notional over equity of each open position
    liquidation_distance: Mapping[str, float]  # |mark - liquidation price| / mark of each open position
    orders_in_minute: int = 0  # orders sent within the last minute


UNIT_OF = {
    Rule.STALE_DATA: "s", Rule.KELLY: "volatility", Rule.CVAR: "fraction", Rule.STRESS: "fraction",
    Rule.CUSHION: "weight", Rule.CLUSTER_CAP: "weight", Rule.NET_CAP: "weight", Rule.LIQUIDATION: "weight",
    Rule.PARTICIPATION: "fraction",
}  # fmt: skip
"""Units of what a decision measures: seconds, volatility (fraction a year), fraction of equity, times equity."""

OF_THE_BOOK = frozenset({Rule.KELLY, Rule.CVAR, Rule.CUSHION, Rule.NET_CAP, Rule.STRESS, Rule.LIQUIDATION})
"""Rules that measure the whole book: their numbers are the same for every symbol."""


def gauges(config: SystemConfig, book: Book, detail: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Return one row a limit: measured, limit, share used, and what is left in its unit and in money.

    Parameters
    ----------
    config : SystemConfig
        In force, as far as the capital ladder lets it.
    book : Book
    detail : dict, optional
        The newest decision's record; rules that only a decision measures come from it.

    Returns
    -------
    list of dict
        ``name``, ``unit`` (fraction, volatility, weight, s, count or number), ``measured``, ``limit``, ``at_most``
        (False: a least value), ``used`` (1.0 is at the limit), ``left``, ``left_money`` (None where it is none),
        ``where`` (a symbol, a symbol's cluster, or "book"), ``source`` (now, decision), ``enforced``, ``sentence``.
        None is unknown.
    """
    rows = [*_account_gauges(config, book), *_book_gauges(config, book)]
    shown = {row["name"] for row in rows}
    rows += [row for row in _decision_gauges(detail or {}, book) if row["name"] not in shown]
    off = _switched_off(config)  # a decision's record may still hold zeros for them
    rows = [row for row in rows if Rule.__members__.get(row["name"]) not in off]
    shown = {row["name"] for row in rows}
    missing = {rule: limit for rule, limit in _measured_by_decisions(config).items() if rule.name not in shown}
    return rows + [
        _gauge(rule.name, UNIT_OF[rule], math.nan, limit, enforced=rule not in off) for rule, limit in missing.items()
    ]


def _measured_by_decisions(config: SystemConfig) -> dict[Rule, float]:
    """Return the limits whose use only a decision measures: unknown before the first. NaN is worked out there, too."""
    return {
        Rule.STALE_DATA: config.max_price_age_s, Rule.KELLY: math.nan, Rule.CVAR: config.max_cvar,
        Rule.CUSHION: math.nan, Rule.CLUSTER_CAP: config.max_cluster_weight, Rule.NET_CAP: config.max_net_weight,
        Rule.STRESS: config.max_stress_loss, Rule.PARTICIPATION: config.max_hour_participation,
    }  # fmt: skip


def _switched_off(config: SystemConfig) -> frozenset[Rule]:
    """Return the rules that are off, by the switch or for the yardstick: nobody measures them."""
    if config.book_limits_on:
        return frozenset()
    return frozenset({
        Rule.KELLY, Rule.CVAR, Rule.CUSHION, Rule.CLUSTER_CAP, Rule.NET_CAP, Rule.STRESS, Rule.PARTICIPATION,
    })  # fmt: skip


def _account_gauges(config: SystemConfig, book: Book) -> list[dict[str, Any]]:
    day_loss = 1.0 - book.equity / book.day_open_equity if book.day_open_equity > 0 else math.nan
    drawdown = 1.0 - book.equity / book.peak_equity if book.peak_equity > 0 else math.nan
    return [
        _gauge("DRAWDOWN", "fraction", max(drawdown, 0.0) if drawdown == drawdown else drawdown,
               config.max_total_drawdown, money=book.peak_equity, enforced=config.use_gate_drawdown),
        _gauge("DAILY_LOSS", "fraction", max(day_loss, 0.0) if day_loss == day_loss else day_loss,
               config.max_daily_loss, money=book.day_open_equity, enforced=config.use_gate_daily_loss),
    ]  # fmt: skip


def _book_gauges(config: SystemConfig, book: Book) -> list[dict[str, Any]]:
    size = {symbol: abs(weight) for symbol, weight in book.weight.items()}
    gross = sum(size.values()) if book.equity > 0 else math.nan
    unknown = next((symbol for symbol, weight in size.items() if math.isnan(weight)), "")
    largest = unknown or max(size, key=lambda symbol: size[symbol], default="")
    known = {symbol: far for symbol, far in book.liquidation_distance.items() if far == far}
    nearest = min(known, key=lambda symbol: known[symbol], default="")
    rows = [
        _gauge("SYMBOL_CAP", "weight", size.get(largest, 0.0), config.max_symbol_weight, where=largest or "book",
               money=book.equity),
        _gauge("GROSS_CAP", "weight", gross, config.max_gross_weight, money=book.equity),
        _gauge("LEVERAGE", "weight", gross, config.max_leverage, money=book.equity),
        _gauge("LIQUIDATION", "weight", gross, float(config.risk_limits()["liquidation_gross"][0]), money=book.equity),
        _gauge("ORDER_RATE", "count", float(book.orders_in_minute), float(config.max_orders_per_minute),
               sentence="Orders that add risk are refused for the rest of a minute in which this many were sent."),
    ]  # fmt: skip
    if nearest:
        rows.append(_gauge(
            "LIQUIDATION_DISTANCE", "fraction", known[nearest], config.min_liquidation_distance, where=nearest,
            at_most=False,
            sentence="A position whose mark comes this close to its liquidation price is halved, and may not grow.",
        ))  # fmt: skip
    return rows


def _decision_gauges(detail: Mapping[str, Any], book: Book) -> list[dict[str, Any]]:
    """Return the gauges of rules that only a decision measures, at the symbol that is nearest to the limit.

    They are of the whole account: what a person holds, which a decision takes off its limits, is added to both numbers.
    """
    rows, by_hand = [], _by_hand(detail.get("by_hand"))
    for rule in Rule:
        if rule.name in NO_LIMIT or not detail:
            continue
        taken = by_hand.get(rule, 0.0)
        pairs = [
            (symbol, measured[rule] + taken, limit[rule] + taken)
            for symbol, measured, limit in zip(detail["symbols"], detail["measured"], detail["limit"], strict=True)
            if len(limit) > rule and limit[rule] is not None and measured[rule] is not None and limit[rule] + taken > 0
        ]
        if pairs:
            symbol, measured, limit = max(pairs, key=lambda pair: pair[1] / pair[2])
            unit = UNIT_OF.get(rule, "number")
            money = book.equity if unit in ("fraction", "weight") else math.nan
            where = _worst_shock(detail) if rule == Rule.STRESS else _place(rule, symbol)
            rows.append(_gauge(rule.name, unit, measured, limit, where=where, money=money, source=DECISION))
    return rows


def _by_hand(kept: Mapping[str, Any] | None) -> dict[Rule, float]:
    """Return what a person's positions take of each limit, as a decision's record keeps them."""
    if not kept:
        return {}
    hand = HandBook({symbol: float(weight) for symbol, weight in kept["weight"].items()}, kept["cvar"], kept["stress"])
    return {
        Rule.CVAR: hand.cvar, Rule.STRESS: hand.stress, Rule.NET_CAP: hand.net, Rule.CLUSTER_CAP: hand.one_side,
        Rule.CUSHION: hand.gross,
    }  # fmt: skip


def _worst_shock(detail: Mapping[str, Any]) -> str:
    """Return the title of the shock in which the strategy's book loses most; "book" where the record has none."""
    found = detail.get("shocks") or {}
    worst = max(found, key=lambda title: found[title], default="")
    return worst if worst and found[worst] > 0.0 else "book"


def _place(rule: Rule, symbol: str) -> str:
    if rule in OF_THE_BOOK:
        return "book"
    return f"cluster of {symbol}" if rule == Rule.CLUSTER_CAP else symbol


def _gauge(
    name: str,
    unit: str,
    measured: float,
    limit: float,
    *,
    where: str = "book",
    money: float = math.nan,
    at_most: bool = True,
    source: str = NOW,
    enforced: bool = True,
    sentence: str = "",
) -> dict[str, Any]:
    known = math.isfinite(measured)
    left = (limit - measured if at_most else measured - limit) if known else math.nan
    used = (measured / limit if at_most else limit / measured if measured > 0 else math.inf) if known else math.nan
    return {
        "name": name, "unit": unit, "measured": _plain(measured), "limit": _plain(limit), "at_most": at_most,
        "used": _plain(used), "left": _plain(left), "left_money": _plain(max(left, 0.0) * money), "where": where,
        "source": source, "enforced": enforced, "sentence": sentence or RULE_SENTENCE[Rule[name]],
    }  # fmt: skip


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None

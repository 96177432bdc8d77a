"""The risk gate's rules: their columns in a record, the order in which they are applied, and a sentence for each."""

from __future__ import annotations

from enum import IntEnum


class Rule(IntEnum):
    """Risk rules. The index is the column in ``Decision.verdict``; ``RULE_ORDER`` says when each is applied."""

    TRADING_STATE = 0
    STALE_DATA = 1
    WARM_UP = 2
    DAILY_LOSS = 3
    DRAWDOWN = 4
    SYMBOL_CAP = 5
    GROSS_CAP = 6
    LEVERAGE = 7
    VENUE_FILTER = 8
    REBALANCE_BAND = 9
    KELLY = 10
    CVAR = 11
    CUSHION = 12
    CLUSTER_CAP = 13
    NET_CAP = 14
    STRESS = 15
    LIQUIDATION = 16
    PARTICIPATION = 17
    ORDER_RATE = 18


N_RULES = len(Rule)
RULE_ORDER = tuple(Rule(column) for column in (0, 1, 2, 3, 4, 5, 13, 14, 10, 11, 15, 12, 6, 7, 16, 17, 8, 9, 18))
"""The rules in the order in which the gate applies them. Columns are only ever appended, so that old records read."""

RULE_SENTENCE: dict[Rule, str] = {
    Rule.TRADING_STATE: "The kill switch or reconciliation allows only reducing, or nothing.",
    Rule.STALE_DATA: "The symbol's price is older than allowed, so its exposure may not grow.",
    Rule.WARM_UP: "The sleeve has not yet seen enough bars for its longest horizon.",
    Rule.DAILY_LOSS: "As today's loss grows the book is shrunk, then only reduced, then flat until tomorrow (UTC).",
    Rule.DRAWDOWN: "Exposure shrinks with the cushion left to the maximum drawdown.",
    Rule.SYMBOL_CAP: "One symbol may not exceed its share of equity.",
    Rule.GROSS_CAP: "The sum of absolute weights may not exceed its cap.",
    Rule.LEVERAGE: "Gross notional may not exceed the leverage limit.",
    Rule.VENUE_FILTER: "The venue's lot size, minimum quantity or minimum notional.",
    Rule.REBALANCE_BAND: "The change is smaller than the rebalance band, so it is not worth its cost.",
    Rule.KELLY: "The book's volatility may not exceed what the strategy's own record, shrunk by its error, is worth.",
    Rule.CVAR: "The mean loss of the book's worst days may not exceed its share of equity.",
    Rule.CUSHION: "A gap against every position, of pairs the net, may not take equity below the drawdown floor.",
    Rule.CLUSTER_CAP: "Symbols that move together may not exceed their joint share of equity.",
    Rule.NET_CAP: "Longs less shorts may not exceed their share of equity.",
    Rule.STRESS: "The loss in the worst stated shock may not exceed its share of equity.",
    Rule.LIQUIDATION: "All prices must be able to move this far against the book before the account is liquidated.",
    Rule.PARTICIPATION: "What is added to one symbol within an hour may not exceed its share of an hour's usual trade.",
    Rule.ORDER_RATE: "No more symbols may be acted on within a minute, except to reduce.",
}


class Verdict(IntEnum):
    """A rule's answer for one symbol."""

    PASS = 0
    CLIP = 1
    REFUSE = 2

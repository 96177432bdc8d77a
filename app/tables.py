"""Which columns each table of the screen has, and the rows of those that are not a table of the engine. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

import pandas as pd

from app.formats import UNKNOWN, is_known, moment, money, number, percent, signed, signed_percent
from app.performance import parsed, total_return
from engine.domain import RULE_ORDER, RULE_SENTENCE, Rule, TradingState, Verdict


class Column(NamedTuple):
    """One column of a table: which field, its heading (with the unit), how it is written, what it means."""

    name: str
    label: str
    kind: str = "text"  # a key of the writers in widgets.py, or "time"
    meaning: str = ""
    width: str | int | None = None


class Figure(NamedTuple):
    """One headline number: heading, the written value, what it means, and an optional written change."""

    label: str
    value: str
    meaning: str = ""
    change: str | None = None


POSITION_COLUMNS = (
    Column("symbol", "Symbol", "text", "", 95),
    Column("side", "Side", "text", "", 70),
    Column("qty", "Quantity, base", "qty", "Positive is long, negative is short"),
    Column("notional", "Notional, USDT", "amount", "Quantity times mark price: positive is long, negative is short"),
    Column("entry_px", "Entry, USDT", "price"),
    Column("mark_px", "Mark, USDT", "price", "The venue's fair price, which margin and liquidation use"),
    Column("pnl_unrealized", "Unrealised, USDT", "signed_money"),
    Column("stop_px", "Stop, USDT", "price", "The protective stop that rests on the exchange"),
    Column("liq_px", "Liquidation, USDT", "price", "Mark price at which the venue closes the position by force"),
    Column("leverage", "Leverage, ×", "count"),
)
FILL_COLUMNS = (
    Column("ts_filled", "Filled, UTC", "time"),
    Column("symbol", "Symbol"),
    Column("qty", "Quantity, base", "qty"),
    Column("px", "Price, USDT", "price"),
    Column("decision_px", "Decision price, USDT", "price", "Mark price when the decision was made"),
    Column("slippage_bp", "Slippage, bp", "cost_bp", "Fill against decision price; positive is worse for us"),
    Column("slippage_cost", "Slippage, USDT", "cost_money", "Positive is a cost"),
    Column("fee", "Fee, USDT", "fee"),
    Column("pnl_realized", "Realised, USDT", "signed_money"),
    Column("liquidity", "Liquidity", "text", "Maker orders rested in the book, taker orders crossed it"),
)
ORDER_COLUMNS = (
    Column("ts_intent", "Intended, UTC", "time", "When the order was committed, before it was sent"),
    Column("symbol", "Symbol"),
    Column("side_word", "Side"),
    Column("order_type", "Type"),
    Column("tif", "Time in force"),
    Column("purpose", "Purpose"),
    Column("status", "Status"),
    Column("qty", "Quantity, base", "size"),
    Column("filled_qty", "Filled, base", "size"),
    Column("limit_px", "Limit, USDT", "price"),
    Column("stop_px", "Stop, USDT", "price"),
    Column("avg_px", "Average, USDT", "price"),
    Column("client_id", "Client id"),
    Column("reason", "Reason"),
)
DECISION_COLUMNS = (
    Column("ts_close", "Bar close, UTC", "time", "Close of the bar that was decided on"),
    Column("n_orders", "Orders", "count", "", 70),
    Column("summary", "Summary", "text", "", 280),
    Column("equity", "Equity, USDT", "money"),
    Column("day_pnl", "Day PnL, USDT", "signed_money"),
    Column("drawdown", "Drawdown, %", "percent", "Fall from peak equity"),
    Column("gross_weight", "Gross, × equity", "number"),
    Column("portfolio_vol", "Volatility, % a year", "percent", "Forecast of the sized book; unknown while warming up"),
    Column("elapsed_ms", "Took, ms", "ms", "Bar close received to decision committed"),
    Column("decision_id", "Decision", "text"),
)
WEIGHT_COLUMNS = (
    Column("symbol", "Symbol", "text", "", 90),
    Column("close", "Close, USDT", "price"),
    Column("raw", "Raw weight", "weight", "The sleeve's wish, × equity"),
    Column("sized", "Sized weight", "weight", "After the portfolio's volatility target"),
    Column("approved", "Approved weight", "weight", "After the risk gate"),
    Column("position", "Position, base", "qty"),
    Column("target", "Target, base", "qty", "Rounded to the venue's lots"),
    Column("done", "Acted"),
)
AUDIT_COLUMNS = (
    Column("ts", "When, UTC", "time"),
    Column("actor", "Who"),
    Column("action", "Action"),
    Column("detail", "Detail", "text", "", "large"),
)
RATIO_COLUMNS = (
    Column("name", "Measure", "text", "", 180),
    Column("value", "Value", "figure"),
    Column("meaning", "Meaning", "text", "", 300),
)

_RATIOS: tuple[tuple[str, str, str, str], ...] = (
    ("sharpe", "Sharpe ratio, per year", "ratio", "Mean return over its standard deviation"),
    ("sortino", "Sortino ratio, per year", "ratio", "Mean return over the deviation of losses"),
    ("calmar", "Calmar ratio, per year", "ratio", "Annual return over the largest drawdown"),
    ("volatility", "Volatility, per year", "percent", "Standard deviation of daily returns"),
    ("max_drawdown", "Largest drawdown", "percent", "Deepest fall from a peak of equity"),
    ("cvar_95", "CVaR 95 %, per day", "percent", "Mean loss of the worst twentieth of days"),
    ("win_rate", "Win rate, days", "percent", "Share of days with a gain"),
    ("profit_factor", "Profit factor, days", "ratio", "Daily gains over daily losses"),
    ("turnover", "Turnover, × equity", "ratio", "Traded notional over mean equity"),
)

# How each rule's two numbers read. A fraction of equity is shown as a weight, as everywhere else.
_RULE_UNIT: dict[Rule, str] = {
    Rule.TRADING_STATE: "state", Rule.STALE_DATA: "s", Rule.WARM_UP: "bars", Rule.DAILY_LOSS: "%", Rule.DRAWDOWN: "%",
    Rule.SYMBOL_CAP: "× equity", Rule.GROSS_CAP: "× equity", Rule.LEVERAGE: "× equity", Rule.VENUE_FILTER: "USDT",
    Rule.REBALANCE_BAND: "× equity", Rule.KELLY: "% a year", Rule.CVAR: "%", Rule.CUSHION: "× equity",
    Rule.CLUSTER_CAP: "× equity", Rule.NET_CAP: "× equity", Rule.STRESS: "%",
    Rule.LIQUIDATION: "× equity", Rule.PARTICIPATION: "%", Rule.ORDER_RATE: "a minute",
}  # fmt: skip

VERDICT_WORD = {Verdict.PASS: "pass", Verdict.CLIP: "▾ clip", Verdict.REFUSE: "✕ refuse"}


def ratio_rows(performance: dict[str, Any]) -> pd.DataFrame:
    """Return the engine's ratios as ``name, value, meaning``; a missing one says that data is still short."""
    ratios = performance["ratios"]
    n_days = int(ratios.get("n_days") or 0)
    short = f"not enough data yet ({n_days} day{'' if n_days == 1 else 's'})"
    rows = []
    for name, label, kind, meaning in _RATIOS:
        value = ratios.get(name)
        write = percent if kind == "percent" else number
        rows.append((label, write(value) if is_known(value) else short, meaning))
    return pd.DataFrame(rows, columns=["name", "value", "meaning"])


def return_rows(performance: dict[str, Any]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the daily (``date, return, pnl``) and monthly (``month, return``) tables."""
    daily = pd.DataFrame(performance.get("daily") or [], columns=["date", "return", "pnl"])
    monthly = pd.DataFrame(performance.get("monthly") or [], columns=["month", "return"])
    return daily, monthly


def portfolio_figures(status: dict[str, Any], equity: pd.DataFrame, ratios: dict[str, Any]) -> list[Figure]:
    """Return the headline numbers of the account: now, over the chosen period, and what it cost."""
    gain = total_return(equity)
    return [
        Figure("Equity, USDT", number(status["equity"]), "Cash plus unrealised gains, now"),
        Figure("Return", signed_percent(gain), "From the first to the last row of the period, after all costs"),
        Figure("Unrealised, USDT", signed(status["pnl_unrealized"]), "Of the open positions, at mark price"),
        Figure("Drawdown now", percent(status["drawdown"]), "Fall from the peak of equity"),
        Figure("Fees paid, USDT", number(ratios.get("fees")), "In the period"),
        Figure("Funding paid, USDT", number(ratios.get("funding")), "In the period; negative was received"),
    ]


def side_word(qty: float | None) -> str:
    """Return long, short or flat for a signed quantity; unknown for none."""
    if not is_known(qty):
        return UNKNOWN
    return "long" if qty > 0 else "short" if qty < 0 else "flat"


def position_rows(positions: pd.DataFrame) -> pd.DataFrame:
    """Return positions with the word for their side."""
    return positions.assign(side=[side_word(qty) for qty in positions["qty"]])


def fill_rows(fills: pd.DataFrame) -> pd.DataFrame:
    """Add the word for ``is_maker``."""
    return fills.assign(liquidity=fills["is_maker"].map({True: "maker", False: "taker"}).fillna(UNKNOWN))


def fill_frame(fills: list[dict[str, Any]]) -> pd.DataFrame:
    """Return the fills of one decision as a table; an absent price is NaN."""
    table = pd.DataFrame(fills)
    for name in ("px", "decision_px", "qty", "fee", "pnl_realized"):
        table[name] = pd.to_numeric(table[name], errors="coerce")
    return table


def order_rows(orders: list[dict[str, Any]]) -> pd.DataFrame:
    """Return orders with the word for their side."""
    table = pd.DataFrame(orders)
    if len(table):
        table["side_word"] = table["side"].map({1: "buy", -1: "sell"})
    return table


def decision_rows(decisions: pd.DataFrame, *, only_orders: bool = False, text: str = "") -> pd.DataFrame:
    """Return the decisions that have orders (if asked) and whose summary or number contains the text."""
    # Text, not number: a browser cannot hold all of int64.
    rows = decisions.assign(decision_id=decisions["decision_id"].astype("int64").astype(str))
    if only_orders:
        rows = rows[rows["n_orders"] > 0]
    if text.strip():
        wanted = text.strip().casefold()
        searched = rows["summary"].fillna("") + " " + rows["strategy"].fillna("") + " " + rows["decision_id"]
        rows = rows[searched.str.casefold().str.contains(wanted, regex=False)]
    return rows.reset_index(drop=True)


def decision_sentence(decision: dict[str, Any]) -> str:
    """Return one line on when, with what and how fast a decision was made."""
    n_orders = int(decision["n_orders"] or 0)
    return " · ".join((
        f"bar close {moment(decision['ts_close'])} UTC",
        str(decision["strategy"]),
        f"equity {money(decision['equity'])}",
        f"drawdown {percent(decision['drawdown'])}",
        f"{n_orders} order{'' if n_orders == 1 else 's'}",
        f"took {number(decision['elapsed_ms'], 1, 'ms')}",
    ))  # fmt: skip


def weight_rows(detail: dict[str, Any], orders: list[dict[str, Any]]) -> pd.DataFrame:
    """Return one row a symbol: weights through sizing and gate, position, target, and why it was acted on or not."""
    sent: dict[str, int] = {}
    for order in orders:
        sent[order["symbol"]] = sent.get(order["symbol"], 0) + 1
    why_not = detail.get("why_not") or {}
    rows = []
    for i, symbol in enumerate(detail["symbols"]):
        acted = bool(detail["act"][i])
        n_sent = sent.get(symbol, 0)
        done = f"{n_sent} order{'s' if n_sent != 1 else ''} sent" if acted else "The engine gave no reason."
        rows.append({
            "symbol": symbol, "close": detail["close_px"][i], "raw": detail["raw_weight"][i],
            "sized": detail["sized_weight"][i], "approved": detail["approved_weight"][i],
            "position": detail["position_qty"][i], "target": detail["target_qty"][i],
            "done": "yes" if acted else "no", "why": why_not.get(symbol) or done,
        })  # fmt: skip
    return pd.DataFrame(rows)


def why_lines(weights: pd.DataFrame) -> list[str]:
    """Return one line for each thing that stood in the way or was done, with the symbols it holds for.

    The numbers that differ from symbol to symbol are left to the table of rules.
    """
    told = weights["why"].str.partition(" Measured ")[0]
    return [f"**{', '.join(names)}**: {why}" for why, names in weights["symbol"].groupby(told, sort=False)]


def rule_columns(detail: dict[str, Any], symbol: str) -> tuple[Column, ...]:
    """Return the columns of ``rule_rows``: the rule, one symbol's numbers, every symbol's verdict, the sentence."""
    return (
        Column("rule", "Rule", "text", "In the order in which the gate applies them", 125),
        Column("measured", f"{symbol} measured", "figure", "The number the rule looked at"),
        Column("limit", "Limit", "figure", "What it was compared with"),
        *(Column(name, name, "verdict", "", 82) for name in detail["symbols"]),
        Column("sentence", "What the rule guards", "text", "", 480),
    )


def rule_rows(detail: dict[str, Any], symbol: str) -> pd.DataFrame:
    """Return a row a rule: its number and limit for one symbol, its verdict on every symbol, its sentence."""
    at = detail["symbols"].index(symbol)
    rows = []
    for rule in RULE_ORDER:
        if rule >= len(detail["verdict"][at]):
            continue  # the record of a version that did not know the rule
        verdicts = {name: VERDICT_WORD[Verdict(detail["verdict"][i][rule])] for i, name in enumerate(detail["symbols"])}
        rows.append({
            "rule": rule_name(rule), "measured": rule_number(rule, detail["measured"][at][rule]),
            "limit": rule_number(rule, detail["limit"][at][rule]), **verdicts, "sentence": RULE_SENTENCE[rule],
        })  # fmt: skip
    return pd.DataFrame(rows)


def audit_rows(audit: pd.DataFrame) -> pd.DataFrame:
    """Return the record with changes of settings written as ``name: before → after``."""
    return audit.assign(detail=[_change_text(text) for text in audit["detail"]])


def _change_text(text: str) -> str:
    change = parsed(text)
    before, after = change.get("from"), change.get("to")
    if change and before is None and after is None:
        return "; ".join(f"{name.replace('_', ' ')} {_plain(value)}" for name, value in change.items())
    if not isinstance(before, dict) or not isinstance(after, dict):
        return text
    return "; ".join(f"{name}: {_plain(before.get(name))} → {_plain(after[name])}" for name in after)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{_plain(item)}" for item in value.values())
    return ", ".join(str(item) for item in value) if isinstance(value, list) else str(value)


def rule_name(rule: Rule) -> str:
    """Return a rule's name in plain words: ``DAILY_LOSS`` is ``Daily loss``."""
    return spoken(rule.name)


def spoken(name: str) -> str:
    """Return a rule's or limit's name as it is written in a sentence's first place."""
    return name.replace("_", " ").capitalize().replace("Cvar", "CVaR")


def rule_number(rule: Rule, value: float | None) -> str:
    """Write a rule's measured number or limit with the rule's unit."""
    if not is_known(value):
        return UNKNOWN
    unit = _RULE_UNIT[rule]
    if unit.startswith("%"):
        return percent(value) + unit.removeprefix("%")
    if unit == "state":
        return TradingState(int(value)).name.replace("_", " ").lower()
    return number(value, {"s": 1, "bars": 0}.get(unit, 4), unit)


def comparison_sentence(name: str, ours: float | None, theirs: float | None) -> str:
    """Say how the account did against holding one instrument, and what the comparison leaves out."""
    if ours is None:
        return "Too few equity points in this period to compare."
    if theirs is None:
        return f"{signed_percent(ours)} over this period. The stored candles of {name} do not reach back to its start."
    return (
        f"{signed_percent(ours)} over this period, against {signed_percent(theirs)} for holding {name} with the whole "
        "account, without fees and funding. The risk differs too: compare the falls, not only the ends."
    )

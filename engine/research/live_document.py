"""The paper on the risk of an account that trades: limits, tail, stress, drawdown, refusals, goals. Pure."""

from __future__ import annotations

from typing import Any

from engine.domain import Rule, Verdict
from engine.research.report_figures import BLUE, RED
from engine.research.report_parts import Badge, Cell, Chart, Document, Line, Section, Table
from engine.research.wording import UNKNOWN, between, known, minute, number, percent, plural, signed_percent, written

NEAR = 0.8
METHODS = {"HISTORICAL": "Historical", "STUDENT_T": "Student-t", "FILTERED": "Filtered historical"}
VERDICT_TONES = {"reached": "gain", "missed": "loss", "not enough evidence": "warn"}


def live_document(record: dict[str, Any], risk: dict[str, Any], stress: dict[str, Any]) -> Document:
    """Return the report of an account.

    Parameters
    ----------
    record : dict
        See ``engine.runtime.live_record``.
    risk : dict
        The Risk page's answer.
    stress : dict
        The newest stress replay; without one its section says so.
    """
    mode, days = record["mode"], record["days"]
    words = f"{record['market_source']} market · {number(days, 1)} days · as of {minute(record['generated_ms'])} UTC"
    badges = [Badge(mode.upper(), "loss" if mode == "live" else "warn")]
    if not all(row["enforced"] for row in risk["gauges"]):
        badges.append(Badge("a limit is switched off", "loss"))
    return Document(
        f"Risk analysis: {mode} account, {record['strategy']}", words, badges,
        [_summary(record, risk, stress), _limits(risk), _tail(risk), _exposure(risk), _stress(stress),
         _drawdown(record), _objections(risk), _targets(record), _costs(record)],
    )  # fmt: skip


def _summary(record: dict[str, Any], risk: dict[str, Any], stress: dict[str, Any]) -> Section:
    halt: dict[str, Any] = next((row for row in risk["gauges"] if row["name"] == "DRAWDOWN"), {})
    equity = record["equity"]
    words = [
        f"Equity {number(risk['equity'])} USDT, {signed_percent(equity['total_return'], 2)} since the beginning; the "
        f"deepest fall from a peak was {percent(equity['max_drawdown'], 2)}.",
        f"{percent(halt.get('left'), 2)} of the peak ({number(halt.get('left_money'))} USDT) are left until trading "
        "halts.",
    ]
    if stress["ts"] is None:
        words.append("The book has not been held against the crises yet.")
    else:
        broken = [row["title"] for row in stress["rows"] if row["modes"]["control"]["broken"]]
        words += _not_limited(stress)
        words.append(
            f"In {len(broken)} of {len(stress['rows'])} scenarios a limit would not hold even with the engine's "
            f"control reacting{': ' + ', '.join(broken) if broken else ''}."
        )
    counted = {verdict: sum(row["verdict"] == verdict for row in record["targets"]) for verdict in VERDICT_TONES}
    words.append(
        f"Of {len(record['targets'])} goals {counted['reached']} are reached, {counted['missed']} missed, and for "
        f"{counted['not enough evidence']} the record is too short to say."
    )
    return Section("summary", "In short", [*words, *record["caveats"]])


def _not_limited(stress: dict[str, Any]) -> list[str]:
    """Say which loss limits the scenarios were not held against, because they are switched off."""
    names = {"max_daily_loss": "The daily loss limit", "max_drawdown": "The drawdown limit"}
    return [
        f"{name} is switched off: no scenario was held against it."
        for key, name in names.items()
        if not known(stress["limits"][key])
    ]


def _limits(risk: dict[str, Any]) -> Section:
    rows: list[list[Cell]] = []
    for row in risk["gauges"]:
        used = row["used"]
        tone = "loss" if known(used) and used >= 1 else "warn" if known(used) and used >= NEAR else ""
        limit = _gauge(row, row["limit"])
        rows.append([
            _named(row["name"]), (percent(used, 0), tone), _gauge(row, row["measured"]),
            limit if row["at_most"] else f"at least {limit}", _gauge(row, row["left"]), number(row["left_money"]),
            row["where"] if row["enforced"] else f"{row['where']}, not enforced",
        ])  # fmt: skip
    columns = ["limit", "used", "measured", "limit", "headroom", "headroom, USDT", "where"]
    return Section("limits", "Limits", tables=[Table("", columns, rows, wide=(0, 6))])


def _gauge(row: dict[str, Any], value: Any) -> str:
    if not known(value):
        return UNKNOWN
    return {
        "fraction": lambda: percent(value, 2), "volatility": lambda: f"{percent(value, 2)} a year",
        "weight": lambda: f"{number(value, 3)} x equity",
        "s": lambda: f"{number(value, 1)} s",
    }.get(row["unit"], lambda: number(value, 4))()  # fmt: skip


def _named(name: str) -> str:
    return name.replace("_", " ").lower().replace("cvar", "CVaR").replace("kelly", "Kelly")


def _tail(risk: dict[str, Any]) -> Section:
    rows: list[list[Cell]] = [
        [METHODS[row["method"]], percent(row["level"], 1), percent(row["value_at_risk"], 2),
         percent(row["expected_shortfall"], 2), number(_money(row["expected_shortfall"], risk["equity"]))]
        for row in risk["tail"]
    ]  # fmt: skip
    n_days = risk["tail"][0]["n_days"] if risk["tail"] else 0
    words = [
        f"Loss of the next day (24 h) if the book is held as it is, from {plural(n_days, 'day')} of hourly candles. A "
        "dash: unknown, or too few days for that level."
    ]
    columns = ["method", "level", "VaR, of equity", "CVaR, of equity", "CVaR, USDT"]
    return Section("tail", "Value at risk", words, [Table("", columns, rows)])


def _money(fraction: Any, equity: Any) -> float | None:
    return fraction * equity if known(fraction) and known(equity) else None


def _exposure(risk: dict[str, Any]) -> Section:
    rows: list[list[Cell]] = [
        [row["symbol"], row["cluster"] or UNKNOWN, number(row["qty"], 6), number(row["notional"]),
         number(row["weight"], 3), number(row["stop_px"], 4), number(row["stop_loss"])]
        for row in risk["exposures"]
    ]  # fmt: skip
    totals = risk["totals"]
    if not rows:
        return Section("exposure", "Exposure", ["No open position."])
    words = [f"Net {number(totals['net'], 3)} x equity, gross {number(totals['gross'], 3)} x equity."]
    columns = ["symbol", "cluster", "quantity, base", "notional, USDT", "weight, x equity", "stop, USDT",
               "lost until the stop, USDT"]  # fmt: skip
    return Section("exposure", "Exposure", words, [Table("", columns, rows)])


def _stress(stress: dict[str, Any]) -> Section:
    if stress["ts"] is None:
        return Section(
            "stress", "Stress", ["No replay yet: make one on the Risk page or with python -m engine stress."]
        )
    rows: list[list[Cell]] = []
    good = ("hold", "gain") if any(stress["limits"].values()) else ("none on", "warn")
    for row in stress["rows"]:
        modes = row["modes"]
        control = modes["control"]
        verdict = ", ".join(control["broken"])
        rows.append([
            row["title"], *(percent(modes[mode]["loss"], 1) for mode in ("held", "stops", "control")),
            percent(control["worst_day"], 1), percent(control["drawdown"], 1),
            (verdict, "loss") if verdict else good,
        ])  # fmt: skip
    words = [
        f"Largest loss from {number(stress['equity'])} USDT, replayed {minute(stress['ts'] // 1_000_000)} UTC "
        f"({stress['trigger']}). {stress['source']}",
        *_not_limited(stress),
    ]
    columns = ["scenario", "held", "with stops", "with control", "worst day", "drawdown", "limits"]
    return Section("stress", "Stress", words, [Table("", columns, rows)])


def _drawdown(record: dict[str, Any]) -> Section:
    if len(record["drawdown"]) < 2:
        return Section("drawdown", "Drawdown", ["Too few rows of equity to draw."])
    falls = [[ts, -100.0 * value] for ts, value in record["drawdown"]]
    charts = [
        Chart("Equity", "USDT", [Line("Equity", BLUE, record["curve"])]),
        Chart("Drawdown", "%", [Line("Drawdown", RED, falls, filled=True)]),
    ]
    return Section("drawdown", "Drawdown", charts=charts)


def _objections(risk: dict[str, Any]) -> Section:
    found = risk["objections"]
    rows: list[list[Cell]] = [
        [_named(Rule[row["rule"]].name), row["symbol"], Verdict(row["verdict"]).name.lower(), str(row["count"]),
         number(row["measured"], 4), number(row["limit"], 4)]
        for row in found["rows"]
    ]  # fmt: skip
    words = [f"{plural(found['decisions'], 'decision')} on the newest day; {found['economy']} changes were too small."]
    words += [f"{row['symbol']} {row['side']}, by hand: {row['reason']}" for row in risk["refused"]]
    if not rows:
        return Section("objections", "Refused and clipped", [*words, "No rule clipped or refused anything."])
    columns = ["rule", "symbol", "verdict", "times", "measured", "limit"]
    return Section("objections", "Refused and clipped", words, [Table("", columns, rows, wide=(0, 1, 2))])


def _targets(record: dict[str, Any]) -> Section:
    kinds = {"fraction": "percent", "ratio": "ratio", "ms": "ratio"}
    rows: list[list[Cell]] = [
        [row["name"], written(row["goal"], kinds[row["unit"]]), written(row["measured"], kinds[row["unit"]]),
         between(row["low"], row["high"], kinds[row["unit"]]), (row["verdict"], VERDICT_TONES[row["verdict"]]),
         row["why"]]
        for row in record["targets"]
    ]  # fmt: skip
    columns = ["goal", "wanted", "measured", "95 % interval", "verdict", "evidence"]
    return Section("targets", "Goals", tables=[Table("", columns, rows, wide=(0, 5))])


def _costs(record: dict[str, Any]) -> Section:
    costs = record["costs"]
    words = [
        f"Fees {number(costs['fees'])}, slippage against the decision price {number(costs['slippage'])}, funding "
        f"{number(costs['funding'])} USDT; together {number(costs['cost_bps'], 1)} bp of {number(costs['traded'])} "
        f"USDT traded in {plural(costs['n_fills'], 'fill')}, {percent(costs['maker_share'], 0)} as maker."
    ]
    rows: list[list[Cell]] = [
        [row["symbol"], str(row["n_fills"]), number(row["traded"]), number(row["realized"]), number(row["fees"]),
         number(row["unrealized"]), (number(row["net"]), _tone(row["net"]))]
        for row in record["per_symbol"]
    ]  # fmt: skip
    columns = ["symbol", "fills", "traded, USDT", "realised, USDT", "fees, USDT", "open, USDT", "net, USDT"]
    return Section("costs", "Costs and symbols", words, [Table("", columns, rows)] if rows else [])


def _tone(value: Any) -> str:
    return "" if not known(value) or value == 0 else "gain" if value > 0 else "loss"

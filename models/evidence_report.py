"""The evidence as tables: plain text for a terminal, and a section of docs/results.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from models.evidence_words import (
    BARRIERS_SAID,
    VOLATILITY_SAID,
    cost_sentence,
    goal_sentence,
    number,
    percent,
    plain_words,
)

BEGIN, END = "<!-- models: begin -->", "<!-- models: end -->"
SHORT_HORIZONS = (1, 4, 24)

Rows = tuple[list[str], list[list[str]]]
"""Head and rows of a table, which a document and a terminal draw in their own ways."""


def _ranged(figure: dict[str, Any], form: Any, digits: int) -> str:
    text = str(form(figure["value"], digits))
    if figure["low"] is not None:
        text += f" ({form(figure['low'], digits)} to {form(figure['high'], digits)})"
    if figure["spread"] is not None:
        text += f" ± {form(figure['spread'], digits)}"
    return text


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *("| " + " | ".join(row) + " |" for row in rows)]
    return "\n".join(lines)


def aligned(head: list[str], rows: list[list[str]]) -> str:
    """Return a table for a terminal."""
    widths = [max(len(row[k]) for row in [head, *rows]) for k in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in [head, *rows]
    )


def summary_rows(result: dict[str, Any]) -> Rows:
    """Return head and rows of the table that has every learner once."""
    horizons = result["horizons"]
    at = [horizons.index(horizon) for horizon in SHORT_HORIZONS]
    head = ["model", "seeds", *(f"right at {horizon}" for horizon in SHORT_HORIZONS), "right when confident, at 1",
            "IC at 1", "80 % holds", "as issued", "net Sharpe", "turnover a year", "weight"]  # fmt: skip
    rows = []
    for row in result["models"]:
        if "failed" in row:
            rows.append([row["name"], "0", *["failed"] * (len(head) - 3), "0.0 %"])
            continue
        trading = row["trading"]
        cells = [row["name"], str(row["seeds"])]
        figures = row.get("figures")
        if figures is None:
            cells += ["gives positions", *[""] * 6]
        else:
            cells += [percent(figures["accuracy"][h]["value"]) for h in at]
            right, share = figures["accuracy_at_20"][0], figures["share_at_20"][0]
            cells.append(f"{percent(right['value'])} of {percent(share['value'], 0)}")
            cells.append(number(figures["ic"][0]["value"], 3))
            cells += [percent(_mean(figures[name]), 0) for name in ("inside_80", "issued_80")]
        weight = row.get("weight")
        cells += [number(trading["sharpe"]["value"]), number(trading["turnover"], 0)]
        cells.append("" if weight is None else percent(_mean_of(weight["latest"]), 0))
        rows.append(cells)
    for name, trading in [("trend, the bar", result["trend"]), *((row["name"], row) for row in result["blends"])]:
        cells = [name, "1" if name.endswith("bar") else "", *[""] * 7]
        rows.append([*cells, number(trading["sharpe"]["value"]), number(trading["turnover"], 0), ""])
    return head, rows


def _mean(figures: list[dict[str, Any]]) -> float | None:
    return _mean_of([figure["value"] for figure in figures])


def _mean_of(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _by_horizon(result: dict[str, Any], name: str, form: Any, digits: int) -> Rows:
    head = ["model", *(f"{horizon} bars" for horizon in result["horizons"])]
    rows = [
        [row["name"], *(_ranged(figure, form, digits) for figure in row["figures"][name])]
        for row in result["models"]
        if "figures" in row
    ]
    return head, rows


def _confident(result: dict[str, Any], share: int) -> Rows:
    head = ["model", *(f"{horizon} bars" for horizon in result["horizons"])]
    rows = []
    for row in result["models"]:
        if "figures" not in row:
            continue
        pairs = zip(row["figures"][f"accuracy_at_{share}"], row["figures"][f"share_at_{share}"], strict=True)
        cells = [f"{_ranged(right, percent, 1)}, {percent(chosen['value'], 0)} of bars" for right, chosen in pairs]
        rows.append([row["name"], *cells])
    return head, rows


def _coverage(result: dict[str, Any]) -> Rows:
    head = ["model", *(f"{level} %, {how}" for level in (50, 80, 90, 95) for how in ("as forecast", "as issued"))]
    rows = [
        [row["name"], *(percent(_mean(row["figures"][f"{how}_{level}"])) for level in (50, 80, 90, 95)
                        for how in ("inside", "issued"))]
        for row in result["models"]
        if "figures" in row
    ]  # fmt: skip
    return head, rows


def _volatility(result: dict[str, Any]) -> Rows:
    head = ["model", "loss", "EWMA's minus the model's", "rank correlation", "came / implied"]
    return head, _single(
        result, (("volatility_loss", 3), ("volatility_gain", 4), ("volatility_ic", 3), ("volatility_ratio", 2)), number
    )


def _barriers(result: dict[str, Any]) -> Rows:
    head = ["model", "called barrier came first", "minus the base rate's", "a barrier came in time"]
    return head, _single(result, (("barrier_right", 1), ("barrier_gain", 1), ("barrier_decided", 1)), percent)


def _single(result: dict[str, Any], columns: tuple[tuple[str, int], ...], form: Any) -> list[list[str]]:
    """Return a row for each forecaster with figures that are of the longest horizon alone."""
    return [
        [row["name"], *(_ranged(row["figures"][name][0], form, digits) for name, digits in columns)]
        for row in result["models"]
        if "figures" in row
    ]


def _earned(result: dict[str, Any]) -> Rows:
    head = ["rule", "net Sharpe ratio", "largest drawdown", "turnover a year", "costs a year", "mean gross weight"]
    listed = [(row["name"], row["trading"]) for row in result["models"] if "trading" in row]
    listed += [("trend, the bar", result["trend"]), *((row["name"], row) for row in result["blends"])]
    rows = [
        [name, _ranged(one["sharpe"], number, 2), percent(one["drawdown"]), number(one["turnover"], 0),
         percent(one["costs"]), percent(one["exposure"])]
        for name, one in listed
    ]  # fmt: skip
    return head, rows


def _shares(result: dict[str, Any]) -> Rows:
    head = ["rule", "share of a decision", "excess a year", "days"]
    rows = [
        [row["name"], percent(row["earned"]["share"], 0), _ranged(row["earned"]["excess"], percent, 1),
         str(row["earned"]["days"])]
        for row in result["models"]
        if "earned" in row
    ]  # fmt: skip
    return head, rows


def _share_sentence(result: dict[str, Any]) -> str:
    for row in result["blends"]:
        if "share" in row:
            share = row["share"]
            given = sum(value > 0.0 for value in share["by_month"])
            return (
                f"By what was known before each month, the ensemble had a share above zero in {given} of "
                f"{len(share['by_month'])} months (mean {percent(share['mean'])}, at most {percent(share['most'])}, "
                f"in the last month {percent(share['latest'])}; means over seeds)."
            )
    return ""


def _shares_section(result: dict[str, Any]) -> list[str]:
    return [
        "### What was earned of a decision",
        "Excess: the intercept of the daily returns on those of holding every symbol and of the trend rule, in "
        "brackets with Newey and West's error. The share is what `models/earned.py` makes of it, over the whole "
        "walk; nothing that is not surely above zero has one. The row with the share by evidence, above, gives the "
        "ensemble in each month only what the days before it had earned. All are means over seeds, so that a single "
        "seed can give a share.",
        _share_sentence(result),
        table(*_shares(result)),
    ]


def _weights(result: dict[str, Any]) -> Rows:
    head = ["model", *(f"{horizon} bars" for horizon in result["horizons"])]
    rows = [
        [row["name"], *(f"{percent(mean, 0)}, {percent(latest, 0)}" for mean, latest in
                        zip(row["weight"]["mean"], row["weight"]["latest"], strict=True))]
        for row in result["models"]
        if "weight" in row
    ]  # fmt: skip
    return head, rows


def _learners(result: dict[str, Any]) -> str:
    head = ["model", "what it is", "seeds", "fitted", "processor seconds a month"]
    rows = []
    for row in result["models"]:
        every = row.get("retrain_months")
        rows.append([
            row["name"], row["said"], "failed" if "failed" in row else str(row["seeds"]),
            {None: "", 1: "every month"}.get(every, f"every {every} months"),
            number(row["seconds_a_month"], 1) if "seconds_a_month" in row else "",
        ])  # fmt: skip
    return table(head, rows)


def _agent_weights(result: dict[str, Any]) -> str:
    rows = [
        [row["name"], *(percent(row["member_weights"]["mean"][name], 0) for name in row["member_weights"]["mean"])]
        for row in result["models"]
        if "member_weights" in row
    ]
    names = next((list(row["member_weights"]["mean"]) for row in result["models"] if "member_weights" in row), [])
    return table(["policy", *names], rows) if rows else ""


def _forecast_sections(result: dict[str, Any]) -> list[str]:
    """Return what forecasts were like, a heading and a table for each figure."""
    return [
        "### Direction",
        table(*_by_horizon(result, "accuracy", percent, 1)),
        "### Direction where the model is confident",
        "The most confident 20 %, by a threshold taken from the 30 days before:",
        table(*_confident(result, 20)),
        "The most confident 10 %:",
        table(*_confident(result, 10)),
        "### Log-loss against the base rate",
        "Base rate's minus the model's, in thousandths of a nat; above zero is better than the base rate.",
        table(*_by_horizon(_thousandths(result, "log_loss_gain"), "log_loss_gain", number, 2)),
        "### Information coefficient",
        "Spearman's rank correlation of median and outcome.",
        table(*_by_horizon(result, "ic", number, 3)),
        "### Interval coverage",
        "Share of outcomes inside the central intervals, mean over horizons: as the model forecast them, and as issued "
        "after adaptive conformal calibration.",
        table(*_coverage(result)),
        "### How far prices move",
        VOLATILITY_SAID,
        table(*_volatility(result)),
        "### Which barrier comes first",
        BARRIERS_SAID,
        table(*_barriers(result)),
    ]


def markdown(result: dict[str, Any]) -> str:
    """Return the section of docs/results.md, markers included."""
    config = result["config"]
    failed = [f"- {row['name']} failed: {row['failed']}" for row in result["models"] if "failed" in row]
    canaries = ", ".join(f"{name} {verdict}" for name, verdict in result.get("canaries", {}).items()) or "not run"
    parts = [
        BEGIN,
        "## Models",
        f"Written by `python scripts/evaluate_models.py --data DATA --from {config['from']} --to {config['to']}"
        f"{' --funding FUNDING' if config['funding'] else ''} --seeds {config['seeds']} --write`. "
        f"Walk-forward over {config['months']} months of {len(config['symbols'])} symbols "
        f"({', '.join(config['symbols'])}): each month is forecast by models fitted to what was known before it, "
        f"with {config['seeds']} seeds where something is random, fewer where the table says so. In brackets: 95 % "
        "intervals from redrawn blocks of 7 days, symbols together. After ±: the standard deviation over seeds. Every "
        "model that was tried is listed, the failed and the useless with weight zero.",
        *failed,
        goal_sentence(result["goal"]),
        plain_words(result),
        f"Canaries: {canaries}.",
        cost_sentence(result) if "cpu" in result else "",
        _learners(result),
        "### Net of costs",
        "The position rule of `models/position.py` on the intervals as issued, sized and gated as the trend sleeve "
        f"is, filled at the next open; {config['costs']}. The bar is the trend rule itself. With several seeds the "
        "Sharpe ratio is the mean of the seeds' ratios, and its interval is of that mean.",
        table(*_earned(result)),
        *_shares_section(result),
        *_forecast_sections(result),
        "### Weights in the ensemble",
        "Mean over the months, then the last month.",
        table(*_weights(result)),
        _agent_weights(result),
        END,
    ]
    return "\n\n".join(part for part in parts if part)


def printed(result: dict[str, Any], weighed: str = "mean over the months, then the last month") -> str:
    """Return all tables of the evidence for a terminal: the summary, then every figure at every horizon.

    ``weighed`` says of when the two weights of a member are.
    """
    parts = [aligned(*summary_rows(result))]
    for title, rows in (
        ("Net of costs", _earned(result)),
        ("Earned of a decision", _shares(result)),
        ("Right direction", _by_horizon(result, "accuracy", percent, 1)),
        ("Right direction, the most confident 20 %", _confident(result, 20)),
        ("Right direction, the most confident 10 %", _confident(result, 10)),
        ("Log-loss, base rate's minus the model's, thousandths of a nat",
         _by_horizon(_thousandths(result, "log_loss_gain"), "log_loss_gain", number, 2)),
        ("Information coefficient", _by_horizon(result, "ic", number, 3)),
        ("Share of outcomes inside the intervals, mean over horizons", _coverage(result)),
        ("Volatility over 24 bars: quasi-likelihood loss against the EWMA's, correlation, ratio", _volatility(result)),
        ("Barriers at one sigma within 24 bars: the most confident 20 % of calls", _barriers(result)),
        (f"Weight in the ensemble: {weighed}", _weights(result)),
    ):  # fmt: skip
        parts.append(f"{title}\n{aligned(*rows)}")
    said = "In brackets: 95 % intervals from redrawn blocks of days. After ±: the standard deviation over seeds."
    took = [cost_sentence(result)] if "cpu" in result else []
    return "\n\n".join([*parts, said, goal_sentence(result["goal"]), *took])


def _thousandths(result: dict[str, Any], name: str) -> dict[str, Any]:
    def scaled(figure: dict[str, Any]) -> dict[str, Any]:
        return {key: None if value is None else 1000.0 * value for key, value in figure.items()}

    models = [
        {**row, "figures": {**row["figures"], name: [scaled(figure) for figure in row["figures"][name]]}}
        if "figures" in row
        else row
        for row in result["models"]
    ]
    return {**result, "models": models}


def section_of(path: Path) -> str:
    """Return the section that a document holds, markers included; empty where there is none."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if BEGIN not in text or END not in text:
        return ""
    return BEGIN + text.split(BEGIN, 1)[1].split(END, 1)[0] + END


def write_section(result: dict[str, Any], path: Path) -> None:
    """Put the section into a document, in place of the one that is there, else at its end."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    present, section = section_of(path), markdown(result)
    written = text.replace(present, section) if present else text.rstrip() + "\n\n" + section + "\n"
    path.write_text(written, encoding="utf-8")

"""The reference portfolio as tables: plain text for a terminal, and a section of docs/results.md."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.strategies.portfolio import PortfolioParams

BEGIN, END = "<!-- reference: begin -->", "<!-- reference: end -->"
HEAD = (
    "", "growth a year", "net Sharpe ratio (95 %)", "largest drawdown", "turnover a year", "costs a year",
    "Sharpe ratio in research", "held out: Sharpe ratio", "held out: drawdown", "runs live",
)  # fmt: skip


def percent(value: float | None, digits: int = 1) -> str:
    """Return a fraction as percent, "-" where there is none."""
    return "-" if value is None else f"{100.0 * value:.{digits}f} %"


def number(value: float | None, digits: int = 2) -> str:
    """Return a number, "-" where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def _table(head: tuple[str, ...], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *("| " + " | ".join(row) + " |" for row in rows)]
    return "\n".join(lines)


def _aligned(head: tuple[str, ...], rows: list[list[str]]) -> str:
    widths = [max(len(row[k]) for row in [list(head), *rows]) for k in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
                     for row in [list(head), *rows])  # fmt: skip


def _day(ts_ms: int) -> str:
    return f"{datetime.fromtimestamp(ts_ms / 1000, UTC):%Y-%m-%d}"


def _yes(said: bool) -> str:
    return "yes" if said else "no"


def table_rows(result: dict[str, Any]) -> list[list[str]]:
    """Return the lines of the main table as text, in the order of ``HEAD``."""
    found = []
    for row in result["rows"]:
        if row.get("ruined"):
            found.append([row["name"], "lost the account", *["-"] * (len(HEAD) - 3), _yes(row["runs_live"])])
            continue
        bounds = "" if row["low"] is None else f" ({row['low']:.2f} to {row['high']:.2f})"
        found.append([
            row["name"], percent(row["cagr"]), number(row["sharpe"]) + bounds, percent(row["max_drawdown"]),
            number(row["turnover"], 0), percent(row["costs_a_year"]), number(row["research_sharpe"]),
            number(row["held_out_sharpe"]), percent(row["held_out_drawdown"]), _yes(row["runs_live"]),
        ])  # fmt: skip
    return found


def goal_lines(result: dict[str, Any]) -> list[str]:
    """Return a sentence for each goal."""
    lines = []
    for goal in result["goals"]:
        form = percent if "drawdown" in goal["goal"] else number
        said = "unknown" if goal["passes"] is None else "pass" if goal["passes"] else "FAIL"
        lines.append(f"{said}: {goal['of']}, {goal['goal']}: {form(goal['found'])}")
    return lines


def _sleeve_rows(result: dict[str, Any]) -> list[list[str]]:
    return [
        [
            row["name"], number(row["sharpe"]), number(row["sharpe_before"]), number(row["sharpe_after"]),
            percent(row["return_a_year"]), percent(row["volatility"]), percent(row["contribution_a_year"]),
            number(row["mean_share"]), number(row["last_share"]),
        ]
        for row in result["evidence"]["sleeves"]
    ]  # fmt: skip


def _yearly_shares(result: dict[str, Any]) -> tuple[tuple[str, ...], list[list[str]]]:
    shares = result["evidence"]["shares"]
    names = [row["name"] for row in result["evidence"]["sleeves"]]
    years = [datetime.fromtimestamp(ts / 1000, UTC).year for ts in shares["ts_ms"]]
    rows = []
    for year in sorted(set(years)):
        months = [k for k, each in enumerate(years) if each == year]
        rows.append([str(year), *(number(sum(shares[name][k] for k in months) / len(months)) for name in names)])
    return ("year", *names), rows


def _learning_line(result: dict[str, Any]) -> str:
    found = result["evidence"]["learning"]
    if found is None:
        return "Adaptive sharing has learned nothing yet."
    return (
        f"Adaptive sharing over {found['days']:,} days: loss {found['learner_loss']:.1f}, of the best fixed sleeve "
        f"({found['best']}) {found['best_loss']:.1f}, regret {found['regret']:.1f}; guaranteed at most "
        f"{found['bound']:.1f}. One unit of loss is a day at six daily standard deviations."
    )


def panel_lines(result: dict[str, Any]) -> list[str]:
    """Return the honesty panel as sentences."""
    panel = result["panel"]
    deflated, pbo, record = panel["deflated_sharpe"], panel["pbo"], panel["min_track_record"]
    risk = panel["drawdown"] or {}
    folds = ", ".join(number(fold["sharpe"]) for fold in (panel["walk_forward"] or {}).get("folds", ()))
    lines = [
        f"Trials counted: {result['trials']}, of which {result['tried']} are what was looked at before these sleeves "
        f"and the settings of trend were chosen; the best of so many would show "
        f"{number(deflated['expected_max_sharpe'])} by luck alone.",
        f"Deflated Sharpe ratio {number(deflated['value'])}, probabilistic {number(panel['psr'])}; probability of "
        f"overfitting {percent(pbo['value'])}.",
        f"Length of record: {record['have_days']:,.0f} days; needed: {number(record['needed_days'], 0)}.",
        f"Sharpe ratio in eight consecutive windows of time: {folds}.",
    ]
    if risk:
        falls = " / ".join(percent(risk[share]) for share in ("p50", "p95", "p99"))
        lines.append(f"Drawdown of runs redrawn from its own days, 50 / 95 / 99 %: {falls}; above 15 % in "
                     f"{percent(risk['p_over_15'])}.")  # fmt: skip
    held = " of the perpetual, funding charged" if result["funding"] else ""
    for row in (*(panel["stress"] or ()), *(panel["comparison"] or ())):
        name = row["name"] + held * row["name"].endswith(" hold")
        lines.append(f"{name}: growth {percent(row['cagr'])}, Sharpe ratio {number(row['sharpe'])}, drawdown "
                     f"{percent(row['max_drawdown'])}.")  # fmt: skip
    lines.append("Canaries: " + ", ".join(f"{name} {verdict}" for name, verdict in result["canaries"].items()) + ".")
    lines += [f"Doubt: {sentence}" for sentence in panel["critique"]]
    return lines + [f"Speaks against real money: {sentence}" for sentence in panel["blockers"]]


def _crisis_rows(result: dict[str, Any]) -> list[list[str]]:
    return [
        [row["crisis"], f"{row['begin']} to {row['end']}", percent(row["tail"], 2), percent(row["portfolio"]),
         percent(row["trend"]), percent(row["btc"])]
        for row in result["crises"]
    ]  # fmt: skip


def _tail_line(result: dict[str, Any]) -> str:
    tail = result["tail"]
    years = ", ".join(f"{year} {percent(value, 2)}" for year, value in tail["by_year"].items())
    word = "earned" if tail["a_year"] >= 0.0 else "cost"
    return (
        f"The tail hedge {word} {percent(abs(tail['a_year']), 2)} of equity a year, net of its costs, and moved in "
        f"{percent(tail['active_share'], 0)} of the bars. By year: {years}."
    )


def _what(result: dict[str, Any]) -> str:
    funded = "no funding: carry and pairs sleep"
    if result["funding"]:
        share = (result["panel"].get("funding") or {}).get("unknown_share", 0.0)
        funded = f"funding charged where it is known, which it is not for {percent(share)} of what was held"
    pairs = f"{len(result['pairs'])} pairs of spot and perpetual" if result["pairs"] else "no pairs"
    return (
        f"{len(result['symbols'])} symbols ({', '.join(result['symbols'])}), {pairs}, {funded}; "
        f"{_day(result['first_ts_ms'])} to {_day(result['last_ts_ms'])}, {result['bars']:,} bars of "
        f"{result['interval_s']} s; research until {_day(result['split_ms'])}."
    )


OPTIMISER_HEAD = (
    "rule",
    "net Sharpe ratio",
    "growth a year",
    "volatility",
    "drawdown",
    "turnover a year",
    "costs a year",
)
WAY_HEAD = (
    "sharing", "net Sharpe ratio in research (95 %)", "growth a year", "drawdown", "shown to be better",
)  # fmt: skip
CRISIS_HEAD = ("crisis", "days", "tail hedge", "portfolio", "trend alone", "BTC")
SLEEVE_HEAD = (
    "sleeve", "net Sharpe ratio", "in research", "held out", "return a year", "volatility", "contributed a year",
    "mean multiplier", "last",
)  # fmt: skip


def _optimiser_rows(result: dict[str, Any]) -> list[list[str]]:
    found = result["optimisers"]
    return [
        [row["name"], number(row["sharpe"]), percent(row["cagr"]), percent(row["volatility"]),
         percent(row["max_drawdown"]), number(row["turnover"], 1), percent(row["costs_a_year"], 2)]
        for row in (found["rows"] if found else ())
    ]  # fmt: skip


def _optimiser_line(result: dict[str, Any]) -> str:
    found = result["optimisers"]
    if found is None:
        return f"No comparison of optimisers: {result['why_no_optimisers']}."
    better = "is shown to be better" if found["beats_control"] else "is not shown to be better"
    beside = _sharing_line(found["learned"])
    return (
        f"Over the daily net returns of {', '.join(found['names'])}; chosen on {found['train_days']} days, held for "
        f"the next {found['test_days']}, {found['folds']} times over. The best by Sharpe ratio, {found['best']}, "
        f"{better} than {found['control']} at equal volatility (95 %, the number tried counted). {beside}"
    )


def _way_rows(result: dict[str, Any]) -> list[list[str]]:
    found = []
    for row in result["ways"]:
        bounds = "" if row["low"] is None else f" ({row['low']:.2f} to {row['high']:.2f})"
        better = "the default" if row["beats_default"] is None else _yes(row["beats_default"])
        found.append([
            row["sharing"], number(row["sharpe"]) + bounds, percent(row["cagr"]), percent(row["max_drawdown"]), better
        ])  # fmt: skip
    return found


def _way_line(result: dict[str, Any]) -> str:
    found = result["sharing"]
    if found["rule"] is None:
        return f"{found['days']} days are too few for a plan of any optimiser."
    used = ", then ".join(f"{each['rule']} from {_day(each['day'] * 86_400_000)}" for each in found["changes"])
    ahead = ", ".join(f"{row['rule']} {number(row['errors'], 1)}" for row in found["record"])
    return (
        f"The whole portfolio through the gate, on days before the end of research only; each is a trial that is "
        f"counted. *evidence* used {used}. At the end of research the optimisers were ahead of equal weight, out of "
        f"sample, by so many standard errors: {ahead}; more than {found['bar']:g} are asked for."
    )


def _sharing_line(learned: dict[str, Any]) -> str:
    names, shown = ", ".join(learned["names"]), learned["adaptive_beats_equal"]
    if shown is None:
        return "Fewer than two of them are shared out by what they earned, so that sharing cannot be compared."
    return (
        f"The last two rows hold only what the engine shares out by what it earned ({names}), so they stand beside "
        f"each other and not beside the rest: there adaptive sharing {'is' if shown else 'is not'} shown to be better "
        "than equal weight at equal volatility (95 %). Shifting between sleeves costs nothing in these two."
    )


def terminal(result: dict[str, Any]) -> str:
    """Return everything for a terminal."""
    head, shares = _yearly_shares(result)
    return "\n\n".join([
        _what(result), _aligned(HEAD, table_rows(result)), "\n".join(goal_lines(result)),
        _aligned(SLEEVE_HEAD, _sleeve_rows(result)), _aligned(head, shares), _learning_line(result),
        _aligned(CRISIS_HEAD, _crisis_rows(result)), _tail_line(result),
        _aligned(OPTIMISER_HEAD, _optimiser_rows(result)), _optimiser_line(result),
        _aligned(WAY_HEAD, _way_rows(result)), _way_line(result), "\n".join(panel_lines(result)),
    ])  # fmt: skip


def markdown(result: dict[str, Any]) -> str:
    """Return the section of docs/results.md, markers included."""
    head, shares = _yearly_shares(result)
    own = PortfolioParams()
    return "\n\n".join([
        BEGIN, "## Reference portfolio",
        "Written by `python scripts/reference_portfolio.py --data DATA --write`. " + _what(result),
        "All costs of the backtest's defaults: 4 bp fee, a spread that widens with volatility, square-root impact, "
        "funding where known, liquidation. The rows marked \"runs live: no\" hold spot too, which the "
        "engine does not trade: they are research. Bitcoin and Ether of the table are held as spot and pay no funding; "
        "those of the panel below are held as perpetuals and pay it where it is known. Daily returns; intervals from "
        "redrawn blocks of days. "
        f"Default sleeves: {', '.join(own.sleeves)}; the models have no past in a backtest, so they sleep. See "
        "[portfolio.md](portfolio.md).",
        _table(HEAD, table_rows(result)), "\n".join(f"- {line}" for line in goal_lines(result)),
        "### What each sleeve earned and was given",
        "Of its own book, net of funding and of 6 bp of what it trades; the multiplier is what its book was scaled by.",
        _table(SLEEVE_HEAD, _sleeve_rows(result)), "Mean multiplier by year:", _table(head, shares),
        _learning_line(result), "### The tail hedge", _table(CRISIS_HEAD, _crisis_rows(result)), _tail_line(result),
        "### Optimisers over the sleeves", _table(OPTIMISER_HEAD, _optimiser_rows(result)), _optimiser_line(result),
        "### Ways of sharing", _table(WAY_HEAD, _way_rows(result)), _way_line(result),
        "### Honesty panel of the portfolio", "\n".join(f"- {line}" for line in panel_lines(result)), END,
    ])  # fmt: skip


def section_of(path: Path) -> str:
    """Return the section as it stands in a file, markers included; empty without one."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    begin, end = text.find(BEGIN), text.find(END)
    return text[begin : end + len(END)] if 0 <= begin < end else ""


def write_section(section: str, path: Path) -> None:
    """Put the section into a file: in the place of the one before it, or at the end. Everything else stays."""
    text = path.read_text(encoding="utf-8") if path.is_file() else "# Results\n"
    before = section_of(path)
    text = text.replace(before, section) if before else text.rstrip() + "\n\n" + section + "\n"
    path.write_text(text, encoding="utf-8")

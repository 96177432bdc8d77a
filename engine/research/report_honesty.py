"""The honesty panel in plain words: how much of a result may be luck, how bad it might have been, what to doubt."""

from __future__ import annotations

from typing import Any

from engine.research import wording
from engine.research.critique import UNTESTED
from engine.research.report_parts import Badge, Cell, Section, Table, missing
from engine.research.wording import UNKNOWN, known, number, percent, probability, signed_percent

ESTABLISHED = 0.95  # probability from which skill counts as shown
OVERFIT = 0.5
BASE_ROW = "as run"  # the row of a sensitivity table that changes nothing
CANARY_MEANING = {
    "lookahead": "Later bars are cut off: what was decided before must not change.",
    "future_shift": "Later prices are changed: what was decided before must not change.",
    "shuffled": "On shuffled returns, where nothing can be foretold, the edge must be gone.",
    "outside_knowledge": "On made-up prices it must not trade as if it knew the real ones.",
    "survivorship": "On made-up prices it must not pick the coins that did best in the end.",
    "fills": "Every fill and the equity must come out again from the bars.",
    "repaint": "What signals says of earlier bars must stay the same once later bars are known.",
}
_HONEST: tuple[tuple[str, str, str], ...] = (
    ("total_return", "Return", "signed_percent"), ("cagr", "Growth a year", "signed_percent"),
    ("sharpe", "Sharpe, per year", "ratio"), ("max_drawdown", "Drawdown", "percent"),
    ("final_equity", "Final equity, USDT", "ratio"),
)  # fmt: skip


def badges(result: dict[str, Any]) -> list[Badge]:
    """Return what must be seen first: canaries, certificate, and whether anything speaks against trading the result."""
    found = []
    for name, verdict in (result.get("canaries") or {}).items():
        word, tone = {"pass": ("pass", "gain"), "fail": ("FAIL", "loss")}.get(verdict, (str(verdict), "warn"))
        found.append(Badge(f"{name.replace('_', ' ')}: {word}", tone, CANARY_MEANING.get(name, "")))
    if not found:
        found.append(Badge("no canary was run", "warn", "Look-ahead is unchecked."))
    certificate = result.get("certificate")
    if isinstance(certificate, dict):
        word, tone = {"pass": ("parity certificate: pass", "gain"), "fail": ("parity certificate: FAIL", "loss")}.get(
            str(certificate.get("status")), ("no parity certificate", "warn")
        )
        found.append(Badge(word, tone, "Backtest, paper and live path decided the same on one tape."))
    honesty = result.get("honesty")
    if isinstance(honesty, dict) and "promotable" in honesty:
        found.append(_promotion(honesty))
    return found


def _promotion(honesty: dict[str, Any]) -> Badge:
    """Return whether the capital ladder would refuse the result, or only reasons speak against it."""
    reasons = honesty.get("blockers") or []
    if honesty["promotable"]:
        return Badge("may be promoted", "gain", "The capital ladder has more conditions; they are on the Health page.")
    if honesty.get("barred", reasons):
        return Badge("not to be promoted", "loss", "The capital ladder refuses it: a canary or the source.")
    word = f"{len(reasons)} reason{'s' if len(reasons) != 1 else ''} against real money"
    return Badge(word, "warn", "The capital ladder does not enforce them: they are for a person to weigh.")


def summary(result: dict[str, Any]) -> Section:
    """Return the verdict in a few sentences, the worst first."""
    failed = [name.replace("_", " ") for name, verdict in (result.get("canaries") or {}).items() if verdict == "fail"]
    honesty, words = result.get("honesty") or {}, []
    if failed:
        words.append(f"Do not believe this result: {', '.join(failed)} failed.")
    open_ones = [name.replace("_", " ") for name, word in (result.get("canaries") or {}).items() if word == UNTESTED]
    if open_ones:
        words.append(f"Not tested, so unknown: {', '.join(open_ones)}.")
    outside = result.get("out_of_sample") or {}
    late = outside.get("metrics", outside)
    if known(late.get("sharpe")) or known(late.get("total_return")):
        words.append(
            f"Out of sample, on the last part of the data, it returned {signed_percent(late.get('total_return'))} with "
            f"a Sharpe ratio of {number(late.get('sharpe'))} a year; drawdown {percent(late.get('max_drawdown'))}."
        )
    words.append(luck_sentence(result))
    drawdown = honesty.get("drawdown") or {}
    if known(drawdown.get("p95")):
        words.append(
            "Redrawn from its own days, one time in twenty the drawdown would have been "
            f"{percent(drawdown['p95'])} or more; {percent(drawdown.get('p_over_15'), 0)} of the redraws pass 15 %."
        )
    whole = (result.get("metrics") or {}).get("sharpe")
    earned = known(whole) and whole > 0  # only what was there can be lost
    worse = [row for row in honesty.get("stress") or [] if earned and known(row.get("sharpe")) and row["sharpe"] <= 0]
    words += [f"Nothing is left of it with {row['name']}: Sharpe {number(row['sharpe'])}." for row in worse]
    return Section("summary", "In short", words)


def luck_sentence(result: dict[str, Any]) -> str:
    """Say how far trials explain the result."""
    honesty, metrics = result.get("honesty") or {}, result.get("metrics") or {}
    deflated = honesty.get("deflated_sharpe") or {}
    value = deflated.get("value", metrics.get("deflated_sharpe"))
    trials = deflated.get("trials", result.get("trials"))
    counted = wording.plural(int(trials), "trial") if known(trials) else "An unknown number of trials"
    if not known(value):
        return f"{counted} on this data; there is too little evidence for a deflated Sharpe ratio."
    luck_of = "the luck of the best of them" if known(trials) and trials > 1 else "luck"
    told = f"{counted} on this data. The probability that the whole run's Sharpe ratio is more than {luck_of} is "
    if value < ESTABLISHED:
        return f"{told}{probability(value)}; {percent(ESTABLISHED, 0)} would be needed: skill is not shown."
    outside = result.get("out_of_sample") or {}
    late = outside.get("metrics", outside).get("sharpe")
    if known(late) and late <= 0:
        return f"{told}{probability(value)}, but out of sample nothing is left of it: skill is not shown."
    return f"{told}{probability(value)}, above the {percent(ESTABLISHED, 0)} that are asked for."


def luck(result: dict[str, Any]) -> Section:
    """Return what tells skill from selection."""
    honesty = result.get("honesty")
    if not isinstance(honesty, dict):
        section = missing("luck", "Skill or luck")
        return section._replace(words=[luck_sentence(result), *section.words])
    deflated, pbo, record = (honesty.get(name) or {} for name in ("deflated_sharpe", "pbo", "min_track_record"))
    value = deflated.get("value")
    rows: list[list[Cell]] = [
        ["Trials on this data", number(deflated.get("trials"), 0), "Counted in a ledger: manual runs and sweeps alike"],
        ["Probability that Sharpe is above zero", _judged(honesty.get("psr"), ESTABLISHED, above=True),
         "Given length, skew and fat tails (probabilistic Sharpe ratio)"],
        ["Probability that it is above the best of luck", _judged(value, ESTABLISHED, above=True),
         "Deflated Sharpe ratio: the same, against what the best of so many trials shows without skill"],
        ["Sharpe that luck alone would show, per year", number(deflated.get("expected_max_sharpe")),
         "Expected best of the trials without any skill"],
        ["Probability of overfitting", _judged(pbo.get("value"), OVERFIT, above=False),
         str(pbo.get("why") or "How often the best in one half of time is below the middle in the other")],
        ["Record needed, days", number(record.get("needed_days"), 0),
         f"To tell this Sharpe ratio from zero; the run has {number(record.get('have_days'), 0)}"
         + ("" if record.get("enough") else ": not enough")],
    ]  # fmt: skip
    return Section("luck", "Skill or luck", [luck_sentence(result)],
                   [Table("", ["Question", "Answer", "What it means"], rows, "", (0, 2))])  # fmt: skip


def _judged(value: Any, limit: float, *, above: bool) -> Cell:
    if not known(value):
        return UNKNOWN
    good = value >= limit if above else value <= limit
    return (probability(value), "gain" if good else "loss")


def drawdown(result: dict[str, Any]) -> Section:
    """Return how deep the drawdown might have been."""
    found = (result.get("honesty") or {}).get("drawdown")
    if not found:
        return missing("drawdown", "How deep it might have fallen")
    happened = (result.get("metrics") or {}).get("max_drawdown")
    rows: list[list[Cell]] = [
        ["What happened", percent(happened)], ["Median of the redraws", percent(found.get("p50"))],
        ["One time in twenty, at least", percent(found.get("p95"))],
        ["One time in a hundred, at least", percent(found.get("p99"))],
        ["Redraws with more than 15 %", percent(found.get("p_over_15"), 0)],
    ]  # fmt: skip
    words = ["The run's days are redrawn in blocks many times; each redraw has a largest drawdown of its own."]
    return Section("drawdown", "How deep it might have fallen", words, [Table("", ["Largest drawdown", ""], rows)])


def stress(result: dict[str, Any]) -> Section:
    """Return the same rule with doubled costs and later fills."""
    words = ["If a small change of conditions ends the profit, it was the conditions' profit."]
    if _of_file(result):
        words.append("The strategy's file is run anew under each: it sees the account that it then has.")
    return _rows_section(result, "stress", "Harsher conditions", "Same rule, worse conditions", words)


def comparison(result: dict[str, Any]) -> Section:
    """Return what holding Bitcoin, Ether or nothing would have given."""
    words = ["Bought at the first bar and held, with costs; and cash."]
    return _rows_section(result, "comparison", "Against doing nothing clever", "Instead", words)


def _rows_section(result: dict[str, Any], name: str, title: str, heading: str, words: list[str]) -> Section:
    found = (result.get("honesty") or {}).get(name)
    if not found:
        return missing(name, title)
    own = {"name": "this run", **(result.get("metrics") or {})}
    rows: list[list[Cell]] = [
        [str(row.get("name")), *(wording.written(row.get(key), kind) for key, _, kind in _HONEST),
         str(row.get("why") or "")]
        for row in (own, *found)
    ]  # fmt: skip
    columns = [heading, *(label for _, label, _ in _HONEST), "Note"]
    if not any(row[-1] for row in rows):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    return Section(name, title, words, [Table("", columns, rows, "", (0, len(_HONEST) + 1))])


def walk_forward(result: dict[str, Any]) -> Section:
    """Return the windows of time one after another, and the purged cross-validation."""
    honesty = result.get("honesty") or {}
    found, paths = honesty.get("walk_forward"), honesty.get("cpcv")
    if not found and not paths:
        return missing("walk_forward", "Through time")
    tables, words = [], []
    if found:
        rows: list[list[Cell]] = [
            [f"{wording.day(fold.get('first_ts_ms'))} to {wording.day(fold.get('last_ts_ms'))}",
             *(wording.written(fold.get(key), kind) for key, _, kind in _HONEST[:-1])]
            for fold in found.get("folds") or []
        ]  # fmt: skip
        rows.append(["all of them together", UNKNOWN if not known(found.get("total_return")) else
                     signed_percent(found["total_return"]),
                     *(wording.written(found.get(key), kind) for key, _, kind in _HONEST[1:-1])])  # fmt: skip
        losing = sum(known(fold.get("sharpe")) and fold["sharpe"] <= 0 for fold in found.get("folds") or [])
        words.append(f"{losing} of {wording.plural(len(found.get('folds') or []), 'window')} did not earn.")
        tables.append(Table("Walk-forward", ["Window", *(label for _, label, _ in _HONEST[:-1])], rows))
    if paths:
        words.append(
            f"Purged cross-validation over {number(paths.get('paths'), 0)} {paths.get('of') or 'paths'}: the Sharpe "
            f"ratio is {number(paths.get('sharpe_p5'))} (5 %), {number(paths.get('sharpe_p50'))} (median), "
            f"{number(paths.get('sharpe_p95'))} (95 %)."
        )
    return Section("walk_forward", "Through time", words, tables)


def sensitivity(result: dict[str, Any]) -> Section:
    """Return how the result moves with each assumption."""
    found = result.get("sensitivity") or (result.get("honesty") or {}).get("sensitivity")
    if not found:
        return missing("sensitivity", "What it hangs on")
    base = (result.get("metrics") or {}).get("sharpe")
    rows: list[list[Cell]] = []
    for row in sorted(found, key=_worst_first):
        moved = row["sharpe"] - base if known(row.get("sharpe")) and known(base) else None
        tone = "" if moved is None or abs(moved) < 0.005 else "gain" if moved > 0 else "loss"
        rows.append([
            str(row.get("assumption", "")).replace("_", " "), str(row.get("change", "")), number(row.get("sharpe")),
            (UNKNOWN if moved is None else f"{'+' if moved > 0 else ''}{number(moved)}", tone),
            signed_percent(row.get("cagr")), percent(row.get("max_drawdown")), number(row.get("final_equity")),
        ])  # fmt: skip
    columns = ["Assumption", "Changed to", "Sharpe, per year", "Moved by", "Growth a year", "Drawdown",
               "Final equity, USDT"]  # fmt: skip
    words = ["One assumption is changed at a time; the worst is first."]
    if _of_file(result):
        words.append(
            "The strategy's file is not run again here: the weights that it gave are carried out under each. A file "
            "that looks at its own position or equity might have decided otherwise."
        )
    return Section("sensitivity", "What it hangs on", words, [Table("", columns, rows, "", (0, 1))])


def _of_file(result: dict[str, Any]) -> bool:
    return str((result.get("config") or {}).get("strategy") or "").endswith(".py")


def _worst_first(row: dict[str, Any]) -> tuple[bool, float]:
    return row.get("assumption") != BASE_ROW, row["sharpe"] if known(row.get("sharpe")) else float("inf")


def canaries(result: dict[str, Any]) -> Section:
    """Return every canary with what it guards."""
    found = result.get("canaries")
    if not found:
        return missing("canaries", "Canaries")
    rows: list[list[Cell]] = [
        [name.replace("_", " "), (str(verdict), {"pass": "gain", "fail": "loss"}.get(verdict, "warn")),
         CANARY_MEANING.get(name, "")]
        for name, verdict in found.items()
    ]  # fmt: skip
    words = [
        "Each is a trap for a way of cheating, also by mistake. While one is red or was not tested, the capital ladder "
        "gives this version no real money without an override."
    ]
    return Section("canaries", "Canaries", words,
                   [Table("", ["Canary", "Verdict", "What must hold"], rows, "", (0, 2))])  # fmt: skip


def critique(result: dict[str, Any]) -> Section:
    """Return the reasons to doubt, and what stands in the way of trading it."""
    honesty = result.get("honesty")
    title = "What would make me doubt this"
    if not isinstance(honesty, dict) or honesty.get("critique") is None:
        return missing("critique", title)
    found, blockers = honesty.get("critique") or [], honesty.get("blockers") or []
    sentences = [str(item) for item in found]
    tables = []
    held_back = honesty.get("barred") or []
    others = [sentence for sentence in blockers if sentence not in held_back]
    for heading, column, sentences_of in (
        ("Before it may trade with real money", "The capital ladder asks for this", held_back),
        ("Before anybody should trade it", "Speaks against it, and is left to you", others),
    ):
        if sentences_of:
            rows: list[list[Cell]] = [[(str(sentence), "loss")] for sentence in sentences_of]
            tables.append(Table(heading, [column], rows))
    return Section("critique", title, sentences or ["Nothing was found, which is no proof."], tables)


def certificate(result: dict[str, Any]) -> Section:
    """Return the parity certificate, if the strategy's version has one."""
    found = result.get("certificate")
    if not isinstance(found, dict) or found.get("status") in (None, "none"):
        words = ["There is none for this version: whether paper and live decide the same is not shown."]
        return Section("certificate", "Parity certificate", words, computed=isinstance(found, dict))
    names = {"strategy_version": "Strategy version", "ts": "When", "decisions": "Decisions compared",
             "differences": "Differences", "signature": "Signature"}  # fmt: skip
    rows: list[list[Cell]] = [["Verdict", (str(found["status"]), "gain" if found["status"] == "pass" else "loss")]]
    rows += [[label, str(found[name])] for name, label in names.items() if found.get(name) is not None]
    return Section("certificate", "Parity certificate",
                   ["One tape of events through backtest, paper and live path; the decisions compared."],
                   [Table("", ["", ""], rows, "", (0, 1))])  # fmt: skip

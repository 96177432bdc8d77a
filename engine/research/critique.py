"""What would make one doubt a result, in plain sentences made from its own numbers; the heaviest first."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from engine.research.funding_cover import cover_sentence
from engine.research.wording import day

ENOUGH = 0.95
"""Probability from which skill counts as established."""

FADED = 1 / 3
"""A last part with less than this share of the whole run's Sharpe ratio speaks against trading the rule."""

PASS, FAIL, UNTESTED = "pass", "fail", "not tested"
"""What a canary says."""

UNTESTED_SENTENCES = {
    "lookahead": "the run holds nothing early enough to compare what was decided before and after a cut: give it more "
    "bars",
    "future_shift": "the run holds nothing early enough to compare what was decided before and after a change: give it "
    "more bars",
    "shuffled": "on made-up bars it held nothing, or there are too few bars to make some up: give it more bars",
    "outside_knowledge": "on made-up bars it wanted nothing, or there are too few bars to make some up: give it more "
    "bars",
    "survivorship": "that takes five coins with a common history in which it holds something: give it more coins, or "
    "more bars",
}

CANARY_SENTENCES = {
    "lookahead": "cutting later bars off changes what was decided before: the strategy sees the future, or its answers "
    "cannot be repeated",
    "future_shift": "other prices later on change what was decided before: the strategy sees the future",
    "shuffled": "the edge is still there on shuffled returns, where nothing can be foretold: it does not come from "
    "reading the past",
    "outside_knowledge": "fed with made-up prices it still trades as if it knew the real ones: it knows them from "
    "somewhere else, a file or dates written into the rule",
    "survivorship": "fed with made-up prices it still picks the coins that did best in the end: the universe was "
    "chosen with hindsight",
    "fills": "fills or equity cannot be worked out again from the bars: something reached into the simulation",
    "repaint": "what it says of earlier bars changes once later ones are known: a centred window, a scaler fitted to "
    "everything, or a shift backwards",
}


class Evidence(NamedTuple):
    """What a verdict is made from."""

    metrics: dict[str, Any]
    out_of_sample: dict[str, Any]
    panel: dict[str, Any]  # without critique and blockers
    canaries: dict[str, str]
    days: float  # length of the run
    cost_rate: float  # fee and slippage together, fraction
    has_funding: bool
    counted: bool  # whether the run went into the ledger
    conduct: tuple[str, ...] = ()  # what was seen in the source of a user's strategy
    survivors: bool = False  # whether every series starts late or early but ends with the data

    def number(self, *path: str) -> float:
        """Return a figure of the panel, NaN where it is unknown."""
        found: Any = self.panel
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        return math.nan if found is None else float(found)


def known(value: float | None) -> bool:
    """Return whether a figure exists."""
    return value is not None and math.isfinite(value)


def untested_sentence(name: str) -> str:
    """Return why a canary could not be tested and what to do, as a sentence."""
    return f"Canary {name} was not tested: {UNTESTED_SENTENCES.get(name, 'give the run more bars')}."


def barred(canaries: Mapping[str, str], told: Sequence[str]) -> list[str]:
    """Return for what the capital ladder gives a version no real money: red and untested canaries, open doors.

    Parameters
    ----------
    canaries : mapping
        Name to verdict.
    told : sequence of str
        What was seen in the source of a user's strategy.
    """
    return [*(_canary_sentence(name, verdict) for name, verdict in canaries.items() if verdict != PASS), *told]


def _canary_sentence(name: str, verdict: str) -> str:
    if verdict == UNTESTED:
        return untested_sentence(name)
    return f"Canary {name} is red: {CANARY_SENTENCES.get(name, 'it failed')}."


def blockers(evidence: Evidence) -> list[str]:
    """Return why a strategy with this result may not be promoted to trading; empty when it may."""
    found = barred(evidence.canaries, evidence.conduct)
    if not evidence.counted:
        found.append("The run was kept out of the ledger, so nobody knows how many were tried before it.")
    if evidence.cost_rate <= 0:
        found.append("No costs were charged: give the fee and slippage that the venue takes.")
    found += account_sentences(evidence)
    return found + list(_evidence_blockers(evidence))


def _evidence_blockers(evidence: Evidence) -> Iterator[str]:
    deflated, trials = evidence.number("deflated_sharpe", "value"), evidence.panel["deflated_sharpe"]["trials"]
    if not known(deflated):
        yield "There is too little evidence for a deflated Sharpe ratio."
    elif deflated < ENOUGH:
        yield f"Skill is not established after {_trials(trials)}: deflated Sharpe {deflated:.2f}, needed {ENOUGH}."
    pbo = evidence.number("pbo", "value")
    if known(pbo) and pbo > 0.5:
        yield f"Choosing the best of the trials would have misled in {100 * pbo:.0f} % of the splits of this history."
    record = evidence.panel["min_track_record"]
    if not record["enough"] and known(record["needed_days"]):
        yield f"The record is too short: {record['have_days']:,.0f} days, needed {record['needed_days']:,.0f}."
    late = evidence.out_of_sample.get("sharpe")
    if not known(late):
        yield "There is no out-of-sample result."
    elif late is not None and late <= 0:
        yield f"It lost out of sample: Sharpe {late:.2f} in the last part."
    elif late is not None and late < FADED * evidence.metrics["sharpe"]:
        yield f"The edge fades: Sharpe {late:.2f} in the last part against {evidence.metrics['sharpe']:.2f} overall."
    for row in evidence.panel.get("stress") or ():
        if not known(row["total_return"]) or row["total_return"] <= 0:
            yield f"It does not survive {row['name']}: {_percent(row['total_return'])} in total."


def critique(evidence: Evidence) -> list[str]:
    """Return the reasons to doubt a result, the heaviest first."""
    makers = (
        _from_canaries, _from_account, _from_selection, _from_time, _from_costs, _from_luck, _from_alternatives,
        _from_limits,
    )  # fmt: skip
    weighted = [pair for maker in makers for pair in maker(evidence)]
    return [sentence for _, sentence in sorted(weighted, key=lambda pair: -pair[0])]


Weighted = Iterator[tuple[float, str]]


def _percent(value: float | None) -> str:
    return "unknown" if value is None or not math.isfinite(value) else f"{100 * value:,.1f} %"


def _trials(trials: int) -> str:
    return "1 trial" if trials == 1 else f"{trials:,d} trials"


def _from_canaries(evidence: Evidence) -> Weighted:
    for name, verdict in evidence.canaries.items():
        if verdict != PASS:
            yield 70.0 if verdict == UNTESTED else 100.0, _canary_sentence(name, verdict)
    for sentence in evidence.conduct:
        yield 95.0, sentence


def _from_selection(evidence: Evidence) -> Weighted:
    trials = int(evidence.panel["deflated_sharpe"]["trials"])
    deflated = evidence.number("deflated_sharpe", "value")
    best = evidence.number("deflated_sharpe", "expected_max_sharpe")
    if not known(deflated):
        yield 60.0, "Too little evidence for a deflated Sharpe ratio."
    elif deflated < ENOUGH:
        luck = f", where luck alone would show a Sharpe ratio of {best:.2f}" if trials > 1 else ""
        yield (
            80.0 - 40.0 * deflated,
            (
                f"After {_trials(trials)} on this data{luck}, skill is not established: deflated Sharpe {deflated:.2f} "
                f"< {ENOUGH}."
            ),
        )
    pbo = evidence.number("pbo", "value")
    if known(pbo) and pbo > 0.2:
        yield (
            30.0 + 40.0 * pbo,
            f"The best trial of one half fell below the middle in the other in {100 * pbo:.0f} % of splits.",
        )
    if not evidence.counted:
        yield 70.0, "This run was kept out of the ledger: the number of trials is unknown."
    record = evidence.panel["min_track_record"]
    if not record["enough"]:
        needed = record["needed_days"]
        need = f"{needed:,.0f} days" if known(needed) else "no record that is long enough"
        yield 55.0, f"The record has {record['have_days']:,.0f} days; to tell this Sharpe ratio from 0 takes {need}."


def _from_time(evidence: Evidence) -> Weighted:
    whole, late = evidence.metrics.get("sharpe"), evidence.out_of_sample.get("sharpe")
    if known(whole) and known(late) and whole is not None and late is not None and whole > 0 and late < 0.5 * whole:
        yield (
            75.0 - 20.0 * max(late, 0.0) / whole,
            (f"The edge fades: Sharpe {late:.2f} in the last 30 % of the time against {whole:.2f} overall."),
        )
    folds = (evidence.panel.get("walk_forward") or {}).get("folds") or []
    lost = [fold for fold in folds if not known(fold["total_return"]) or fold["total_return"] <= 0]
    if folds and len(lost) > len(folds) / 3:
        yield 35.0 + 30.0 * len(lost) / len(folds), f"{len(lost)} of {len(folds)} windows of time lost money."
    if evidence.days < 365:
        yield 50.0, f"The run spans {evidence.days:.0f} days; less than a year says little about drawdowns."


def _from_costs(evidence: Evidence) -> Weighted:
    if evidence.cost_rate <= 0:
        yield 90.0, "No costs were charged; every real trade pays them."
    whole = evidence.metrics.get("sharpe")
    for row in evidence.panel.get("stress") or ():
        sharpe = row["sharpe"]
        if not known(row["total_return"]) or row["total_return"] <= 0:
            yield 65.0, f"With {row['name']} it loses: {_percent(row['total_return'])} in total."
        elif known(sharpe) and known(whole) and whole is not None and whole > 0 and sharpe < 0.7 * whole:
            yield 40.0, f"With {row['name']} the Sharpe ratio falls from {whole:.2f} to {sharpe:.2f}."
    if not evidence.has_funding:
        yield 20.0, "No funding was charged: give funding history to include it."
    cover = evidence.panel.get("funding")
    missing = cover_sentence(cover)
    if cover and missing:
        yield 20.0 + 50.0 * cover["unknown_share"], missing


def _from_account(evidence: Evidence) -> Weighted:
    for sentence in account_sentences(evidence):
        yield 92.0, sentence


def account_sentences(evidence: Evidence) -> list[str]:
    """Return what befell the account itself: the venue closed it out, or the gate stopped it for good."""
    found = []
    times = int(evidence.metrics.get("liquidations") or 0)
    if times:
        often = "once" if times == 1 else f"{times:,d} times"
        found.append(f"It was liquidated {often}: the margin no longer carried what was held.")
    stopped = evidence.panel.get("stopped")
    if stopped:
        found.append(
            f"It stopped trading on {day(stopped['ts_ms'])}, at the drawdown limit of {_percent(stopped['limit'])}, "
            f"and was flat from there: the last {_percent(stopped['share'])} of the run show nothing of the rule."
        )
    return found


def _from_luck(evidence: Evidence) -> Weighted:
    interval = (evidence.panel.get("intervals") or {}).get("sharpe")
    if interval and interval["low"] <= 0:
        yield (
            60.0,
            (
                f"Redrawn from its own days, the Sharpe ratio lies between {interval['low']:.2f} and "
                f"{interval['high']:.2f}: zero is inside."
            ),
        )
    trades = evidence.metrics.get("n_trades")
    if trades is not None and trades < 30:
        yield 58.0, f"Only {trades:,d} closed trades: win rate and profit factor mean little."
    risk = evidence.panel.get("drawdown")
    fall = evidence.metrics.get("max_drawdown")
    if risk and fall is not None and risk["p95"] > 1.3 * fall:
        yield (
            25.0 + 20.0 * min(risk["p95"], 1.0),
            (
                f"The drawdown of {_percent(fall)} was lucky: of runs redrawn from its own days one in twenty falls "
                f"{_percent(risk['p95'])} or more."
            ),
        )


def _from_alternatives(evidence: Evidence) -> Weighted:
    own, own_sharpe = evidence.metrics.get("total_return"), evidence.metrics.get("sharpe")
    for row in evidence.panel.get("comparison") or ():
        if row["name"] == "cash":
            if own is None or not math.isfinite(own) or own <= 0:
                yield 85.0, f"Doing nothing would have been better: the run ends with {_percent(own)}."
        elif known(row["sharpe"]) and own_sharpe is not None and not row["sharpe"] < own_sharpe:
            yield 45.0, f"{row['name']} had the higher Sharpe ratio: {row['sharpe']:.2f} against {own_sharpe:.2f}."


def _from_limits(evidence: Evidence) -> Weighted:
    if evidence.survivors:
        yield (
            30.0,
            (
                "Every symbol still trades at the end of the data: coins that died on the way are missing, which "
                "flatters whatever held them."
            ),
        )

"""The evidence in sentences: who reached the goal, who lost to what, what tables show, and what it all took."""

from __future__ import annotations

from typing import Any

from models.catalogue import BASE

VOLATILITY_SAID = (
    "The volatility of the next 24 bars that the width of the 24-bar forecast implies, against the volatility that "
    "came (root mean square of the bars' log returns). Loss: quasi-likelihood (Patton, 2011), 0 is perfect. The bar is "
    "the EWMA volatility of 72 bars that is known at each bar; above zero is better than it. Both variances are scaled "
    "by what came of them in the 90 days before, so only what moves is judged; the last column is not scaled."
)
BARRIERS_SAID = (
    "A target and a stop at one sigma · √24 on either side of the close, looked for in the highs and lows of the next "
    "24 bars (López de Prado, 2018); a bar that touches both decides nothing. Of the most confident 20 % of the calls "
    "at 24 bars: how often the called side came first where one came, how much oftener than the base rate's calls on "
    "the same bars, and how often one came in time."
)


def percent(value: float | None, digits: int = 1) -> str:
    """Return a fraction as percent, "unknown" where it is."""
    return "unknown" if value is None else f"{100.0 * value:.{digits}f} %"


def number(value: float | None, digits: int = 2) -> str:
    """Return a number, "unknown" where it is."""
    return "unknown" if value is None else f"{value:.{digits}f}"


def goal_sentence(goal: dict[str, Any]) -> str:
    """Return what is to be said of the goal, once."""
    asked = (
        f"right in more than {percent(goal['accuracy'], 0)} of at least {percent(goal['share'], 0)} of the bars "
        f"(taken as met from {percent(goal['share'] - 0.01, 0)} on, as thresholds come from the days before)"
    )
    if not goal["reached_by"]:
        return f"The goal, {asked}, was reached by nobody, of {goal['looked_at']} model and horizon pairs looked at."
    sure = ", ".join(goal["surely_by"]) or "nobody"
    return (
        f"The goal, {asked}: reached by {', '.join(goal['reached_by'])} bars, of {goal['looked_at']} model and horizon "
        f"pairs looked at; with the whole 95 % interval above it: {sure}."
    )


def plain_words(result: dict[str, Any]) -> str:
    """Return in sentences who lost to what: to the trend rule, the plainest forecasts, the EWMA and the barriers."""
    return " ".join([*_against_trend(result), *_against_plain(result), *_against_outcomes(result)])


def _against_trend(result: dict[str, Any]) -> list[str]:
    bar = result["trend"]["sharpe"]
    known = {
        row["name"]: row["trading"]["sharpe"]["value"]
        for row in result["models"]
        if row.get("trading", {}).get("sharpe", {}).get("value") is not None
    }
    if bar["value"] is None or not known:
        return []
    above = [name for name, value in known.items() if value > bar["value"]]
    best = max(known, key=lambda name: known[name])
    said = [f"The trend rule alone, which no model is part of, has a net Sharpe ratio of {number(bar['value'])}."]
    if above:
        said.append(
            f"Above it: {', '.join(f'{name} ({number(known[name])})' for name in above)}; all others lost to it."
        )
    else:
        said.append(f"Every model alone lost to it; the best of them is {best} with {number(known[best])}.")
    losers = [f"{name} ({number(value)})" for name, value in known.items() if value < 0.0]
    said += [f"Lost money after costs: {', '.join(losers)}."] if losers else []
    for row in result["blends"]:
        value = row["sharpe"]["value"]
        if value is not None and bar["low"] is not None:
            proof = "no proof that" if bar["low"] <= value <= bar["high"] else "outside that:"
            said.append(
                f"{row['name'].capitalize()}, has {number(value)}; the rule's own interval is {number(bar['low'])} to "
                f"{number(bar['high'])}, {proof} models change what it earns."
            )
    return said


def _against_plain(result: dict[str, Any]) -> list[str]:
    gains = {
        row["name"]: [figure["value"] for figure in row["figures"]["log_loss_gain"]]
        for row in result["models"]
        if "figures" in row and row["name"] != BASE
    }
    plain, said = gains.get("linear"), []
    for name, own in gains.items():
        beside = {"the base rate": [0.0] * len(own)} | ({"linear": plain} if plain and name != "linear" else {})
        lost = {
            other: [str(h) for h, mine, its in zip(result["horizons"], own, theirs, strict=True)
                    if mine is not None and its is not None and mine < its]
            for other, theirs in beside.items()
        }  # fmt: skip
        told = [f"to {other} at {', '.join(at)}" for other, at in lost.items() if at]
        if told:
            said.append(f"By log-loss {name} lost {' and '.join(told)} bars.")
    return said


def _against_outcomes(result: dict[str, Any]) -> list[str]:
    """Return whose figures of the longest horizon lie above the bar with their whole intervals."""
    known = {row["name"]: row["figures"] for row in result["models"] if "volatility_gain" in row.get("figures", {})}

    def surely(figure: str, least: float) -> str:
        found = [name for name, own in known.items() if (own[figure][0]["low"] or 0.0) > least and name != BASE]
        return ", ".join(found) or "nobody"

    return [] if not known else [
        f"How far prices move is told surely better than by the EWMA by: {surely('volatility_gain', 0.0)}.",
        "Confident calls at 24 bars reach their target before their stop surely oftener than the base rate's calls "
        f"for: {surely('barrier_gain', 0.0)}; surely oftener than not for: {surely('barrier_right', 0.5)}.",
    ]  # fmt: skip


def cost_sentence(result: dict[str, Any]) -> str:
    """Return what the run took of the clock and of the processor."""
    kept, now = result["cpu"]["kept_s"], result["cpu"]["now_s"]
    parts = f" ({kept / 60.0:.0f} of them for months that an earlier stretch had kept)" if kept else ""
    return (
        f"{result['config']['months']} months in {(kept + now) / 60.0:.0f} minutes of one processor{parts}, user and "
        f"system, workers included; {result['elapsed_s'] / 60.0:.1f} minutes by the clock in this stretch."
    )

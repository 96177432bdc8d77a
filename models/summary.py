"""One symbol's forecast in plain sentences, made from numbers alone, each claim with its doubt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from models.explain import Drivers, share_interval

MOST_NAMED = 2
FEWEST_OUTCOMES = 30
FEWEST_DAYS = 10
"""Before so many outcomes on so many days a share is not written: it would say nothing."""

SMALLEST_BP = 0.05
"""Smaller shares of a middle forecast, basis points, are not named."""

SMALLEST_DRIVER = 0.0005
"""A twentieth of a point of probability; smaller shares are not named."""


class Record(NamedTuple):
    """What past forecasts were worth: a share of hits, its 95 % interval, and how many outcomes and days it is of."""

    share: float
    low: float
    high: float
    outcomes: int
    days: int

    @property
    def is_enough(self) -> bool:
        """Whether the share may be written."""
        return self.outcomes >= FEWEST_OUTCOMES and self.days >= FEWEST_DAYS

    @property
    def judged(self) -> str:
        """How many outcomes on how many days, in words."""
        return f"{_count(self.outcomes)} on {self.days} day{'' if self.days == 1 else 's'}"


class Vote(NamedTuple):
    """What a trading agent wishes of the symbol, -1 to 1, and what it counts in a decision, 0 to 1."""

    name: str
    wish: float
    weight: float


class Facts(NamedTuple):
    """What is known of one symbol's forecast. None and NaN are unknown and are said to be."""

    symbol: str
    span: str  # of the horizon, in words: "24 hours"
    prob_up: float
    median: float  # simple return, fraction
    low: float  # the ends of the 80 % interval, simple return, fraction
    high: float
    base_up: float | None = None  # the share of rises that the base rate states
    covered: Record | None = None  # past 80 % intervals that held what came
    direction: Record | None = None  # past forecasts that were right about rise or fall
    model_share: float | None = None  # of the decision's weight that models have, in [0, 1]
    is_sleeve: bool = False  # of a portfolio: the share is then of their wishes
    prob_spread: float | None = None  # standard deviation of the members' probabilities
    drivers: Drivers | None = None
    cases: tuple[int, int] | None = None  # rises, and all of the nearest past cases
    regime: tuple[str, float] | None = None  # the likeliest regime and its probability
    said_bp: float | None = None  # middle forecast in basis points; the drivers are then those of this and of its error
    typical_bp: float | None = None  # the same of an average bar
    spread_bp: float | None = None  # standard deviation of the members' middle forecasts, basis points
    votes: tuple[Vote, ...] = ()


def summary_of(facts: Facts) -> list[str]:
    """Return sentences for a person who trades and does not do statistics.

    Parameters
    ----------
    facts : Facts

    Returns
    -------
    list of str
        What is forecast; how sure that is; how such forecasts fared; what drove it; what came before; what it counts.
        Only what is known is claimed, and what is not is named.

    Examples
    --------
    >>> summary_of(Facts("BTCUSDT", "24 hours", 0.52, 0.001, -0.03, 0.033, base_up=0.51))[1]
    'The 80 % interval runs from −3.0 % to +3.3 % and includes zero: it may rise or fall.'
    """
    if not (math.isfinite(facts.prob_up) and math.isfinite(facts.low) and math.isfinite(facts.high)):
        return [f"No model has a forecast for {facts.symbol} over {facts.span} now."]
    told = [
        _forecast(facts), _interval(facts), _coverage(facts), _direction(facts), _disagreement(facts), _drivers(facts),
        _cases(facts), _regime(facts), _votes(facts), _weight(facts),
    ]  # fmt: skip
    return [sentence for sentence in told if sentence]


def _forecast(facts: Facts) -> str:
    said = f"{facts.symbol} over the next {facts.span}: the models give a rise {_percent(facts.prob_up)}"
    if facts.base_up is None or not math.isfinite(facts.base_up):
        return f"{said}; how often it rose before is unknown."
    apart = facts.prob_up - facts.base_up
    if abs(apart) < 0.01:
        return f"{said}, which is no more than how often it rose before ({_percent(facts.base_up)})."
    return f"{said}, {_points(abs(apart))} {'above' if apart > 0 else 'below'} how often it rose before."


def _interval(facts: Facts) -> str:
    runs = f"The 80 % interval runs from {_signed(facts.low)} to {_signed(facts.high)}"
    if facts.low <= 0.0 <= facts.high:
        return f"{runs} and includes zero: it may rise or fall."
    return f"{runs} and leaves zero out; one outcome in five lies outside such an interval."


def _coverage(facts: Facts) -> str:
    found = facts.covered
    if found is None:
        return "How often such intervals held is unknown."
    if not found.is_enough:
        return f"Too few such intervals have been judged ({found.judged}) to say if they hold."
    fair = found.low <= 0.8 <= found.high
    verdict = "as stated" if fair else "too narrow" if found.high < 0.8 else "wider than stated"
    return f"Of such intervals {_between(found)} of {found.judged} held what came (stated: 80 %): {verdict}."


def _direction(facts: Facts) -> str:
    found = facts.direction
    if found is None:
        return "How often such forecasts were right is unknown."
    if not found.is_enough:
        return f"Too few forecasts have been judged ({found.judged}) to say if they are right."
    said = f"They were right about the direction {_between(found)} of {found.judged}"
    if found.low > 0.5:
        return f"{said}: better than a coin, before costs."
    return f"{said}: {'worse than a coin' if found.high < 0.5 else 'not told apart from a coin'}."


def _between(found: Record) -> str:
    return f"{_percent(found.share)} (between {_percent(found.low)} and {_percent(found.high)})"


def _disagreement(facts: Facts) -> str:
    if facts.prob_spread is None or not math.isfinite(facts.prob_spread):
        return ""
    against = "more than they differ from one half together" if facts.prob_spread > abs(facts.prob_up - 0.5) else ""
    basis = f" and {facts.spread_bp:.1f} bp" if facts.spread_bp is not None and math.isfinite(facts.spread_bp) else ""
    doubt = f", {against}" if against else ""
    return f"The models differ from each other by {_points(facts.prob_spread)}{basis}{doubt}."


def _moved(facts: Facts, found: Drivers) -> str:
    """Say what moved the middle forecast, in basis points."""
    said, typical = facts.said_bp, facts.typical_bp
    if said is None or typical is None:
        return ""
    sure = [
        (effect, name) for effect, error, name in zip(found.median, found.prob_error, found.names, strict=True)
        if abs(effect) > max(2.0 * error, SMALLEST_BP)
    ]  # fmt: skip
    lead = f"The middle forecast is {_bp(said)}; for an average bar it would be {_bp(typical)}"
    if not sure:
        return f"{lead}. No single kind of input moved it by more than its uncertainty."
    parts = [
        f"{word}: " + ", ".join(f"{name.lower()} ({_bp(effect)})" for effect, name in chosen)
        for word, up in (("upwards", True), ("downwards", False))
        if (chosen := [pair for pair in sorted(sure, reverse=up) if (pair[0] > 0) == up][:MOST_NAMED])
    ]
    return f"{lead}. What moved it {'; '.join(parts)}."


def _bp(value: float) -> str:
    return f"{'+' if value >= 0.0 else '−'}{abs(value):.1f} bp"


def _votes(facts: Facts) -> str:
    known = [vote for vote in facts.votes if math.isfinite(vote.wish)]
    if not known:
        return ""
    named = ", ".join(f"{vote.name.upper()} {'−' if vote.wish < 0 else '+'}{abs(vote.wish):.2f}" for vote in known)
    counted = sum(vote.weight for vote in known)
    sides = {vote.wish > 0.0 for vote in known}
    agree = "they do not agree on a side" if len(sides) > 1 else "on the same side"
    return f"Trading agents wish {named} (−1 wholly short, 1 wholly long): {agree}, and count {_percent(counted, 0)}."


def _drivers(facts: Facts) -> str:
    found = facts.drivers
    if found is None:
        return ""
    if facts.said_bp is not None:
        return _moved(facts, found)
    sure = [
        (effect, name) for effect, error, name in zip(found.prob, found.prob_error, found.names, strict=True)
        if abs(effect) > max(2.0 * error, SMALLEST_DRIVER)
    ]  # fmt: skip
    if not sure:
        return "No single input moved the forecast by more than its uncertainty."
    parts = [
        f"{word}: {_named([pair for pair in sorted(sure, reverse=up) if (pair[0] > 0) == up][:MOST_NAMED])}"
        for word, up in (("for a rise", True), ("against it", False))
        if any((effect > 0) == up for effect, _ in sure)
    ]
    return f"What spoke {'; '.join(parts)}."


def _named(pairs: Sequence[tuple[float, str]]) -> str:
    return ", ".join(f"{name.lower()} ({'+' if effect > 0 else '−'}{_points(abs(effect))})" for effect, name in pairs)


def _cases(facts: Facts) -> str:
    if facts.cases is None or facts.cases[1] == 0:
        return ""
    rises, count = facts.cases
    low, high = share_interval(rises, count)
    doubt = "which tells nothing either way" if low <= 0.5 <= high else "in a few cases that resemble each other"
    return (
        f"After the {count} most similar past bars the price rose {rises} times "
        f"(between {_percent(low, 0)} and {_percent(high, 0)}), {doubt}."
    )


def _regime(facts: Facts) -> str:
    if facts.regime is None:
        return ""
    name, prob = facts.regime
    unsure = ", so it is not settled" if prob < 0.75 else ""
    return f"The market looks {name} with a probability of {_percent(prob, 0)}{unsure}."


def _weight(facts: Facts) -> str:
    if facts.model_share is None or not math.isfinite(facts.model_share):
        return "What the models count in the decision is unknown."
    if facts.is_sleeve:
        return (
            f"The portfolio takes {_percent(facts.model_share, 0)} of the models' wishes, by what these earned, as one "
            "of its sleeves."
        )
    if facts.model_share == 0.0:
        return "The models count 0 % of the decision: it follows the rule alone until their wishes have earned more."
    return f"The models count {_percent(facts.model_share, 0)} of the decision, by what their wishes earned."


def _percent(share: float, decimals: int = 1) -> str:
    return f"{100.0 * share:.{decimals}f} %".replace("-", "−")


def _signed(fraction: float) -> str:
    text = _percent(fraction)
    return text if text.startswith("−") else f"+{text}"


def _points(prob: float) -> str:
    return f"{100.0 * prob:.1f} points"


def _count(count: int) -> str:
    return f"{count:,}".replace(",", "\u202f")

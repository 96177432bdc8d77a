"""What each input added to the ensemble's forecast of one bar, in basis points and in probability.

Computed after the decision, never on its way: a symbol takes some hundred forecasts of made-up pasts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from engine.domain import F8, I8
from engine.errors import ModelError
from models.explain import PAIRS, TOPICS, Topic, columns_of, made_up_bars
from models.forecast import HORIZONS, MEDIAN, Forecaster
from models.live_agents import together
from models.tabular import Scaler

SEED = 0
"""Of the orders in which inputs are revealed. One for all bars: two records differ by what was seen alone."""

BP = 1e4
BP_AT, PROB_AT = 0, 1
"""Places along the last axis of whatever is attributed."""


class Voice(NamedTuple):
    """A member of the ensemble, as far as one symbol's forecast is concerned."""

    forecaster: Forecaster
    weight: float  # what it counts in this forecast, in (0, 1]
    features: np.ndarray  # (W, F) unscaled inputs of the bars that it looks back on, newest last


class Moved(NamedTuple):
    """What moved a forecast away from that of an average bar. The last axis: basis points, then probability."""

    feature: F8  # (F, 2)
    topic: F8  # (P, 2) sums of ``feature``
    topic_error: F8  # (P, 2) standard error over the orders of revealing; NaN with a single pair of orders
    typical: F8  # (2,) what the ensemble says of an average bar
    said: F8  # (2,) what it says of this one
    member: dict[str, F8]  # (2,) by how far each member moved, unweighted


def reference_of(forecasters: Mapping[str, Any], otherwise: F8) -> Scaler:
    """Return the average bar of the training with the spread around it, as a member's scaler knows both.

    The line's where there is one, so that a line's attributions are its slopes times distances from its own mean.
    ``otherwise`` (F,) is used, with an unknown spread, where no member scales.
    """
    for name in sorted(forecasters, key=lambda one: (one != "linear", one)):
        found = getattr(forecasters[name], "scaler", None) or getattr(forecasters[name], "_scaler", None)
        if isinstance(found, Scaler) and len(found.center) == len(otherwise):
            return found
    return Scaler(np.nan_to_num(otherwise), np.zeros(len(otherwise)))


def attributed(
    voices: Mapping[str, Voice], constant: F8, reference: F8, horizon: int, sigma: float,
    topics: Sequence[Topic] = TOPICS, pairs: int = PAIRS, seed: int = SEED,
) -> Moved:  # fmt: skip
    """Return what each input added to an ensemble's forecast of one symbol.

    Parameters
    ----------
    voices : mapping of name to Voice
        Members that count.
    constant : (2,)
        What the base rate adds whatever the bar: its weight times its median in basis points and its probability.
    reference : (F,)
        The average bar: in it inputs that are not revealed yet stay.
    horizon : int
        One of ``HORIZONS``.
    sigma : float
        Standard deviation of one bar's log return, known at the close.
    topics : sequence of Topic
        Each input belongs to exactly one.
    pairs : int
        Pairs of opposite orders.
    seed : int
        Of the orders.

    Returns
    -------
    Moved
        ``typical + feature.sum(axis=0) == said`` to rounding. An input that no member uses gets exactly 0.

    Raises
    ------
    ModelError
        A member says nothing of this bar or of an average one.

    Notes
    -----
    Known at: the bar's close. One input after the other is given its true value over all bars that a member looks back
    on. An order shuffles the topics and the inputs within each, so the sums of topics are those of orders of topics
    alone: the coalition value of Owen (1977), sampled as in ``models.explain.drivers``. The ensemble is a weighted sum,
    so its shares are the weighted sums of its members'; basis points are of the log return.
    """
    columns = columns_of(topics)
    orders = np.stack(_orders(columns, pairs, np.random.default_rng(seed)))
    rank = np.argsort(orders, axis=1)
    n_features = orders.shape[1]
    shown = rank[:, None, :] < np.arange(n_features + 1)[None, :, None]  # (O, F + 1, F)
    scale = np.array([sigma * math.sqrt(horizon) * BP, 1.0])
    steps = np.broadcast_to(np.asarray(constant, dtype=np.float64), (len(orders), n_features + 1, 2)).copy()
    member: dict[str, F8] = {}
    for name, voice in voices.items():
        said = _said(voice, reference, shown.reshape(-1, n_features), horizon).reshape(steps.shape) * scale
        if not np.isfinite(said).all():
            raise ModelError(f"{name} says nothing of this bar at {horizon} bars: too few inputs are known")
        steps += voice.weight * said
        member[name] = said[0, -1] - said[0, 0]
    share = np.empty((len(orders), n_features, 2))
    np.put_along_axis(share, orders[:, :, None], np.diff(steps, axis=1), axis=1)
    by_pair = share.reshape(pairs, 2, n_features, 2).mean(axis=1)
    by_topic = np.stack([by_pair[:, chosen].sum(axis=1) for chosen in columns], axis=1)
    error = by_topic.std(axis=0, ddof=1) / math.sqrt(pairs) if pairs > 1 else np.full(by_topic.shape[1:], np.nan)
    feature = by_pair.mean(axis=0)
    topic = np.stack([feature[chosen].sum(axis=0) for chosen in columns])
    return Moved(feature, topic, error, steps[0, 0], steps[0, -1], member)


def _orders(columns: list[I8], pairs: int, rng: np.random.Generator) -> list[I8]:
    """Return pairs of opposite orders of all inputs, in which those of a topic stay together."""
    orders: list[I8] = []
    for _ in range(pairs):
        order = np.concatenate([rng.permutation(columns[topic]) for topic in rng.permutation(len(columns))])
        orders += [order, order[::-1]]
    return orders


def _said(voice: Voice, reference: F8, shown: np.ndarray, horizon: int) -> F8:
    """Return medians, in sigma * sqrt(horizon), and probabilities (V, 2) of V variants of a past."""
    at, last = HORIZONS.index(horizon), len(voice.features) - 1
    said = voice.forecaster.predict(made_up_bars(voice.features, reference, shown), slice(last, last + 1))
    return np.stack([said.quantile[0, :, at, MEDIAN], said.prob_up[0, :, at]], axis=-1).astype(np.float64)


class Part(NamedTuple):
    """One of those whose wishes are mixed into the models' wish."""

    who: str
    wish: F8  # (N,) in [-1, 1], NaN where it has none
    share: float  # of a decision, by its evidence


def added_by(parts: Sequence[Part]) -> F8:
    """Return what each part adds to the wish that they give together, (M, N); NaN where there is no wish.

    The mixture of ``models.live_agents.together`` is linear in the wishes once it is known who has one, so a part's
    addition is the mixture of its wish with zeros in the others' place. The columns add up to the wish.
    """
    found = []
    for own in parts:
        wish, share = parts[0].wish * (parts[0] is own), parts[0].share
        for other in parts[1:]:
            wish, share = together(wish, share, other.wish * (other is own), other.share)
        found.append(wish)
    return np.array(found)

"""One forecast from many: weights from out-of-sample skill, shrunk towards equal and towards nothing; disagreement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from engine.domain import F8
from models.forecast import MEDIAN, Prediction
from models.scoring import log_loss, pinball_loss

EQUAL_SHARE = 0.5
"""Part of the weight that is shared equally by all members with skill: estimated skill is mostly noise."""

FEWEST_DAYS = 30
"""Before so many days of record nobody has skill, because nobody can know."""


class Skill(NamedTuple):
    """What a member's out-of-sample record says of one horizon each: arrays (H,)."""

    gain: F8  # mean loss of the base rate minus the member's, as a share of the base rate's; > 0 is better
    error: F8  # its standard error, from days
    n_days: F8  # days with a record


class Weights(NamedTuple):
    """What each member counts, by horizon. Members and base rate add up to 1."""

    names: tuple[str, ...]
    member: F8  # (M, H), >= 0
    base: F8  # (H,) what is left to the base rate


class Combined(NamedTuple):
    """The ensemble's forecast of T bars, and how it came about."""

    prediction: Prediction
    median_spread: F8  # (T, N, H) standard deviation of the members' medians, in sigma * sqrt(horizon)
    prob_spread: F8  # (T, N, H) standard deviation of their probabilities
    weight: F8  # (M + 1, T, N, H) what each member counted, the base rate last: 0 where it was left out


def gains(quantile: np.ndarray, prob_up: np.ndarray, base: Prediction, target: F8) -> F8:
    """Return how much better than the base rate each forecast was, (T, N, H); NaN where either is unknown.

    gain = (log-loss_base - log-loss) / log 2 + (pinball_base - pinball) / mean pinball_base, halved: direction and
    distribution count alike, each in shares of what the base rate loses.
    """
    direction = log_loss(base.prob_up, target) - log_loss(prob_up, target)
    plain = pinball_loss(base.quantile, target)
    return gains_of(direction, plain - pinball_loss(quantile, target), plain)


def gains_of(log_loss_gain: F8, pinball_gain: F8, base_pinball: F8) -> F8:
    """Return ``gains`` where the losses are known already."""
    known = np.isfinite(base_pinball)
    scale = float(base_pinball[known].mean()) if known.any() else 1.0
    return 0.5 * (log_loss_gain / np.log(2.0) + pinball_gain / max(scale, 1e-12))


def daily_sums(values: np.ndarray, day: np.ndarray) -> tuple[F8, F8]:
    """Return sums and counts (D, H) of the known values (T, N, H), by day index (T,) from 0; symbols fall together."""
    known = np.isfinite(values)
    n_days = int(day.max()) + 1 if len(day) else 0
    sums, counts = np.zeros((n_days, values.shape[2])), np.zeros((n_days, values.shape[2]))
    np.add.at(sums, day, np.where(known, values, 0.0).sum(axis=1))
    np.add.at(counts, day, known.sum(axis=1))
    return sums, counts


def skill_of(day_sums: F8, day_counts: F8) -> Skill:
    """Return the skill that daily sums and counts (D, H) of gains show.

    The error is that of a ratio of sums over days, so symbols of the same day are one observation and not many; it is
    widened by sqrt(2), because a day's forecasts and the next day's share outcomes at the longest horizon.
    """
    count = day_counts.sum(axis=0)
    gain = np.divide(day_sums.sum(axis=0), count, out=np.full(len(count), np.nan), where=count > 0)
    rest = day_sums - gain * day_counts
    error = np.sqrt(2.0 * np.square(rest).sum(axis=0)) / np.maximum(count, 1.0)
    return Skill(gain, error, (day_counts > 0).sum(axis=0).astype(np.float64))


def weights_from(skills: Mapping[str, Skill], equal_share: float = EQUAL_SHARE) -> Weights:
    """Return the weights that records of skill deserve.

    Parameters
    ----------
    skills : mapping of name to Skill
        From forecasts whose outcomes were not used to make them, known before the weights are used.
    equal_share : float in [0, 1]

    Returns
    -------
    Weights
        trust = z^2 / (1 + z^2) with z = gain / error, 0 where the gain is not positive or the record is shorter than
        ``FEWEST_DAYS``. Members count in proportion to trust * gain, mixed with equal parts for all that are trusted;
        together they count as much as the most trusted one is trusted, and the base rate counts the rest.

    Notes
    -----
    Shrinkage of forecast combinations towards equal weights: Diebold & Shin (2019); positive-part shrinkage towards
    the plainest forecast: James & Stein (1961).

    Examples
    --------
    >>> strong = Skill(np.array([0.01]), np.array([0.005]), np.array([300.0]))
    >>> useless = Skill(np.array([-0.01]), np.array([0.005]), np.array([300.0]))
    >>> w = weights_from({"a": strong, "b": useless})
    >>> w.member.ravel().round(3).tolist(), w.base.round(3).tolist()
    ([0.8, 0.0], [0.2])
    """
    names = tuple(skills)
    if not names:
        return Weights(names, np.zeros((0, 1)), np.ones(1))
    gain = np.stack([skills[name].gain for name in names])
    error = np.stack([skills[name].error for name in names])
    days = np.stack([skills[name].n_days for name in names])
    counts = (gain > 0.0) & (error > 0.0) & (days >= FEWEST_DAYS)
    z = np.divide(gain, error, out=np.zeros(gain.shape), where=counts)
    trust = z * z / (1.0 + z * z)
    deserved = np.where(counts, trust * gain, 0.0)
    total, n_trusted = deserved.sum(axis=0), counts.sum(axis=0)
    share = np.divide(deserved, total, out=np.zeros(gain.shape), where=total > 0.0)
    equal = np.divide(counts * 1.0, n_trusted, out=np.zeros(gain.shape), where=n_trusted > 0)
    together = trust.max(axis=0)
    member = together * (equal_share * equal + (1.0 - equal_share) * share)
    return Weights(names, member, 1.0 - member.sum(axis=0))


def _usable(prediction: Prediction) -> np.ndarray:
    """Return where (T, N, H) a member has a whole forecast."""
    return np.isfinite(prediction.prob_up) & np.isfinite(prediction.quantile).all(axis=-1)


def combine(
    members: Mapping[str, Prediction], base: Prediction, weights: Weights, fresh: Mapping[str, bool] | None = None
) -> Combined:
    """Average quantiles and probabilities by weight, leaving out what is not there.

    Parameters
    ----------
    members : mapping of name to Prediction
        Of the same bars. A name of ``weights`` that is missing here counts nothing.
    base : Prediction
        The base rate's forecast of these bars.
    weights : Weights
    fresh : mapping of name to bool, optional
        False: the member's newest forecast is too old, and it is left out. Default: all are fresh.

    Returns
    -------
    Combined
        ``weight`` shows who was left out where: the others are raised in proportion, the base rate with them. NaN
        only where nobody, nor the base rate, has a forecast.

    Notes
    -----
    Averaging quantiles keeps the shape of the members' distributions (Lichtendahl, Grushka-Cockayne & Winkler, 2013),
    where averaging distributions would widen them.
    """
    present = [name for name in weights.names if name in members and (fresh is None or fresh.get(name, True))]
    said = [members[name] for name in present] + [base]
    share = [weights.member[weights.names.index(name)] for name in present] + [weights.base]
    usable = np.stack([_usable(one) for one in said])
    weight = np.where(usable, np.stack(share)[:, None, None, :], 0.0)
    total = weight.sum(axis=0)
    alone = (total <= 0.0) & usable[-1]  # only members without weight are here: the base rate speaks
    weight[-1][alone] = 1.0
    total = np.where(alone, 1.0, total)
    weight = np.divide(weight, total, out=np.zeros(weight.shape), where=total > 0.0)
    quantile, prob_up = np.zeros(base.quantile.shape), np.zeros(base.prob_up.shape)
    for one, own in zip(said, weight, strict=True):
        quantile += np.where(own[..., None] > 0.0, one.quantile, 0.0) * own[..., None]
        prob_up += np.where(own > 0.0, one.prob_up, 0.0) * own
    nobody = total <= 0.0
    quantile[nobody], prob_up[nobody] = np.nan, np.nan
    listed = np.zeros((len(weights.names) + 1, *prob_up.shape))
    for row, name in zip(weight, [*present, None], strict=True):
        listed[-1 if name is None else weights.names.index(name)] = row
    median_spread, prob_spread = _spreads([members[name] for name in present], usable[:-1])
    return Combined(Prediction(quantile, prob_up), median_spread, prob_spread, listed)


def _spreads(members: list[Prediction], usable: np.ndarray) -> tuple[F8, F8]:
    """Return the standard deviations of medians and probabilities between members; NaN for fewer than two."""
    if not members:
        nothing = np.full(usable.shape[1:], np.nan)
        return nothing, nothing
    medians = np.stack([np.asarray(one.quantile[..., MEDIAN], dtype=np.float64) for one in members])
    probs = np.stack([np.asarray(one.prob_up, dtype=np.float64) for one in members])
    return _spread(medians, usable), _spread(probs, usable)


def _spread(values: F8, usable: np.ndarray) -> F8:
    count = usable.sum(axis=0)
    known = np.where(usable, values, 0.0)
    mean = np.divide(known.sum(axis=0), count, out=np.zeros(count.shape), where=count > 0)
    square = np.where(usable, np.square(known - mean), 0.0).sum(axis=0)
    return np.sqrt(np.divide(square, count, out=np.full(count.shape, np.nan), where=count > 1))

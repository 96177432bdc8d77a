"""Which sleeve gets how much of the risk: AdaHedge with sleeping sleeves, one for each regime of the market.

Each UTC day every sleeve has a loss in [0, 1]: (3 - x) / 6, where x is the net return of its own book over its day's
volatility, cut to [-3, 3]. In the regime r that the day began in, shares are p_s ~ exp(-eta L_rs) with the learning
rate eta = ln(K) / gap_r, and gap_r grows by h - m: the learner's loss less its mix loss. Regret against the best fixed
sleeve is then at most 2 gap_r, which is of the order of the root of the losses' variance times ln K, for any sequence
of returns. A sleeve that sleeps is charged the learner's own loss, so its share is neither earned nor lost. ``gap``
begins at FIRST_GAP instead of 0, because following the leader of a single day would be churn; the bound grows by it.

Sources: de Rooij, van Erven, Gruenwald & Koolen (2014), AdaHedge; Freund, Schapire, Singer & Warmuth (1997) and
Chernov & Vovk (2009) for sleeping.
"""

from __future__ import annotations

import math

import numpy as np

from engine.domain import F8
from engine.strategies.sleeves.state import CALM, FAST_VARIANCE, LEARNED, SLOW_VARIANCE, STORMY, Book, Rules

MOST = 3.0  # daily standard deviations that count
_LOG_K = math.log(LEARNED)


def losses_of(day_net: F8, day_volatility: float) -> F8:
    """Return losses in [0, 1] from net returns of a day, in whatever shape; 0.5 where nothing was earned."""
    losses: F8 = 0.5 - np.clip(day_net / day_volatility, -MOST, MOST) / (2.0 * MOST)
    return losses


def shares_of(loss: F8, awake: F8, gap: float) -> F8:
    """Return the shares (K,) of a day: p ~ exp(-eta loss) over the sleeves that are awake, 0 of the others.

    Parameters
    ----------
    loss : (K,) float64
        Summed losses in the day's regime.
    awake : (K,) bool
    gap : float
        Summed mixability gap in that regime.

    Examples
    --------
    >>> shares_of(np.array([1.0, 1.0, 9.0]), np.array([True, True, False]), 1.0).tolist()
    [0.5, 0.5, 0.0]
    """
    if not awake.any():
        return np.zeros(len(loss))
    weight: F8 = np.where(awake, np.exp(-_LOG_K / gap * (loss - loss[awake].min())), 0.0)
    return weight / weight.sum()


def learn(share: F8, awake: F8, own: F8, gap: float) -> tuple[F8, float]:
    """Return what a day adds to the losses (K,) of its regime, and the regime's new gap.

    Parameters
    ----------
    share : (K,) float64
        Shares of the day; they sum to 1 over the sleeves that were awake.
    awake : (K,) bool
    own : (K,) float64 in [0, 1]
        Each sleeve's own loss; not read where it slept.
    gap : float
    """
    if not awake.any():
        return np.zeros(len(share)), gap
    eta = _LOG_K / gap
    learner = float(share[awake] @ own[awake])
    mix = -math.log(float(share[awake] @ np.exp(-eta * own[awake]))) / eta
    return np.where(awake, own, learner), gap + max(learner - mix, 0.0)


def begin_day(book: Book, rules: Rules) -> None:
    """Learn from the day that has ended and share the risk out for the one that begins, in place.

    Known at: the last close of the day that has ended; its regime is told by the market's variances at that close.
    """
    learned = slice(0, LEARNED)
    before = int(book.regime[0])
    added, book.gap[before] = learn(
        book.share[learned], book.awake_day[learned] == 1,
        losses_of(book.day_net[learned], rules.day_volatility), float(book.gap[before]),
    )  # fmt: skip
    book.loss[before, learned] += added
    regime = CALM if book.market[FAST_VARIANCE] <= book.market[SLOW_VARIANCE] else STORMY
    book.regime[0] = regime
    book.awake_day[:] = book.awake & rules.enabled
    book.day_net[:] = 0.0
    book.share[learned] = shares_of(book.loss[regime, learned], book.awake_day[learned] == 1, float(book.gap[regime]))

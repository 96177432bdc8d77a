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
from engine.strategies.portfolio import ADAPTIVE
from engine.strategies.sharer import Sharer
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


def begin_day(book: Book, rules: Rules, sharer: Sharer, day: int) -> None:
    """Learn from the day that has ended and share the risk out for UTC day ``day``, which begins, in place.

    The learner learns whoever shares out, so that it can be chosen at any time.

    Known at: the last close of the day that has ended; its regime is told by the market's variances at that close.
    """
    learned = slice(0, LEARNED)
    before, awake = int(book.regime[0]), book.awake_day[learned] == 1
    if book.day[0] > 0:
        sharer.end_day(int(book.day[0]), book.day_net[learned], awake)
    own = book.share[learned] if sharer.wanted == ADAPTIVE else _learned_shares(book)
    added, book.gap[before] = learn(
        own, awake, losses_of(book.day_net[learned], rules.day_volatility), float(book.gap[before])
    )
    book.loss[before, learned] += added
    book.regime[0] = CALM if book.market[FAST_VARIANCE] <= book.market[SLOW_VARIANCE] else STORMY
    book.awake_day[:] = book.awake & rules.enabled
    book.day_net[:] = 0.0
    share = sharer.share(day, book.awake_day[learned] == 1)
    book.share[learned] = _learned_shares(book) if share is None else share
    book.day[0] = day


def share_anew(book: Book, sharer: Sharer) -> None:
    """Share the day under way out as ``sharer`` says now, in place: after another way of sharing, or a late plan."""
    awake = book.awake_day[:LEARNED] == 1
    adaptive = sharer.wanted == ADAPTIVE
    book.share[:LEARNED] = _learned_shares(book) if adaptive else sharer.now(int(book.day[0]), awake)


def _learned_shares(book: Book) -> F8:
    regime, learned = int(book.regime[0]), slice(0, LEARNED)
    return shares_of(book.loss[regime, learned], book.awake_day[learned] == 1, float(book.gap[regime]))

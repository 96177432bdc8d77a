"""How much of a decision a stream of positions has earned: by what it made after costs, beside the trend rule."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from engine.domain import F8
from models.shown import FEWEST_TRADED_DAYS

DAYS_PER_YEAR = 365.0
SURE_Z = 1.96
"""An excess that is not this many standard errors above zero is worth nothing."""

BAR_SHARPE = 1.6
"""What a plain trend rule earns in the long run, net and a year: a bad year of the rule makes no model better."""

MOST_SHARE = 0.5
"""One walk, however good, gives no more: it is one draw of many that might have come."""


class TradingEvidence(NamedTuple):
    """A record on bars that were not learned from. Simple returns a day, after costs."""

    share: float  # of the decision, in [0, ``MOST_SHARE``]
    excess: float  # beyond holding and the trend rule
    error: float  # its standard error
    sharpe: float  # of all that was earned, annual
    sharpe_error: float
    trend_sharpe: float  # of the rule on the same days, annual
    n_days: int

    def metrics(self) -> dict[str, dict[str, float]]:
        """Return what a manifest keeps."""
        days = float(self.n_days)
        return {
            "share": {"mean": self.share, "spread": 0.0, "n": days},
            "excess": {"mean": self.excess, "spread": self.error, "n": days},
            "sharpe": {"mean": self.sharpe, "spread": self.sharpe_error, "n": days},
            "trend_sharpe": {"mean": self.trend_sharpe, "spread": _sharpe_error(self.trend_sharpe, days), "n": days},
        }


def evidence_of(daily: F8, hold: F8, trend: F8) -> TradingEvidence:
    """Return what daily returns show beside those of holding every symbol and of the trend rule on the same days.

    Parameters
    ----------
    daily, hold, trend : (D,) float64
        Simple returns after costs, of positions sized alike.

    Returns
    -------
    TradingEvidence
        Share 0 for fewer than ``FEWEST_TRADED_DAYS`` days, for an excess that is not surely above zero, and where
        something was never held.

    Notes
    -----
    excess = the intercept of daily on hold and trend, by ordinary least squares; its error allows for days that are
    alike and for volatility that changes (Newey & West, 1987, with the lag 4 (D / 100)^(2/9) of Newey & West, 1994).

    share = shrunk / (aversion * variance of (daily - trend)) is the w that makes (1 - w) trend + w daily the best in
    mean and variance (Markowitz, 1952), because a position that goes to the models is one that the rule gives up:

    - shrunk = excess (1 - (1.96 error / excess)^2)+, the mean shrunk by its error, to zero where it is not sure (the
      non-negative garrote, Breiman, 1995);
    - aversion = mean / variance of the rule, which is what makes the rule's own size the best without models (implied
      by the position held, as in Black & Litterman, 1992), with no mean below that of ``BAR_SHARPE``.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> hold, trend = 0.01 * rng.standard_normal((2, 1000))
    >>> evidence_of(0.5 * hold + 0.01 * rng.standard_normal(1000), hold, trend).share
    0.0
    >>> round(evidence_of(0.001 + 0.01 * rng.standard_normal(1000), hold, trend).share, 2)
    0.06
    """
    n_days = len(daily)
    moved = [bool(n_days) and float(np.std(one)) > 0.0 for one in (daily, hold, trend)]
    if not moved[0] or n_days <= 3:
        return TradingEvidence(0.0, 0.0, 0.0, 0.0, 0.0, _sharpe(trend), n_days)
    others = [one for one, has_moved in zip((hold, trend), moved[1:], strict=True) if has_moved]
    excess, error = _intercept(daily, np.vstack([np.ones(n_days), *others]))
    sharpe = _sharpe(daily)
    enough = n_days >= FEWEST_TRADED_DAYS and moved[2]
    share = _share(daily, trend, excess, error) if enough else 0.0
    return TradingEvidence(share, excess, error, sharpe, _sharpe_error(sharpe, n_days), _sharpe(trend), n_days)


def _intercept(daily: F8, x: F8) -> tuple[float, float]:
    """Return the intercept of daily on x (K, D), whose first row is 1, and its Newey-West error."""
    n_days = len(daily)
    inverse = np.linalg.pinv(x @ x.T)
    found = inverse @ x @ daily
    score = x * (daily - found @ x)
    middle = score @ score.T
    lags = min(int(4.0 * (n_days / 100.0) ** (2.0 / 9.0)), n_days - 1)
    for lag in range(1, lags + 1):
        both = score[:, lag:] @ score[:, :-lag].T
        middle += (1.0 - lag / (lags + 1.0)) * (both + both.T)
    variance = float((inverse @ middle @ inverse)[0, 0]) * n_days / max(n_days - len(x), 1)
    return float(found[0]), math.sqrt(max(variance, 0.0))


def _share(daily: F8, trend: F8, excess: float, error: float) -> float:
    if not (error > 0.0 and excess > SURE_Z * error):
        return 0.0
    variance = float(np.var(trend))
    mean = max(float(trend.mean()), BAR_SHARPE * math.sqrt(variance / DAYS_PER_YEAR))
    shrunk = excess * (1.0 - (SURE_Z * error / excess) ** 2)
    given_up = mean / variance * float(np.var(daily - trend))
    return min(shrunk / given_up, MOST_SHARE) if given_up > 0.0 else 0.0


def _sharpe(daily: F8) -> float:
    deviation = float(np.std(daily)) if len(daily) else 0.0
    return float(np.mean(daily)) / deviation * math.sqrt(DAYS_PER_YEAR) if deviation > 0.0 else 0.0


def _sharpe_error(sharpe: float, n_days: float) -> float:
    # Lo (2002) for independent returns, in daily units: (1 + SR^2 / 2) / n
    return math.sqrt((DAYS_PER_YEAR + 0.5 * sharpe * sharpe) / n_days) if n_days else 0.0

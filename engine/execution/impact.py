"""What trading costs as our own fills tell it, drawn towards what was assumed while they are few.

The model of one order, fractions of the price, with q our quantity, V the market's volume and sigma its volatility in
the same hour (the square-root law does not depend on the length of that stretch):

    cost = (1 - m) h + Y sigma sqrt(q / V) + fees        h half spread, Y temporary impact, m the maker's share
    left = gamma sigma q / V                             the part of the move that stays (permanent impact)

Almgren, Thum, Hauptmann and Li, "Direct estimation of equity market impact" (2005), for the form and for gamma's prior;
Toth et al. (2011) for the square root. ``h`` and ``Y`` are fitted to what crossing children paid against the mid at
sending, ``gamma`` to where the mid was a minute later. The fit is a Bayesian linear regression with a normal prior
around the assumed values, made robust by Huber's weights: an outlier counts as much as 1.345 standard deviations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from engine.domain import F8

HUBER = 1.345
NOISE_FLOOR = 5e-5  # of the price: a few equal fills do not make a certainty
ROUNDS = 30
MAKER_PRIOR = (5.0, 5.0)  # resting children are assumed to fill as maker half the time, as if ten had been seen
MAD_TO_SIGMA = 1.4826


class Prior(NamedTuple):
    """What is assumed of one coefficient before any fill: its value, and how sure that is."""

    mean: float
    sd: float


ASSUMED = {
    "half_spread": Prior(1e-4, 1e-4),  # the backtest's floor
    "impact": Prior(1.0, 0.5),  # the backtest's factor of the square-root law
    "permanent": Prior(0.314, 0.3),
}


class Paid(NamedTuple):
    """One finished child as the fit sees it; fractions of the price, positive is a cost. NaN: not known."""

    cost: float  # against the mid at sending, without fees
    left: float  # where the mid was a minute later, against the same mid
    participation: float  # q / V of the hour
    sigma: float  # of the hour
    notional: float  # quote
    maker_notional: float  # quote
    taker_fee: float  # paid as taker, quote
    maker_fee: float  # paid as maker, quote; negative is a rebate
    rested: bool  # it was sent to rest


class Coefficient(NamedTuple):
    """One number of the model: what was assumed, what it is now, and its standard error."""

    assumed: float
    value: float
    error: float
    n: int  # children that it was fitted to


class CostModel(NamedTuple):
    """The model in force. Fees and shares are plain averages over the fills there are, else what was assumed."""

    half_spread: Coefficient
    impact: Coefficient
    permanent: Coefficient
    taker_fee: float
    maker_fee: float
    maker_share: float  # of all notional
    resting_share: float  # of the notional that was sent to rest: how much filled as maker
    n_children: int
    notional: float
    resting_orders: int = 0  # orders sent to rest, on which ``resting_share`` rests besides what was assumed

    def as_json(self) -> dict[str, Any]:
        """Return the model as plain JSON types."""
        named: dict[str, Any] = {
            name: value._asdict() if isinstance(value, Coefficient) else value for name, value in self._asdict().items()
        }
        return named


def from_json(kept: dict[str, Any]) -> CostModel:
    """Return the model that ``as_json`` wrote."""
    coefficients = {name: Coefficient(**kept[name]) for name in ASSUMED}
    return CostModel(**(kept | coefficients))


def assumed_model(taker_fee: float, maker_fee: float) -> CostModel:
    """Return the model before any fill."""
    return fitted([], taker_fee, maker_fee)


def fitted(children: Sequence[Paid], taker_fee: float, maker_fee: float) -> CostModel:
    """Fit the model to finished children.

    Parameters
    ----------
    children : sequence of Paid
    taker_fee, maker_fee : float
        The venue's rates, fractions of notional: used where nothing was paid yet.
    """
    crossing = [c for c in children if not c.rested and math.isfinite(c.cost) and _has_market(c)]
    root = np.array([[1.0, c.sigma * math.sqrt(c.participation)] for c in crossing]).reshape(-1, 2)
    cost = np.array([c.cost for c in crossing])
    priors = (ASSUMED["half_spread"], ASSUMED["impact"])
    mean, error = robust_posterior(root, cost, priors)
    followed = [c for c in children if math.isfinite(c.left) and _has_market(c)]
    linear = np.array([[c.sigma * c.participation] for c in followed]).reshape(-1, 1)
    left_mean, left_error = robust_posterior(linear, np.array([c.left for c in followed]), (ASSUMED["permanent"],))
    whole = math.fsum(c.notional for c in children)
    made = math.fsum(c.maker_notional for c in children)
    rested = [c for c in children if c.rested]
    rested_whole = math.fsum(c.notional for c in rested)
    seen = len(rested) * (math.fsum(c.maker_notional for c in rested) / rested_whole if rested_whole > 0 else 0.0)
    taken = whole - made
    return CostModel(
        Coefficient(priors[0].mean, float(mean[0]), float(error[0]), len(crossing)),
        Coefficient(priors[1].mean, float(mean[1]), float(error[1]), len(crossing)),
        Coefficient(ASSUMED["permanent"].mean, float(left_mean[0]), float(left_error[0]), len(followed)),
        math.fsum(c.taker_fee for c in children) / taken if taken > 0 else taker_fee,
        math.fsum(c.maker_fee for c in children) / made if made > 0 else maker_fee,
        made / whole if whole > 0 else 0.0,
        (MAKER_PRIOR[0] + seen) / (sum(MAKER_PRIOR) + len(rested)),
        len(children), whole, len(rested),
    )  # fmt: skip


def _has_market(child: Paid) -> bool:
    return child.participation > 0 and child.sigma > 0 and math.isfinite(child.participation * child.sigma)


def robust_posterior(inputs: F8, paid: F8, priors: Sequence[Prior]) -> tuple[F8, F8]:
    """Return mean and standard error of a linear model's coefficients, (K,) each.

    Minimises sum_i rho((y_i - x_i b) / s) + sum_k (b_k - mu_k)^2 / (2 tau_k^2), rho Huber's, s from the median absolute
    residual. Without rows the prior comes back.

    Parameters
    ----------
    inputs : (N, K) float64
    paid : (N,) float64
    priors : K of them
    """
    mu, precision = np.array([p.mean for p in priors]), np.array([p.sd for p in priors]) ** -2.0
    mean, certainty = mu.copy(), np.diag(precision)
    if len(paid) == 0:
        return mean, 1.0 / np.sqrt(precision)
    for _ in range(ROUNDS):
        residual = paid - inputs @ mean
        scale = max(MAD_TO_SIGMA * float(np.median(np.abs(residual))), NOISE_FLOOR)
        weight = np.minimum(1.0, HUBER * scale / np.maximum(np.abs(residual), 1e-300))
        weighted = inputs.T * (weight / scale**2)
        certainty = weighted @ inputs + np.diag(precision)
        before, mean = mean, np.linalg.solve(certainty, weighted @ paid + precision * mu)
        if np.allclose(before, mean, rtol=1e-10, atol=1e-14):
            break
    return mean, np.sqrt(np.diag(np.linalg.inv(certainty)))


class Expected(NamedTuple):
    """An order's expected cost, fractions of its notional; ``risk`` is one standard deviation and no cost."""

    spread: float
    impact: float
    fees: float
    risk: float

    @property
    def total(self) -> float:
        """What it is expected to cost on average."""
        return self.spread + self.impact + self.fees


def expected_cost(model: CostModel, qty: float, volume: float, sigma: float, maker_share: float) -> Expected:
    """Return what an order is expected to cost by the model, without its risk.

    Parameters
    ----------
    qty : float
        Base units, unsigned.
    volume, sigma : float
        The market's, of an hour.
    maker_share : float in [0, 1]
        Share of it that rests until it fills: it saves the half spread and gains none, as in ``engine.core.costs``.
    """
    pushed = model.impact.value * sigma * math.sqrt(qty / volume) if volume > 0 else math.nan
    fees = maker_share * model.maker_fee + (1.0 - maker_share) * model.taker_fee
    return Expected((1.0 - maker_share) * model.half_spread.value, pushed, fees, 0.0)


def turnover_costs(model: CostModel, notional: F8, hour_notional: F8, sigma: F8) -> F8:
    """Return what trades are expected to cost, quote currency: for an optimiser that weighs a change against its cost.

    Parameters
    ----------
    notional : (N,) float64, quote, signed or not
    hour_notional : (N,) float64, quote
        What an hour trades.
    sigma : (N,) float64, of an hour
    """
    size = np.abs(notional)
    rate = (1.0 - model.maker_share) * (model.half_spread.value + model.taker_fee) + model.maker_share * model.maker_fee
    cost: F8 = size * (rate + model.impact.value * sigma * np.sqrt(size / hour_notional))
    return cost


def backtest_params(model: CostModel) -> dict[str, float]:
    """Return the model as parameters of a backtest, by the names of ``engine.research.run_params``."""
    return {
        "slippage": max(model.half_spread.value, 0.0), "spread_vol": 0.0, "impact": max(model.impact.value, 0.0),
        "taker_fee": model.taker_fee, "maker_fee": model.maker_fee,
        "maker_share": min(max(model.maker_share, 0.0), 1.0),
    }  # fmt: skip

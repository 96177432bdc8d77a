"""Portfolio optimisers: from past returns to long-only weights that sum to one. Libraries are loaded on first use.

Each takes returns (T, N), the weights held before (N,) and the cost of trading one unit, and returns weights (N,).
Only ``mean-variance`` reads the last two. NaN in returns counts as 0: nothing was earned.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from engine.domain import F8

RISK_AVERSION = 5.0
"""Of mean-variance and QUBO, in ``mean - aversion / 2 * variance`` of yearly figures: Kelly has 1."""

CVAR_LEVEL = 0.95
QUBO_BITS = 4
DAYS_PER_YEAR = 365.0
_TINY = 1e-12

Optimiser = Callable[[F8, F8, float], F8]


def normalised(weights: F8) -> F8:
    """Return weights without negatives, summing to one; equal ones where nothing is left."""
    kept = np.clip(weights, 0.0, None)
    total = float(kept.sum())
    result: F8 = kept / total if total > _TINY else np.full(len(kept), 1.0 / len(kept))
    return result


def equal(returns: F8, before: F8, cost: float) -> F8:
    """Return 1/N each: the control that others must beat (DeMiguel, Garlappi & Uppal, 2009)."""
    return np.full(returns.shape[1], 1.0 / returns.shape[1])


def risk_parity(returns: F8, before: F8, cost: float) -> F8:
    """Return weights of which each contributes the same risk: w_i (C w)_i equal for all i.

    Cyclical coordinate descent on w' C w / 2 - sum(log w_i) / N (Griveau-Billion, Richard & Roncalli, 2013).
    """
    covariance = np.cov(returns, rowvar=False).reshape(returns.shape[1], -1)
    covariance = covariance / max(float(np.trace(covariance)), _TINY) + 1e-9 * np.eye(len(covariance))
    n = len(covariance)
    weights: F8 = 1.0 / np.sqrt(np.diag(covariance))
    for _ in range(500):
        moved = 0.0
        for i in range(n):
            others = float(covariance[i] @ weights - covariance[i, i] * weights[i])
            new = (-others + np.sqrt(others * others + 4.0 * covariance[i, i] / n)) / (2.0 * covariance[i, i])
            moved = max(moved, abs(new - weights[i]) / max(weights[i], _TINY))
            weights[i] = new
        if moved < 1e-10:
            break
    return normalised(weights)


def minimum_cvar(returns: F8, before: F8, cost: float) -> F8:
    """Return the weights with the smallest mean loss in the worst 5 % of periods, as a linear programme.

    min z + sum(u_t) / ((1 - level) T), u_t >= -r_t' w - z, u_t >= 0. Source: Rockafellar & Uryasev (2000).
    """
    from scipy.optimize import linprog
    from scipy.sparse import csr_array, eye_array, hstack

    n_periods, n = returns.shape
    price = np.concatenate([np.zeros(n), [1.0], np.full(n_periods, 1.0 / ((1.0 - CVAR_LEVEL) * n_periods))])
    beyond = hstack([csr_array(-returns), csr_array(-np.ones((n_periods, 1))), -eye_array(n_periods)], format="csr")
    whole = np.concatenate([np.ones(n), np.zeros(1 + n_periods)])[None, :]
    bounds = [(0.0, 1.0)] * n + [(None, None)] + [(0.0, None)] * n_periods
    found = linprog(
        price, A_ub=beyond, b_ub=np.zeros(n_periods), A_eq=whole, b_eq=[1.0], bounds=bounds, method="highs"
    )  # fmt: skip
    return normalised(found.x[:n]) if found.success else equal(returns, before, cost)


def hierarchical_risk_parity(returns: F8, before: F8, cost: float) -> F8:
    """Return inverse-variance weights down a tree of correlations (Lopez de Prado, 2016), by skfolio."""
    import warnings

    from skfolio.cluster import HierarchicalClustering, LinkageMethod
    from skfolio.optimization import HierarchicalRiskParity

    if returns.shape[1] < 2:
        return np.ones(returns.shape[1])
    moving = returns.std(axis=0) > _TINY
    if moving.sum() < 2:
        return normalised(moving.astype(float))
    tree = HierarchicalClustering(linkage_method=LinkageMethod.SINGLE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the newer name of this argument is not in all versions
        fitted = HierarchicalRiskParity(hierarchical_clustering_estimator=tree).fit(returns[:, moving])
    weights = np.zeros(returns.shape[1])
    weights[moving] = fitted.weights_
    return normalised(weights)


def mean_variance(returns: F8, before: F8, cost: float) -> F8:
    """Return the weights with the best mean - aversion / 2 * variance - cost * |w - before|, yearly figures.

    Means are shrunk halfway to their average, because they are hardly known (Jorion, 1986). Solved in what is bought
    and sold, so that the cost is smooth. Source: Markowitz (1952); costs, Perold (1984).
    """
    from scipy.optimize import minimize

    n = returns.shape[1]
    mean = returns.mean(axis=0) * DAYS_PER_YEAR
    mean = 0.5 * (mean + mean.mean())
    covariance = np.cov(returns, rowvar=False).reshape(n, n) * DAYS_PER_YEAR

    def loss(trades: F8) -> float:
        w = before + trades[:n] - trades[n:]
        return float(0.5 * RISK_AVERSION * w @ covariance @ w - mean @ w + cost * trades.sum())

    def slope(trades: F8) -> F8:
        w = before + trades[:n] - trades[n:]
        inner = RISK_AVERSION * covariance @ w - mean
        return np.concatenate([inner + cost, cost - inner])

    rules = [
        {"type": "eq", "fun": lambda trades: (before + trades[:n] - trades[n:]).sum() - 1.0,
         "jac": lambda trades: np.concatenate([np.ones(n), -np.ones(n)])},
        {"type": "ineq", "fun": lambda trades: before + trades[:n] - trades[n:],
         "jac": lambda trades: np.hstack([np.eye(n), -np.eye(n)])},
    ]  # fmt: skip
    start = np.concatenate([np.clip(1.0 / n - before, 0.0, None), np.clip(before - 1.0 / n, 0.0, None)])
    found = minimize(loss, start, jac=slope, bounds=[(0.0, 1.0)] * (2 * n), constraints=rules, method="SLSQP")
    return normalised(before + found.x[:n] - found.x[n:])


def qubo_matrix(returns: F8, bits: int = QUBO_BITS) -> tuple[F8, F8]:
    """Return Q (M, M) and the weight of each bit (M,) of mean-variance as a quadratic binary problem.

    w_i = sum_b 2^b x_ib / (2^bits - 1). Energy x' Q x = aversion / 2 * w' C w - mean' w + penalty * (sum(w) - 1)^2, the
    constant left out. M = N * bits.
    """
    n = returns.shape[1]
    mean = returns.mean(axis=0) * DAYS_PER_YEAR
    mean = 0.5 * (mean + mean.mean())
    covariance = np.cov(returns, rowvar=False).reshape(n, n) * DAYS_PER_YEAR
    worth = 2.0 ** np.arange(bits) / (2.0**bits - 1.0)
    spread = np.kron(np.eye(n), worth)  # (N, M): bits to weights
    penalty = 2.0 * float(np.abs(mean).max() + RISK_AVERSION * np.abs(covariance).max())
    linear = -spread.T @ mean - 2.0 * penalty * spread.sum(axis=0)
    quadratic = spread.T @ (0.5 * RISK_AVERSION * covariance) @ spread
    quadratic += penalty * np.outer(spread.sum(axis=0), spread.sum(axis=0))
    return quadratic + np.diag(linear), spread.max(axis=0)


def qubo(returns: F8, before: F8, cost: float) -> F8:
    """Return the mean-variance weights of a QUBO, annealed; experimental.

    ``scipy.optimize.dual_annealing`` anneals in a box, and a bit is whether its coordinate is above a half: a stand-in
    for an annealer of bits. Weights come in steps of 1/15. Source: Rosenberg et al. (2016) for the formulation.
    """
    from scipy.optimize import dual_annealing

    matrix, worth = qubo_matrix(returns)

    def energy(point: F8) -> float:
        bits = point > 0.5
        return float(matrix[np.ix_(bits, bits)].sum())

    found = dual_annealing(
        energy, [(0.0, 1.0)] * len(worth), maxiter=150, no_local_search=True, rng=np.random.default_rng(7)
    )  # fmt: skip
    return normalised((worth * (found.x > 0.5)).reshape(returns.shape[1], -1).sum(axis=1))


OPTIMISERS: dict[str, Optimiser] = {
    "equal weight": equal, "risk parity": risk_parity, "minimum CVaR": minimum_cvar,
    "hierarchical risk parity": hierarchical_risk_parity, "mean-variance": mean_variance, "QUBO, annealed": qubo,
}  # fmt: skip
"""The control first."""

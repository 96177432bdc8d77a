"""What each sleeve of the portfolio strategy earned, what it was given, and how much the sharing regrets.

A sleeve's *own book* is what it would hold alone at its budget; its net return is after funding and 6 bp of what it
trades. What it contributed to the portfolio is that times its multiplier at the time. These are the strategy's own
accounts, from which it learns: the gate, the account's rebalance band and impact are in the portfolio's result, not
here, so contributions add up to it only nearly.

``evidence`` returns plain JSON types, NaN as None:

* ``sleeves``: ``[{"name", "sharpe", "sharpe_before", "sharpe_after", "return_a_year", "volatility",
  "contribution_a_year", "mean_share", "last_share", "awake_share"}]``; before and after ``split``
* ``shares``, ``contributions``: ``{"ts_ms": [...], name: [...]}``, one value a month: mean multiplier, summed return
* ``learning``: ``{"learner_loss", "best_loss", "best", "regret", "bound", "days", "rate"}``
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from engine.core.metrics import sharpe_ratio
from engine.domain import F8, I8
from engine.research.figures import DAYS_PER_YEAR, day_ends
from engine.strategies.portfolio import ADAPTIVE
from engine.strategies.portfolio_runner import PortfolioRunner, Told
from engine.strategies.sleeves.mixing import losses_of
from engine.strategies.sleeves.state import FIRST_GAP, LEARNED, NAMES

_MIN_DAYS = 30
_AWAKE_SHARE = 1e-9


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def by_day(ts_close: I8, values: F8) -> tuple[I8, F8]:
    """Return the last close of each UTC day and what the bars (T, S) of each day sum up to."""
    ends = day_ends(ts_close)
    begins = np.append(0, ends[:-1] + 1)
    return ts_close[ends], np.add.reduceat(values, begins, axis=0)


def _sharpe(days: F8) -> float | None:
    held = days[np.argmax(days != 0.0) :]
    return _plain(sharpe_ratio(held, DAYS_PER_YEAR)) if np.count_nonzero(days) >= _MIN_DAYS else None


def _monthly(moments: I8, values: F8, mean: bool) -> dict[str, list[Any]]:
    months = moments.astype("datetime64[ns]").astype("datetime64[M]")
    begins = np.append(0, np.flatnonzero(months[1:] != months[:-1]) + 1)
    sums = np.add.reduceat(values, begins, axis=0)
    counts = np.diff(np.append(begins, len(values)))[:, None]
    table = sums / counts if mean else sums
    ts_ms = months[begins].astype("datetime64[ms]").astype(np.int64).tolist()
    return {"ts_ms": ts_ms} | {name: table[:, s].tolist() for s, name in enumerate(NAMES)}


def learning(days: F8, shares: F8, runner: PortfolioRunner) -> dict[str, Any] | None:
    """Return how much the learned shares lost against the best fixed sleeve, and the bound of that.

    None where somebody else shared out, or where there are too few days.

    Parameters
    ----------
    days : (D, S) float64
        Net return of each sleeve's own book.
    shares : (D, S) float64
        Multipliers in force.
    runner : PortfolioRunner
        After the last day.

    Notes
    -----
    Only sleeves that were awake on every counted day can be the best fixed one: a sleeve that slept has no loss of its
    own then. The bound is the sum over both regimes of twice the summed mixability gap, so it holds even against a best
    sleeve for each regime.
    """
    learned = shares[:, :LEARNED]
    counted = learned.sum(axis=1) > _AWAKE_SHARE
    if counted.sum() < _MIN_DAYS or runner.own.sharing != ADAPTIVE:
        return None
    first = int(np.argmax(counted))
    awake = learned[first:] > 0.0
    losses = losses_of(days[first:, :LEARNED], runner.day_volatility)
    weights = learned[first:] / np.maximum(learned[first:].sum(axis=1, keepdims=True), _AWAKE_SHARE)
    learner = float((weights * losses).sum())
    own = np.where(awake, losses, (weights * losses).sum(axis=1, keepdims=True)).sum(axis=0)
    taking_part = awake.any(axis=0)
    best = int(np.argmin(np.where(taking_part, own, np.inf)))
    gaps = runner.book.gap
    return {
        "days": int(counted.sum()), "learner_loss": learner, "best": NAMES[best], "best_loss": float(own[best]),
        "regret": learner - float(own[best]), "bound": float(2.0 * gaps.sum()),
        "rate": [float(math.log(LEARNED) / gap) for gap in gaps], "first_rate": math.log(LEARNED) / FIRST_GAP,
    }  # fmt: skip


def evidence(told: Told, ts_close: I8, runner: PortfolioRunner, split_ns: int | None = None) -> dict[str, Any]:
    """Return the module's first lines' answer.

    Parameters
    ----------
    told : Told
        Over T bars.
    ts_close : (T,) int64 ns
    runner : PortfolioRunner
        After the last bar.
    split_ns : int, optional
        Where the time that was looked at in research ends; default: at 70 % of the bars.
    """
    moments, days = by_day(ts_close, told.net)
    _, given = by_day(ts_close, told.net * told.share)
    shares = told.share[day_ends(ts_close)]
    split = int(ts_close[round(0.7 * (len(ts_close) - 1))]) if split_ns is None else split_ns
    early = moments <= split
    years = len(days) / DAYS_PER_YEAR
    rows = [
        {
            "name": name, "sharpe": _sharpe(days[:, s]), "sharpe_before": _sharpe(days[early, s]),
            "sharpe_after": _sharpe(days[~early, s]), "return_a_year": float(days[:, s].sum() / years),
            "volatility": float(days[:, s].std() * math.sqrt(DAYS_PER_YEAR)),
            "contribution_a_year": float(given[:, s].sum() / years), "mean_share": float(shares[:, s].mean()),
            "last_share": float(shares[-1, s]), "awake_share": float(np.mean(days[:, s] != 0.0)),
        }
        for s, name in enumerate(NAMES)
        if runner.takes_part(name)
    ]  # fmt: skip
    return {
        "sleeves": rows, "split_ms": split // 1_000_000, "shares": _monthly(moments, shares, mean=True),
        "contributions": _monthly(moments, given, mean=False), "learning": learning(days, shares, runner),
    }  # fmt: skip

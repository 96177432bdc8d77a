"""An alarm for when a series stops being what it was: Bayesian online change-point detection."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from engine.core.compiling import entry_kernel
from engine.domain import F8, I8

MAX_RUN = 400
"""Runs of this many values and more count as one run, which forgets what is older."""

HAZARD = 1e-6
"""Prior probability of a change at any value. It is no belief about how often markets change but a price: 14 nats of
evidence, so that fat tails and the usual swings of volatility are not taken for changes (``benchmarks/alarms.py``)."""

RECENT = 96
"""A change is recent while at most this many values came after it."""

ALARM_AT, QUIET_AT = 0.9, 0.5
"""The alarm sounds when a recent change is the first probable, and until it is no more than the second."""

WARM_UP = 100
"""Values until the alarm can sound."""

VALUE_BOUND = 3.5
"""Values beyond plus and minus this count as this: one odd value is no new regime."""


class RunState(NamedTuple):
    """What is believed about the values since the last change."""

    n_values: I8  # (1,) known values seen
    probability: F8  # (MAX_RUN,) of each run length
    mean: F8  # (MAX_RUN,) posterior mean of the values of such a run
    rate: F8  # (MAX_RUN,) of the posterior of their precision, Gamma(1 + r/2, rate)


def new_run_state() -> RunState:
    """Return the state before the first value; values are expected around 0 with a variance near 1."""
    probability = np.zeros(MAX_RUN)
    probability[0] = 1.0
    return RunState(np.zeros(1, dtype=np.int64), probability, np.zeros(MAX_RUN), np.ones(MAX_RUN))


def _log_scale(run: int) -> float:
    shape = 1.0 + 0.5 * run
    return math.lgamma(shape + 0.5) - math.lgamma(shape) - 0.5 * math.log(math.pi)


_LOG_SCALE = np.array([_log_scale(run) for run in range(MAX_RUN)])


@entry_kernel
def advance_runs(state: RunState, log_scale: F8, values: F8, out: F8) -> None:
    """Take the values (T,) in place and write the probability of a recent change after each to ``out`` (T,)."""
    probability, mean, rate = state.probability, state.mean, state.rate
    last = probability.shape[0] - 1
    for t in range(values.shape[0]):
        if values[t] == values[t]:
            value = min(max(values[t], -VALUE_BOUND), VALUE_BOUND)
            state.n_values[0] += 1
            changed = 0.0
            total = 0.0
            for run in range(last, -1, -1):  # from the longest, so that each moves into a place already read
                weight = 1.0 + run
                shape = 1.0 + 0.5 * run
                off = (value - mean[run]) ** 2
                spread = 2.0 * rate[run] * (weight + 1.0) / weight
                log_density = log_scale[run] - 0.5 * math.log(spread) - (shape + 0.5) * math.log1p(off / spread)
                joint = probability[run] * math.exp(log_density)
                changed += joint * HAZARD
                total += joint
                grown = joint * (1.0 - HAZARD)
                new_mean = (weight * mean[run] + value) / (weight + 1.0)
                new_rate = rate[run] + 0.5 * weight * off / (weight + 1.0)
                if run == last:
                    probability[last] = grown
                    mean[last] = new_mean
                    rate[last] = new_rate * shape / (shape + 0.5)
                elif run == last - 1:
                    both = probability[last] + grown
                    share = grown / both if both > 0.0 else 1.0
                    probability[last] = both
                    mean[last] += share * (new_mean - mean[last])
                    rate[last] += share * (new_rate - rate[last])
                else:
                    probability[run + 1] = grown
                    mean[run + 1] = new_mean
                    rate[run + 1] = new_rate
            probability[0] = changed
            mean[0] = 0.0
            rate[0] = 1.0
            for run in range(last + 1):
                probability[run] /= total
        out[t] = 0.0
        if state.n_values[0] >= WARM_UP:
            for run in range(RECENT + 1):
                out[t] += probability[run]


def watch(state: RunState, values: F8) -> tuple[RunState, F8]:
    """Take values, oldest first; return the state after them and the probability of a recent change after each.

    The run length r grows by one or falls to zero with the hazard H = 1e-6:
    p_t(r + 1) ∝ p_{t-1}(r) f_r(x_t) (1 - H) and p_t(0) ∝ sum_r p_{t-1}(r) f_r(x_t) H, where f_r is the Student-t
    prediction of a normal with unknown mean and variance, learned from the r values of the run. Recent is within the
    last 96 values.

    Parameters
    ----------
    state : RunState
        Unchanged.
    values : (T,) float64
        Roughly independent with variance near 1 while nothing changes: standardised forecast errors or losses, not
        prices or volatilities, whose own memory would count as changes. One value live, all of them in batch: the same
        kernel, equal to the bit. NaN is passed over.

    Returns
    -------
    state : RunState
    probability : (T,) float64 in [0, 1]
        0 for the first 100 values. At or above ``ALARM_AT`` it is an alarm.

    Notes
    -----
    Known at: each value's own moment. Source: Adams & MacKay (2007); values cut at ±3.5, runs over 400 merged.
    """
    after = RunState(state.n_values.copy(), state.probability.copy(), state.mean.copy(), state.rate.copy())
    probability = np.empty(values.shape[0])
    advance_runs(after, _LOG_SCALE, np.ascontiguousarray(values, dtype=np.float64), probability)
    return after, probability


def is_loud(was_loud: bool, probability: float) -> bool:
    """Return whether the alarm sounds after a value, from whether it did before and the probability now.

    Examples
    --------
    >>> is_loud(False, 0.8), is_loud(True, 0.8), is_loud(True, 0.4)
    (False, True, False)
    """
    return bool(probability >= ALARM_AT or (was_loud and probability > QUIET_AT))


def alarms(probability: F8) -> I8:
    """Return the rows (A,) at which the alarm starts to sound, from probabilities (T,)."""
    rows, loud = [], False
    for row, one in enumerate(probability):
        before, loud = loud, is_loud(loud, one)
        if loud and not before:
            rows.append(row)
    return np.array(rows, dtype=np.int64)

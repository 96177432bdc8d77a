"""One learner with one seed on bars that it had not learned from: every figure's days, and the wish that is traded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from engine.domain import F8
from models.conformal import adapted
from models.forecast import Learnable, Prediction
from models.outcomes import outcome_tallies, outcomes_of
from models.panel import rows_of
from models.position import positions
from models.sets import ENSEMBLE
from models.tallies import Tally, day_index, reliability, tallies

__all__ = ["ENSEMBLE", "Judged", "Step", "Walk", "judged_forecasts", "known_target"]


class Step(Protocol):
    """A stretch of judged bars after which members are weighed anew."""

    @property
    def name(self) -> str:
        """Such as 2021-03."""

    @property
    def test(self) -> slice:
        """Its bars."""


class Walk(Protocol):
    """The judged bars, step by step."""

    @property
    def rows(self) -> slice:
        """All of them."""

    @property
    def steps(self) -> Sequence[Step]:
        """In order and without gaps."""

    def seconds_of(self, name: str) -> float | None:
        """Return what a step of a learner took of a processor; None where it was not measured."""


class Judged(NamedTuple):
    """What is found out about one learner with one seed."""

    name: str
    seed: int
    tallies: dict[str, Tally]  # empty for a policy
    reliability: list[list[dict[str, float]]]  # empty for a policy
    wish: F8  # (T', N) what the position rule or the policy wants on the judged bars
    weights: dict[str, Any]  # by member of an ensemble: (steps, H), the base rate's as base-rate; (steps,) of agents


def known_target(data: Learnable, rows: slice) -> F8:
    """Return the targets (T', N, H) of the judged bars, NaN where they are known only after the last of these."""
    last = int(data.panel.ts_close[rows][-1])
    target: F8 = np.where((data.ts_known[rows] <= last)[:, None, :], np.asarray(data.target[rows]), np.nan)
    return target


def judged_forecasts(
    name: str, seed: int, said: Prediction, base: Prediction, data: Learnable, rows: slice, weights: dict[str, Any]
) -> Judged:
    """Judge the forecasts of the bars ``rows``.

    Parameters
    ----------
    name : str
    seed : int
    said, base : Prediction
        Its forecasts and the base rate's, (T', N, H, Q) and (T', N, H).
    data : Learnable
    rows : slice
        The T' judged bars.
    weights : dict
        Of an ensemble's members; empty for a learner.
    """
    target, ts_close = known_target(data, rows), np.asarray(data.panel.ts_close[rows])
    issued, _ = adapted(said.quantile, target, ts_close, np.asarray(data.ts_known[rows]))
    day, sigma = day_index(ts_close), np.asarray(data.sigma[rows])
    found = tallies(said, issued, base, target, day)
    found |= outcome_tallies(said, base, outcomes_of(rows_of(data.panel, rows), sigma), sigma, day)
    wish = positions(issued, said.prob_up)
    return Judged(name, seed, found, reliability(said.prob_up, target), wish, weights)

"""Several sleeves as one book: trend, momentum, carry, reversal, the models, a tail hedge and spot-perpetual pairs.

The sleeves' books share the volatility target by what each has earned net of costs, known at the close
(``engine.strategies.sleeves.mixing``), or as an optimiser says (``engine.strategies.sharing``); what diversifies is
scaled up to the same volatility. The core's gate limits the whole as it limits every strategy. See docs/portfolio.md.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from engine.domain import Sleeve

NAME = "portfolio"
SPEC = (
    Sleeve.EXTERNAL,
    "Trend, momentum, carry, reversal, models, tail hedge and spot pairs, weighted by what each earned net.",
)
SLEEVES = ("trend", "momentum", "carry", "reversal", "models", "tail", "basis")
"""As in ``engine.strategies.sleeves.state.NAMES``, which needs the compiled core."""

DEFAULT_SLEEVES = tuple(name for name in SLEEVES if name != "reversal")
"""Reversal is left out: what it earns before costs is real, and a taker's costs are several times as much."""

ADAPTIVE, EQUAL, EVIDENCE = "adaptive", "equal-weight", "evidence"
OPTIMISED = ("risk-parity", "minimum-cvar", "hierarchical-risk-parity", "mean-variance")
"""Optimisers that may share the risk: names of ``engine.strategies.optimisers``. The QUBO is only compared."""

SHARINGS = (ADAPTIVE, EQUAL, *OPTIMISED, EVIDENCE)
DEFAULT_SHARING = EVIDENCE
"""On the candles up to 2022 better than ``adaptive``, which it was before; see docs/portfolio.md."""

BY_PLAN = (*OPTIMISED, EVIDENCE)
"""Ways of sharing that follow a plan, which is made every month."""

_HOURS_A_DAY = 24.0


class PortfolioParams(BaseModel):
    """The portfolio strategy's own parameters. Horizons are textbook numbers, none was fitted to a symbol."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sleeves: tuple[str, ...] = Field(DEFAULT_SLEEVES, min_length=1, description="Sleeves that take part")
    sharing: Literal[
        "adaptive",
        "equal-weight",
        "risk-parity",
        "minimum-cvar",
        "hierarchical-risk-parity",
        "mean-variance",
        "evidence",
    ] = Field("evidence", description="Who shares the risk out between the sleeves that have no budget of their own")
    momentum_hours: float = Field(504.0, gt=1, le=10_000, description="Momentum horizon, hours: three weeks")
    funding_hours: float = Field(168.0, gt=1, le=10_000, description="Memory of the funding estimate, hours")
    reversal_hours: float = Field(24.0, gt=1, le=1_000, description="Reversal horizon, hours")
    tail_hours: float = Field(24.0, gt=1, le=1_000, description="Tail hedge: horizon of the breakdown, hours")
    tail_budget: float = Field(0.25, ge=0, le=1, description="Tail hedge: its share of the volatility target")
    basis_budget: float = Field(0.6, ge=0, le=1, description="Pairs: spot notional of all of them, over equity")
    basis_cap: float = Field(0.2, ge=0, le=1, description="Pairs: spot notional of one, over equity")
    basis_hurdle: float = Field(0.05, ge=0, le=1, description="Pairs: funding a year that opens one")

    @field_validator("sleeves", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        words = value.replace("+", ",").split(",") if isinstance(value, str) else value
        return tuple(word.strip() for word in words) if isinstance(words, (list, tuple)) else words

    @field_validator("sleeves")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in SLEEVES:
                raise ValueError(f"sleeve {name!r} is not one of {', '.join(SLEEVES)}")
        return value


def day_volatility(vol_target: float) -> float:
    """Return the volatility of a day, fraction, of a book that aims at ``vol_target`` a year."""
    return vol_target / math.sqrt(365.0)


FAST_VOL_HOURS = 3 * _HOURS_A_DAY  # the regime's two memories
SLOW_VOL_HOURS = 90 * _HOURS_A_DAY
PATIENCE_HOURS = _HOURS_A_DAY  # momentum and carry follow their wishes over a day
COST_RATE = 0.0006  # of what is traded: taker fee of 4 bp, slippage and half spread of 2 bp
MOST_DIVERSIFICATION = 2.0  # what the learned sleeves together are scaled up by, at most

"""What the portfolio strategy remembers of all bars before, and the rules it follows."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from engine.core.state import State, new_state
from engine.domain import F8, I8, Params
from engine.underlyings import SPOT_SUFFIX, perpetual_of

NAMES = ("trend", "momentum", "carry", "reversal", "models", "tail", "basis")
"""Sleeves in the order of every array over them. ``LEARNED`` of them share the risk; the others have fixed budgets."""

TREND, MOMENTUM, CARRY, REVERSAL, MODELS, TAIL, BASIS = range(7)
N_SLEEVES, LEARNED = len(NAMES), 5
CALM, STORMY = 0, 1
N_REGIMES = 2

# what is kept of the market as a whole: columns of ``Book.market``
FAST_VARIANCE, SLOW_VARIANCE, SHORT_TRAIL, MARKET_VARIANCE, N_MARKET = range(5)


Flags: TypeAlias = npt.NDArray[np.int8]


class Rules(NamedTuple):
    """The sleeves' numbers, in bars where they are lengths."""

    momentum_keep: float  # what an EMA keeps of its past a bar: 1 - alpha
    momentum_gain: float  # deviation of a trail over that of a bar
    momentum_needed: float  # bars
    reversal_keep: float
    reversal_gain: float
    tail_keep: float
    tail_gain: float
    funding_alpha: float
    funding_needed: float  # bars
    fast_alpha: float  # of the market's fast variance
    slow_alpha: float
    trend_needed: float  # bars
    band: float  # weight; smaller changes of a sleeve's own book are not made
    cost_rate: float  # of what a sleeve trades, for its own net return
    most_diversification: float  # cap of the diversification multiplier
    tail_budget: float  # share of the volatility target that the tail hedge may use at full conviction
    basis_budget: float  # spot notional of all pairs together, over equity
    basis_cap: float  # spot notional of one pair, over equity
    basis_hurdle: float  # yield a year that opens a pair
    day_volatility: float  # of a sleeve's own book at full conviction
    pace: F8  # (S,) share of the way to its wish that a sleeve's own book goes in a bar
    enabled: Flags  # (S,)


class Book(NamedTuple):
    """Memory of the portfolio strategy. N columns (perpetuals and spot legs), S sleeves, R regimes."""

    core: State  # prices, trails and covariance as the trend sleeve of the core keeps them
    pair_of: I8  # (N,) column of the perpetual that a spot leg belongs to; -1: a perpetual
    move: F8  # (N,) simple return of the newest bar, 0 without one
    sigma: F8  # (N,) volatility a bar; 0: cannot be held
    beta: F8  # (N,) against the mean of all perpetuals; 0 where sigma is
    slow_trail: F8  # (N,) momentum
    residual_trail: F8  # (N,) reversal
    funding: F8  # (N,) EWMA of the funding due a bar, fraction
    n_funding: I8  # (N,) bars since the first settlement
    market: F8  # (5,)
    wish: F8  # (S, N) each sleeve's own book at its full budget
    held: F8  # (S, N) the same as it would be held, with the band
    awake: Flags  # (S,) has a wish
    awake_day: Flags  # (S,) was awake when the day began
    day_net: F8  # (S,) net return of each sleeve's own book since the day began
    share: F8  # (S,) learned share of the risk; of a fixed sleeve its budget
    loss: F8  # (R, S) summed losses
    gap: F8  # (R,) summed mixability gaps
    regime: I8  # (1,) of the day
    day: I8  # (1,) days since the epoch
    scratch: F8  # (N,)
    net: F8  # (S,) net return of each sleeve's own book in the newest bar
    scale: F8  # (1,) diversification multiplier in force
    weight: F8  # (N,) the wish


FIRST_GAP = float(np.log(LEARNED) / np.sqrt(8.0 * np.log(LEARNED) / 365.0))
"""Where the mixability gap begins: the learning rate of a Hedge that is tuned for a year."""


def new_book(symbols: tuple[str, ...], params: Params) -> Book:
    """Return the memory before any bar.

    Parameters
    ----------
    symbols : tuple of str
        ``X.SPOT`` is the spot leg of ``X``; one without its perpetual is never held.
    params : Params
    """
    n = len(symbols)
    pairs = [_pair(symbols, name) for name in symbols]

    def zeros(*shape: int) -> F8:
        return np.zeros(shape)

    def counts(size: int) -> I8:
        return np.zeros(size, dtype=np.int64)

    def flags() -> Flags:
        return np.zeros(N_SLEEVES, dtype=np.int8)

    return Book(
        core=new_state(n, params), pair_of=np.array(pairs, dtype=np.int64), move=zeros(n), sigma=zeros(n),
        beta=zeros(n), slow_trail=zeros(n), residual_trail=zeros(n), funding=zeros(n), n_funding=counts(n),
        market=zeros(5), wish=zeros(N_SLEEVES, n), held=zeros(N_SLEEVES, n), awake=flags(),
        awake_day=flags(), day_net=zeros(N_SLEEVES), share=zeros(N_SLEEVES), loss=zeros(N_REGIMES, N_SLEEVES),
        gap=np.full(N_REGIMES, FIRST_GAP), regime=counts(1), day=counts(1), scratch=zeros(n), net=zeros(N_SLEEVES),
        scale=np.ones(1), weight=np.full(n, np.nan),
    )  # fmt: skip


def _pair(symbols: tuple[str, ...], name: str) -> int:
    if not name.endswith(SPOT_SUFFIX):
        return -1
    perpetual = perpetual_of(symbols, name)
    return len(symbols) if perpetual is None else perpetual

"""The 50 inputs of every forecaster: what each one is, and the same kernel for one live bar and for years of bars."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from engine.domain import F8
from engine.errors import DataError
from models import feature_kernel
from models.feature_kernel import N_FEATURES, N_MEMORY, RETURN_BARS, RING, TRAIL_BARS, FeatureState, Rows, advance_rows
from models.forecast import Panel

CLOSE = "the bar's close"


class FeatureSpec(NamedTuple):
    """What one input is. s is sigma: EWMA standard deviation of one bar's log return, span 72 bars."""

    name: str
    group: str
    formula: str
    warm_up: int  # known bars of the symbol, this one included, until it is given
    known_at: str = CLOSE


def _returns() -> list[FeatureSpec]:
    return [
        FeatureSpec(f"ret_{h}", "returns", f"log return over {h} bars / (s sqrt({h})), within ±8", max(h + 1, 25))
        for h in RETURN_BARS
    ]


def _volatility() -> list[FeatureSpec]:
    return [
        FeatureSpec("vol_level", "volatility", "ln(s / 1 %), within ±5", 25),
        FeatureSpec("vol_short", "volatility", "ln(EWMA volatility of span 12 / s), within ±3", 72),
        FeatureSpec("vol_long", "volatility", "ln(s / EWMA volatility of span 168), within ±3", 168),
        FeatureSpec(
            "parkinson", "volatility", "ln(Parkinson volatility / s): EWMA, span 24, of ln(high/low)² / (4 ln 2)", 25
        ),
        FeatureSpec(
            "garman_klass",
            "volatility",
            "ln(Garman-Klass volatility / s): EWMA, span 24, of ln(high/low)²/2 - (2 ln 2 - 1) ln(close/open)²",
            25,
        ),
        FeatureSpec(
            "rogers_satchell",
            "volatility",
            "ln(Rogers-Satchell volatility / s): EWMA, span 24, of ln(h/c) ln(h/o) + ln(l/c) ln(l/o)",
            25,
        ),
        FeatureSpec(
            "vol_of_vol", "volatility", "10 x root of EWMA, span 72, of squared changes of ln volatility(12)", 72
        ),
        FeatureSpec("bar_range", "volatility", "ln(high/low) / (s sqrt(8/pi)), at most 8; 1 for a random walk", 25),
        FeatureSpec("downside", "volatility", "share of falling bars in the variance of span 72, minus 1/2", 72),
    ]


def _trend() -> list[FeatureSpec]:
    gaps = [
        FeatureSpec(
            f"ema_gap_{span}",
            "trend",
            f"tanh(z/2), z = (ln price - its EMA of span {span}) in its standard deviations under a random walk",
            max(span, 25),
        )
        for span in TRAIL_BARS
    ]
    rest = (
        ("channel_24", "place of the close between the lowest low (-1) and highest high (1) of 24 bars", 25),
        ("channel_168", "place of the close between the lowest low (-1) and highest high (1) of 168 bars", 168),
        ("below_high", "ln(close / highest high of 168 bars) / (s sqrt(168)), within ±8", 168),
        ("above_low", "ln(close / lowest low of 168 bars) / (s sqrt(168)), within ±8", 168),
        ("efficiency", "log return over 24 bars / sum of the 24 absolute log returns", 25),
        ("strength", "(gains - losses) / (gains + losses), EWMA of span 27: Wilder's RSI of 14 bars, on ±1", 25),
        ("close_location", "place of the close between the bar's low (-1) and high (1)", 1),
    )
    return gaps + [FeatureSpec(name, "trend", formula, warm_up) for name, formula, warm_up in rest]


def _volume() -> list[FeatureSpec]:
    rest = (
        ("rel_volume", "ln(money traded / its EWMA of span 24), within ±5", 25),
        ("volume_trend", "ln(EWMA of money traded, span 24 / span 168), within ±3", 168),
        ("volume_return", "EWMA(money x log return) / EWMA(money) x sqrt(24) / s, span 24, within ±8", 25),
        ("signed_volume", "EWMA(money x sign of the return) / EWMA(money), span 24", 25),
        ("illiquidity", "ln(EWMA of |log return| / money, span 24 / span 168), within ±3 (Amihud)", 168),
    )
    return [FeatureSpec(name, "volume", formula, warm_up) for name, formula, warm_up in rest]


def _perpetual() -> list[FeatureSpec]:
    rest = (
        ("funding", "asinh(rate / 1 bp), within ±6; 0 where unknown", "funding"),
        ("funding_change", "asinh((rate - its EWMA of span 24) / 1 bp), within ±6; 0 where unknown", "funding"),
        ("funding_z", "(rate - EWMA of span 168) / its standard deviation, within ±5; 0 for 24 bars", "funding"),
        ("funding_known", "1 where a funding rate is known, else 0", "funding"),
        ("basis", "asinh(basis / 10 bp), within ±5; 0 where unknown", "basis"),
        ("basis_known", "1 where the basis is known, else 0", "basis"),
        ("imbalance", "(bid - ask) / (bid + ask) of the quantities at the touch; 0 where unknown", "book"),
        ("imbalance_known", "1 where the touch is known, else 0", "book"),
    )
    known_at = {"funding": "payment of the rate at or before the close", "basis": CLOSE, "book": CLOSE}
    return [FeatureSpec(name, group, formula, 1, known_at[group]) for name, formula, group in rest]


def _cross_section() -> list[FeatureSpec]:
    rest = (
        ("rank_ret_24", "ranks", "rank of the log return over 24 bars, lowest -1 to highest 1", 25),
        ("rank_ret_168", "ranks", "rank of the log return over 168 bars, lowest -1 to highest 1", 169),
        ("rank_vol", "ranks", "rank of s, lowest -1 to highest 1", 25),
        ("rank_volume", "ranks", "rank of volume_trend, lowest -1 to highest 1", 168),
        ("market_24", "market", "return of the equal-weight market over 24 bars / (its s sqrt(24)), within ±8", 25),
        ("beta", "market", "EWMA covariance with the market / its variance, span 168, within -1 to 4", 168),
        ("residual_24", "market", "ema_gap_24 of the return that beta does not explain", 25),
    )
    known_at = "the bar's close, over the symbols known then"
    return [FeatureSpec(name, group, formula, warm_up, known_at) for name, group, formula, warm_up in rest]


def _clock() -> list[FeatureSpec]:
    circles = (("day", "hour of the UTC day / 24"), ("week", "hours since Monday 00:00 UTC / 168"))
    return [
        FeatureSpec(f"{name}_{wave}", "clock", f"{wave}(2 pi x {turn})", 1, "always")
        for name, turn in circles
        for wave in ("sin", "cos")
    ]


FEATURES: tuple[FeatureSpec, ...] = (
    *_returns(), *_volatility(), *_trend(), *_volume(), *_perpetual(), *_cross_section(), *_clock(),
)  # fmt: skip
"""The inputs in the order of their columns. Where no bound is stated, it follows from the formula."""

NAMES = tuple(spec.name for spec in FEATURES)
WARM_UP = np.array([spec.warm_up for spec in FEATURES], dtype=np.int64)
WARM_UP_BARS = int(WARM_UP.max())
"""Known bars until a symbol's whole row is given."""


def feature_hash() -> str:
    """Return a hex digest of all specs and of the kernel's source: models fitted on other inputs do not load."""
    digest = hashlib.sha256(repr(FEATURES).encode())
    digest.update(Path(feature_kernel.__file__).read_bytes())
    return digest.hexdigest()


def new_feature_state(n_symbols: int) -> FeatureState:
    """Return the state of N symbols that have seen nothing."""
    return FeatureState(
        n_bars=np.zeros(n_symbols, dtype=np.int64),
        memory=np.zeros((n_symbols, N_MEMORY)),
        ring=np.zeros((3, n_symbols, RING)),
        market=np.zeros(2 + feature_kernel.MARKET_RING),
    )


def _rows(panel: Panel) -> Rows:
    contiguous = (np.ascontiguousarray(values, dtype=np.float64) for values in panel[2:])
    return Rows(np.ascontiguousarray(panel.ts_close, dtype=np.int64), *contiguous)  # type: ignore[arg-type]


def advance_many(state: FeatureState, panel: Panel) -> tuple[FeatureState, np.ndarray, F8]:
    """Take the bars of a panel, oldest first, and return what is known after each.

    Parameters
    ----------
    state : FeatureState
        Unchanged.
    panel : Panel
        T bars of N symbols. A symbol whose prices are NaN, not positive or contradict each other has no bar: it keeps
        its state and gets NaN.

    Returns
    -------
    state : FeatureState
        After the last bar.
    features : (T, N, 50) float32
        Columns as in ``FEATURES``, all finite after ``WARM_UP_BARS`` known bars and a known volume; NaN before.
    sigma : (T, N) float64
        Standard deviation of one bar's log return, NaN for the first 24 bars.

    Raises
    ------
    DataError
        The panel has another number of symbols than the state.

    Notes
    -----
    Known at: each bar's close. A price that opens more than three times away from its last close was redenominated:
    the jump is no return. Sources: Parkinson (1980), Garman & Klass (1980), Rogers & Satchell (1991), Wilder (1978),
    Kaufman (1995) for efficiency, Amihud (2002), Baz et al. (2015) for normalised EMA gaps.
    """
    n_symbols = state.n_bars.shape[0]
    if panel.close_px.shape[1:] != (n_symbols,):
        raise DataError(f"the panel has {panel.close_px.shape[1]} symbols, the state {n_symbols}: start a new state")
    after = FeatureState(state.n_bars.copy(), state.memory.copy(), state.ring.copy(), state.market.copy())
    features = np.empty((*panel.close_px.shape, N_FEATURES), dtype=np.float32)
    sigma = np.empty(panel.close_px.shape)
    advance_rows(after, _rows(panel), WARM_UP, features, sigma)
    return after, features, sigma


def advance(state: FeatureState, panel: Panel, row: int = -1) -> tuple[FeatureState, np.ndarray, F8]:
    """Take one bar, ``row`` of ``panel``: (state, features (N, 50) float32, sigma (N,)). As ``advance_many``."""
    row = range(panel.ts_close.shape[0])[row]
    one = Panel(panel.symbols, *(values[row : row + 1] for values in panel[1:]))  # type: ignore[arg-type]
    after, features, sigma = advance_many(state, one)
    return after, features[0], sigma[0]


def batch_features(panel: Panel) -> tuple[np.ndarray, F8]:
    """Return (features (T, N, 50) float32, sigma (T, N)) of a whole panel, from a new state. As ``advance_many``."""
    return advance_many(new_feature_state(panel.close_px.shape[1]), panel)[1:]

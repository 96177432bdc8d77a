"""Why a forecaster said what it said: what its inputs contributed, which bars it looked at, and what happened before.

Everything works on one symbol's newest bar and takes well under a second, so it is computed when somebody asks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from engine.domain import F8, I8
from engine.errors import DataError, ModelError
from models.features import NAMES
from models.forecast import HORIZONS, MEDIAN, Forecaster, Learnable, Panel
from models.tabular import Scaler

PAIRS = 3
"""Pairs of opposite orders in which inputs are revealed: the fewest that say how much the order matters."""

N_CASES = 20
APART = 24
"""Bars between two cases of any symbols: nearer ones would be the same hours told twice."""

Z_95 = 1.959964


class Topic(NamedTuple):
    """Inputs that say one thing to a person, under the name they are shown by."""

    name: str
    features: tuple[str, ...]


TOPICS: tuple[Topic, ...] = (
    Topic("Return of the last bar", ("ret_1",)),
    Topic("Return of 4 to 8 bars", ("ret_4", "ret_8")),
    Topic("Return of 24 bars", ("ret_24",)),
    Topic("Return of 72 to 168 bars", ("ret_72", "ret_168")),
    Topic("Level of volatility", ("vol_level",)),
    Topic("Volatility rising or falling", ("vol_short", "vol_long", "vol_of_vol")),
    Topic("Range within bars", ("parkinson", "garman_klass", "rogers_satchell", "bar_range")),
    Topic("Falls against rises", ("downside", "strength")),
    Topic("Distance from averages of 8 and 24 bars", ("ema_gap_8", "ema_gap_24")),
    Topic("Distance from averages of 72 and 168 bars", ("ema_gap_72", "ema_gap_168")),
    Topic("Place between recent low and high", ("channel_24", "channel_168", "below_high", "above_low")),
    Topic("Straightness of the move", ("efficiency",)),
    Topic("Close within its bar", ("close_location",)),
    Topic("Traded volume", ("rel_volume", "volume_trend", "illiquidity")),
    Topic("Volume of rises against falls", ("volume_return", "signed_volume")),
    Topic("Funding rate", ("funding", "funding_change", "funding_z", "funding_known")),
    Topic("Perpetual against spot", ("basis", "basis_known")),
    Topic("Best bid against best ask quantity", ("imbalance", "imbalance_known")),
    Topic("Rank among the other symbols", ("rank_ret_24", "rank_ret_168", "rank_vol", "rank_volume")),
    Topic("The whole market", ("market_24", "beta", "residual_24")),
    Topic("Hour and weekday", ("day_sin", "day_cos", "week_sin", "week_cos")),
)
"""Every input of ``models.features`` belongs to exactly one."""


class Drivers(NamedTuple):
    """What each topic added to a forecast, from what is said of a typical bar to what was said of this one."""

    names: tuple[str, ...]
    prob: F8  # (P,) added to the probability of a rise
    prob_error: F8  # (P,) standard error over the orders of revealing
    median: F8  # (P,) added to the median, sigma * sqrt(horizon)
    typical_prob: float  # what is said of a typical bar
    typical_median: float
    said_prob: float
    said_median: float


class Cases(NamedTuple):
    """Past bars that looked like the newest one, nearest first, and what came after them."""

    row: I8  # (K,) of the data
    column: I8  # (K,) symbol
    distance: F8  # (K,) root mean square difference of the inputs, in their standard deviations
    path: F8  # (K, L + 1) log return since the case's close, 0 first, in sigmas of one bar at that time
    ordinary: float  # median distance of all past bars: a case at this distance is not alike at all


def columns_of(topics: Sequence[Topic] = TOPICS, names: Sequence[str] = NAMES) -> list[I8]:
    """Return the columns of each topic's inputs.

    Raises
    ------
    ModelError
        A topic names an input that there is not.
    """
    place = {name: k for k, name in enumerate(names)}
    missing = [name for topic in topics for name in topic.features if name not in place]
    if missing:
        raise ModelError(f"the topics name the inputs {', '.join(missing)}, which models.features does not have")
    return [np.array([place[name] for name in topic.features], dtype=np.int64) for topic in topics]


def typical_bar(features: np.ndarray) -> F8:
    """Return the median of each input over past bars (..., F); NaN for one that was never known."""
    flat = features.reshape(-1, features.shape[-1])
    known = np.isfinite(flat).any(axis=0)
    out = np.full(flat.shape[1], np.nan)
    out[known] = np.nanmedian(flat[:, known], axis=0)
    return out


def drivers(
    forecaster: Forecaster,
    features: np.ndarray,
    typical: F8,
    horizon: int,
    topics: Sequence[Topic] = TOPICS,
    pairs: int = PAIRS,
    seed: int = 0,
) -> Drivers:
    """Return what each topic added to the forecast of the newest bar.

    From a past in which every input was typical, topics are given their true values one after the other, in several
    random orders and the reverse of each; a topic's share is the mean change when it is revealed. So the shares add up
    to the whole difference, whatever the forecaster, and for one that is linear they are exact.

    Parameters
    ----------
    forecaster : Forecaster
        Fitted; forecasts each symbol from that symbol's inputs alone.
    features : (W, F)
        Unscaled inputs of one symbol, newest last; W is what the forecaster looks back on, 1 for one without memory.
    typical : (F,)
        As ``typical_bar`` gives it, of the bars that the forecaster was trained on.
    horizon : int
        One of ``HORIZONS``.
    topics : sequence of Topic
    pairs : int, >= 2
        Of orders. W * 2 * pairs * len(topics) bars are forecast.
    seed : int
        Of the orders.

    Returns
    -------
    Drivers

    Raises
    ------
    ModelError
        The forecaster says nothing of this bar or of a typical one.

    Notes
    -----
    Known at: the bar's close. An input counts over all W bars at once. Inputs move together, so a share says what this
    forecaster made of an input and not what moves the market. Sources: Shapley (1953); sampling of orders: Strumbelj &
    Kononenko (2014); opposite orders: Mitchell, Cooper, Frank & Holmes (2022).
    """
    at, columns, rng = HORIZONS.index(horizon), columns_of(topics), np.random.default_rng(seed)
    orders = np.stack([each for _ in range(pairs) for each in _opposites(rng.permutation(len(topics)))])
    shown = _revealed(orders, columns, features.shape[1])
    prob, median = _forecasts(forecaster, features, typical, shown.reshape(-1, features.shape[1]), at)
    steps = np.stack([prob, median], axis=-1).reshape(len(orders), len(topics) + 1, 2)
    if not np.isfinite(steps).all():
        raise ModelError(f"{forecaster.name} says nothing of this bar at {horizon} bars: too few inputs are known")
    share = np.empty((len(orders), len(topics), 2))
    np.put_along_axis(share, orders[:, :, None], np.diff(steps, axis=1), axis=1)
    by_pair = share.reshape(pairs, 2, len(topics), 2).mean(axis=1)
    error = by_pair[..., 0].std(axis=0, ddof=1) / math.sqrt(pairs) if pairs > 1 else np.full(len(topics), np.nan)
    mean = by_pair.mean(axis=0)
    first, last = steps[0, 0], steps[0, -1]
    names = tuple(topic.name for topic in topics)
    return Drivers(names, mean[:, 0], error, mean[:, 1], *map(float, (*first, *last)))


def _opposites(order: I8) -> tuple[I8, I8]:
    return order, order[::-1]


def _revealed(orders: I8, columns: list[I8], n_features: int) -> np.ndarray:
    """Return which inputs are shown after each step of each order, (orders, P + 1, F)."""
    shown = np.zeros((len(orders), orders.shape[1] + 1, n_features), dtype=bool)
    for order, rows in zip(orders, shown, strict=True):
        for step, topic in enumerate(order):
            rows[step + 1 :, columns[topic]] = True
        rows[-1] = True  # inputs of no topic count in the last step
    return shown


def _forecasts(forecaster: Forecaster, features: np.ndarray, typical: F8, shown: np.ndarray, at: int) -> tuple[F8, F8]:
    """Return probabilities and medians (V,) of V variants of a past: each is one symbol of a made-up panel."""
    said = forecaster.predict(made_up_bars(features, typical, shown), slice(len(features) - 1, len(features)))
    prob, median = said.prob_up[0, :, at], said.quantile[0, :, at, MEDIAN]
    return np.asarray(prob, dtype=np.float64), np.asarray(median, dtype=np.float64)


def made_up_bars(features: np.ndarray, typical: F8, shown: np.ndarray) -> Learnable:
    """Return V variants of a past (W, F) as a panel's symbols: inputs that are not ``shown`` (V, F) are typical."""
    shape = (len(features), len(shown))
    nothing, ts = np.full(shape, np.nan), np.arange(len(features), dtype=np.int64)
    panel = Panel(tuple(str(k) for k in range(len(shown))), ts, *(nothing,) * 8)
    inputs = np.where(shown[None], features[:, None, :], typical).astype(np.float32)
    return Learnable(panel, inputs, nothing, np.full((*shape, len(HORIZONS)), np.nan),
                     np.repeat(ts[:, None], len(HORIZONS), axis=1))  # fmt: skip


def attention_over_time(forecaster: Any, features: np.ndarray) -> F8 | None:
    """Return how much the network looked at each bar when it forecast the newest, oldest first; None without attention.

    Parameters
    ----------
    forecaster : NeuralForecaster or other
        A fitted network of which ``lstm`` and ``attention`` are known parts.
    features : (W, F)
        Unscaled inputs of one symbol, newest last.

    Returns
    -------
    (W,) float64 or None
        Adds up to 1. Where the network looked, which is not proof of why it answered (Jain & Wallace, 2019).
    """
    network: Any = getattr(forecaster, "network", None)
    if not (hasattr(network, "attention") and hasattr(network, "lstm")):
        return None
    import torch

    with torch.inference_mode():
        inputs = torch.from_numpy(forecaster._scaler.inputs(features)[0])[None]
        top, _ = network.lstm(inputs)
        return np.asarray(network.attention(top[:, -1:], top)[0, 0].double().numpy())


class Searchable(NamedTuple):
    """Past bars with a known outcome, scaled once for all symbols that are compared with them."""

    scaler: Scaler
    inputs: np.ndarray  # (T', N, F) float32
    usable: np.ndarray  # (T', N)
    longest: int


def searchable(data: Learnable, longest: int = HORIZONS[-1]) -> Searchable:
    """Return the past of a panel's last bar as ``nearest_cases`` looks through it.

    Raises
    ------
    DataError
        No bar has a known outcome over ``longest`` bars.
    """
    until = len(data.features) - longest
    if until < 1:
        raise DataError(f"{len(data.features)} bars have no outcome over {longest} bars yet: load more of them")
    scaler = Scaler.of(data.features[: until : max(1, until // 4096)])
    inputs, known = scaler.inputs(data.features[:until])
    usable = known & np.isfinite(data.sigma[:until]) & np.isfinite(_outcome(data, until, longest))
    if not usable.any():
        raise DataError("no past bar has known inputs and a known outcome")
    return Searchable(scaler, inputs, usable, longest)


def nearest_cases(
    data: Learnable, column: int, past: Searchable | None = None, count: int = N_CASES, apart: int = APART
) -> Cases:
    """Return the past bars, of any symbol, whose inputs were nearest to those of a symbol's newest bar.

    Parameters
    ----------
    data : Learnable
        Its last bar is the one that is compared.
    column : int
        The symbol.
    past : Searchable, optional
        Of ``data``; by default that of the longest horizon.
    count, apart : int
        Most cases, and bars between any two of them.

    Returns
    -------
    Cases
        Fewer than ``count`` when the past is short.

    Raises
    ------
    DataError
        The newest bar's inputs are unknown, or no bar has a known outcome.

    Notes
    -----
    Nearest neighbours with Euclidean distance on standardised inputs: Fix & Hodges (1951). With fifty inputs nothing is
    very near, which is why ``ordinary`` stands beside every distance.
    """
    past = past or searchable(data)
    last, n_symbols = len(data.features) - 1, data.features.shape[1]
    now, is_known = past.scaler.inputs(data.features[last, column])
    if not is_known:
        raise DataError(f"too few inputs of {data.panel.symbols[column]} are known at the newest bar")
    used = max(int((past.scaler.scale > 0.0).sum()), 1)
    gap = np.sqrt(np.square(past.inputs - now).sum(axis=-1, dtype=np.float64) / used)
    usable = past.usable
    flat = np.where(usable, gap, np.inf).ravel()
    chosen = _spaced(np.argsort(flat)[: int(usable.sum())], n_symbols, count, apart)
    row, symbol = np.divmod(chosen, n_symbols)
    ahead = data.panel.close_px[row[:, None] + np.arange(past.longest + 1), symbol[:, None]]
    path = np.log(ahead / ahead[:, :1]) / data.sigma[row, symbol][:, None]
    return Cases(row, symbol, flat[chosen], path, float(np.median(gap[usable])))


def _outcome(data: Learnable, until: int, longest: int) -> F8:
    return np.asarray(data.panel.close_px[longest : longest + until] / data.panel.close_px[:until])


def _spaced(order: I8, n_symbols: int, count: int, apart: int) -> I8:
    """Return the first ``count`` of ``order`` of which no two lie fewer than ``apart`` rows from each other."""
    chosen: list[int] = []
    rows = np.empty(0, dtype=np.int64)
    for place in order:
        row = place // n_symbols
        if len(rows) == 0 or np.abs(rows - row).min() >= apart:
            chosen.append(int(place))
            rows = np.append(rows, row)
            if len(chosen) == count:
                break
    return np.array(chosen, dtype=np.int64)


def share_interval(hits: int, count: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share; (0, 1) of nothing.

    Examples
    --------
    >>> [round(bound, 3) for bound in share_interval(11, 20)]
    [0.342, 0.742]

    Notes
    -----
    Source: Wilson (1927).
    """
    if count == 0:
        return 0.0, 1.0
    share, z2 = hits / count, Z_95 * Z_95
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    reach = Z_95 * math.sqrt(share * (1 - share) / count + z2 / (4 * count * count)) / (1 + z2 / count)
    return middle - reach, middle + reach

"""The market's volume by time of day, learned from stored candles: what a VWAP schedule follows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.domain import F8, I8, NS_PER_DAY, NS_PER_S

SHORTEST_BUCKET_S = 900
PRIOR_DAYS = 3.0  # a bucket counts as if this many days of even volume had been seen before


class VolumeCurve(NamedTuple):
    """Share of a day's volume by bucket of the UTC day, (B,) float64 > 0 that sum to 1, and the days it is made of."""

    share: F8
    n_days: float

    @property
    def bucket_ns(self) -> int:
        """Length of a bucket, ns."""
        return NS_PER_DAY // len(self.share)


def even_curve(n_buckets: int = 24) -> VolumeCurve:
    """Return a curve that knows nothing: volume is the same all day, and VWAP becomes TWAP."""
    return VolumeCurve(np.full(n_buckets, 1.0 / n_buckets), 0.0)


def learned_curve(ts_open: I8, volume: F8, interval_s: int) -> VolumeCurve:
    """Return the curve of some candles, drawn towards an even one while days are few.

    Each day's volume is made to sum to its share of a whole day first, so that a day of panic counts no more than a
    quiet one; then share_b = (sum over days + PRIOR_DAYS / B) / (days + PRIOR_DAYS), made to sum to 1.

    Parameters
    ----------
    ts_open : (N,) int64, ns, rising
    volume : (N,) float64, base units, >= 0
    interval_s : int
        Length of one candle; buckets are that long, but no shorter than a quarter of an hour.
    """
    n_buckets = NS_PER_DAY // (max(interval_s, SHORTEST_BUCKET_S) * NS_PER_S)
    usable = np.isfinite(volume) & (volume >= 0.0)
    ts_open, volume = ts_open[usable], volume[usable]
    if len(ts_open) == 0:
        return even_curve(n_buckets)
    days, day_of = np.unique(ts_open // NS_PER_DAY, return_inverse=True)
    bucket_of = (ts_open % NS_PER_DAY) // (NS_PER_DAY // n_buckets)
    table = np.zeros((len(days), n_buckets))
    counted = np.zeros((len(days), n_buckets), dtype=bool)
    np.add.at(table, (day_of, bucket_of), volume)
    counted[day_of, bucket_of] = True
    total = table.sum(axis=1, keepdims=True)
    kept = total[:, 0] > 0
    table, counted, total = table[kept], counted[kept], total[kept]
    covered = counted.mean(axis=1, keepdims=True)  # a part of a day counts as that part
    shares, n_seen = (table / total * covered).sum(axis=0), counted.sum(axis=0)
    share = (shares + PRIOR_DAYS / n_buckets) / (n_seen + PRIOR_DAYS)
    return VolumeCurve(share / share.sum(), float(n_seen.mean()))


def volume_between(curve: VolumeCurve, start: int, end: int) -> float:
    """Return the expected volume between two moments (ns), in days' volumes; 0 when ``end`` is not after ``start``."""
    if end <= start:
        return 0.0
    return _since_epoch(curve, end) - _since_epoch(curve, start)


def _since_epoch(curve: VolumeCurve, moment: int) -> float:
    days, rest = divmod(moment, NS_PER_DAY)
    bucket, within = divmod(rest, curve.bucket_ns)
    return float(days + curve.share[:bucket].sum() + curve.share[bucket] * (within / curve.bucket_ns))

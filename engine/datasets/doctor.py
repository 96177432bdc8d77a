"""The data doctor for candles: looks at one symbol's rows and says what is wrong with them. Changes nothing.

Robust throughout: what is usual in a series is told from its own medians, so that a wild market is not called broken
and a quiet one not silent. The thresholds are stated below and in docs/data.md.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.datasets.checks import value_faults
from engine.datasets.findings import Check, Finding, Severity, by_weight, counted, longest, runs
from engine.datasets.times import interval_name, moment_text
from engine.domain import F8, I8, NS_PER_S

BLOCK = 64  # bars over which the usual size of a move is measured
MAD_TO_SIGMA = 1.4826
SPIKE_SIGMAS = 15.0  # there and back again within a bar
SPIKE_LEFT = 0.25  # a spike has gone back when less than this part of it is left
JUMP_SIGMAS = 40.0
JUMP_MOVE = 0.7  # |log return|: doubled or halved within a bar, as a wrong decimal point or a split does
WICK_SIGMAS = 40.0
WICK_MOVE = 0.15  # of the price; shorter wicks are everyday life
STALE_BARS = 6
QUIET_SHARE = 0.02  # bars without volume up to that share are outages; more is a thin market
LISTED_GAPS = 60

Flags = npt.NDArray[np.bool_]


def examine(symbol: str, ts_open: I8, values: F8, interval_s: int) -> list[Finding]:
    """Return everything questionable about one symbol's candles, the worst first.

    Parameters
    ----------
    symbol : str
    ts_open : (T,) int64 ns
        As in the file: unsorted and repeated times are findings, not errors.
    values : (T, 5) float64
        open, high, low, close (quote currency), volume (base); NaN where the file held no number.
    interval_s : int
        Seconds between bars.

    Returns
    -------
    list of Finding
        Gaps, stale prices and outliers are looked for in what is left after broken and repeated rows are set aside.

    Notes
    -----
    Outliers: log returns of closes against a local sigma, the largest of three neighbouring medians of |return| over
    64 bars times 1.4826, and at least half the whole series' (after Hampel's identifier). A spike moves 15 such sigma
    and is back within one bar; a jump moves 40 and stays, or doubles or halves the price.
    """
    step = interval_s * NS_PER_S
    found = _clock(symbol, ts_open, step) + _broken(symbol, ts_open, values)
    broken = np.zeros(len(ts_open), bool)
    for fault in value_faults(values):
        broken |= fault.rows
    order = np.argsort(ts_open, kind="stable")
    order = order[~broken[order]]
    ts, rows = ts_open[order], values[order]
    repeated = np.append(False, ts[1:] == ts[:-1])
    found += _duplicates(symbol, ts, rows, repeated)
    ts, rows = ts[~repeated], rows[~repeated]
    if len(ts) >= 2:
        found += _gaps(symbol, ts, step)
        found += _zero_volume(symbol, ts, rows)
        found += _stale(symbol, ts, rows) + _outliers(symbol, ts, rows, step)
    return by_weight(found)


def coverage(ts_open: I8, interval_s: int) -> float:
    """Return the share of the bars between first and last that are there, 0 to 1."""
    expected = (int(ts_open[-1]) - int(ts_open[0])) // (interval_s * NS_PER_S) + 1
    return len(ts_open) / expected


def grid_origin(ts: I8, step: int) -> int:
    """Return the remainder that most times leave when divided by the step: where the grid of the bars begins, ns."""
    rests, counts = np.unique(ts[:: max(len(ts) // 5000, 1)] % step, return_counts=True)
    return int(rests[np.argmax(counts)])


def off_grid(ts: I8, step: int) -> Flags:
    """Return which times are not on the grid of most of the others."""
    return np.asarray(ts % step != grid_origin(ts, step))


def _one(check: Check, severity: Severity, symbol: str, ts: I8, rows: Flags, sentence: str) -> Finding:
    """Return the finding of scattered rows."""
    begins, lengths = runs(rows)
    chosen = longest(begins, lengths)
    pieces = zip(begins[chosen], lengths[chosen], strict=True)
    spans = tuple((int(ts[b]), int(ts[b + n - 1]), int(n)) for b, n in pieces)
    concerned = ts[rows]
    return Finding(
        check, severity, symbol, int(concerned.min()), int(concerned.max()), int(rows.sum()), sentence, spans
    )  # fmt: skip


def _clock(symbol: str, ts: I8, step: int) -> list[Finding]:
    found = []
    back = np.append(False, np.diff(ts) < 0)
    if back.all() or (len(ts) > 1 and back[1:].all()):
        sentence = "The file has its newest row first."
        found.append(_one(Check.CLOCK, Severity.NOTE, symbol, ts, back, sentence))
    elif back.any():
        row = int(np.argmax(back))
        sentence = (
            f"Time goes backwards {back.sum():,} times, first from {moment_text(int(ts[row - 1]))} to "
            f"{moment_text(int(ts[row]))} at row {row + 1}."
        )
        found.append(_one(Check.CLOCK, Severity.ERROR, symbol, ts, back, sentence))
    stray = off_grid(ts, step)
    if stray.any():
        first = int(ts[np.argmax(stray)])
        sentence = (
            f"{stray.sum():,} bars are not on the {interval_name(step // NS_PER_S)} grid of the others, first at "
            f"{moment_text(first)}: the clock of the source was wrong, or intervals are mixed."
        )
        found.append(_one(Check.CLOCK, Severity.ERROR, symbol, ts, stray, sentence))
    return found


def _broken(symbol: str, ts: I8, values: F8) -> list[Finding]:
    found = []
    for fault in value_faults(values):
        row = int(np.argmax(fault.rows))
        sentence = (
            f"Row {row + 1} at {moment_text(int(ts[row]))} {fault.found}; expected {fault.expected}. "
            f"There {'is' if fault.rows.sum() == 1 else 'are'} {counted(int(fault.rows.sum()), 'such row')}."
        )
        found.append(_one(Check.BROKEN, Severity.ERROR, symbol, ts, fault.rows, sentence))
    return found


def _duplicates(symbol: str, ts: I8, rows: F8, repeated: Flags) -> list[Finding]:
    if not repeated.any():
        return []
    at = np.flatnonzero(repeated)
    differ = int((rows[at] != rows[at - 1]).any(axis=1).sum())
    same = f"{differ:,} of them with other prices: which is right?" if differ else "each time with the same prices."
    sentence = f"{len(at):,} times are there more than once, first {moment_text(int(ts[at[0]]))}; {same}"
    severity = Severity.ERROR if differ else Severity.WARNING
    return [_one(Check.DUPLICATE, severity, symbol, ts, repeated, sentence)]


def _gaps(symbol: str, ts: I8, step: int) -> list[Finding]:
    missing = np.diff(ts) // step - 1
    at = np.flatnonzero(missing > 0)
    if not len(at):
        return []
    ranked = at[np.argsort(-missing[at], kind="stable")]
    listed, rest = np.sort(ranked[:LISTED_GAPS]), np.sort(ranked[LISTED_GAPS:])
    found = [_gap(symbol, int(ts[i]), int(ts[i + 1]), int(missing[i]), step) for i in listed]
    if len(rest):
        spans = tuple((int(ts[i]) + step, int(ts[i + 1]) - step, int(missing[i])) for i in rest[:400])
        total = int(missing[rest].sum())
        longest_one = int(missing[rest].max())
        sentence = (
            f"And {len(rest):,} shorter gaps of at most {counted(longest_one, 'bar')}, "
            f"{counted(total, 'bar')} together."
        )
        share = total / (len(ts) + missing.sum())
        severity = Severity.WARNING if share > 0.001 else Severity.NOTE
        first, last = int(ts[rest[0]]) + step, int(ts[rest[-1] + 1]) - step
        found.append(Finding(Check.GAP, severity, symbol, first, last, total, sentence, spans))
    return found


def _gap(symbol: str, before: int, after: int, n_missing: int, step: int) -> Finding:
    first, last = before + step, after - step
    hours = n_missing * step / NS_PER_S / 3600
    long = f"{hours:,.1f} h" if hours >= 1 else f"{hours * 60:,.0f} min"
    if n_missing == 1:
        sentence = f"The bar of {moment_text(first)} is missing."
    else:
        sentence = f"{n_missing:,} bars ({long}) are missing, from {moment_text(first)} to {moment_text(last)}."
    severity = Severity.WARNING if hours >= 1 and n_missing > 1 else Severity.NOTE
    return Finding(Check.GAP, severity, symbol, first, last, n_missing, sentence, ((first, last, n_missing),))


def _zero_volume(symbol: str, ts: I8, rows: F8) -> list[Finding]:
    zero = rows[:, 4] == 0.0
    n_zero = int(zero.sum())
    if not n_zero:
        return []
    share = n_zero / len(zero)
    if share == 1.0:
        sentence = "No bar has a volume: mark or index prices, or an export without volumes."
        return [Finding(Check.ZERO_VOLUME, Severity.NOTE, symbol, int(ts[0]), int(ts[-1]), n_zero, sentence)]
    _, lengths = runs(zero)
    most = f"the longest run is {counted(int(lengths.max()), 'bar')}"
    if share > QUIET_SHARE:
        sentence = (
            f"Without volume: {counted(n_zero, 'bar')} ({share:.1%}); {most}. A thin market: nobody paid these prices."
        )
        return [_one(Check.ZERO_VOLUME, Severity.WARNING, symbol, ts, zero, sentence)]
    where = f"first at {moment_text(int(ts[np.argmax(zero)]))}; {most}"
    sentence = f"Without volume: {counted(n_zero, 'bar')}, {where}. The venue stood still, or the source did."
    return [_one(Check.ZERO_VOLUME, Severity.NOTE, symbol, ts, zero, sentence)]


def _stale(symbol: str, ts: I8, rows: F8) -> list[Finding]:
    """Prices that do not move although volume is reported, and bars that are copies of the one before."""
    traded = rows[:, 4] > 0
    flat = np.asarray(rows[:, 1] == rows[:, 2])
    same = np.append(False, (rows[1:, :4] == rows[:-1, :4]).all(axis=1))
    copied = same & np.append(False, rows[1:, 4] == rows[:-1, 4]) & traded & ~flat
    found = []
    if copied.any():
        first = moment_text(int(ts[np.argmax(copied)]))
        sentence = f"{copied.sum():,} bars repeat the bar before them in all five columns, first at {first}."
        found.append(_one(Check.COPY, Severity.WARNING, symbol, ts, copied, sentence))
    repeated = same & flat & (traded | (not traded.any()))
    begins, lengths = runs(repeated)
    # in a thin market flat bars follow each other by chance: a run must be longer than chance would make one
    share = min(float(flat.mean()), 0.98)
    by_chance = np.log(len(ts)) / -np.log(share) if share > 0 else 0.0
    unusual = lengths >= max(STALE_BARS - 1, 2.0 * by_chance)
    if unusual.any():
        rows_of = np.zeros(len(ts), bool)
        for begin, length in zip(begins[unusual], lengths[unusual], strict=True):
            rows_of[begin : begin + length] = True
        n_runs, longest_run = int(unusual.sum()), int(lengths[unusual].max()) + 1
        first = moment_text(int(ts[np.argmax(rows_of)]))
        sentence = (
            f"The price does not move at all {n_runs:,} times for {STALE_BARS} bars or more, although volume is "
            f"reported; the longest run is {longest_run:,} bars, the first ends a standstill at {first}."
        )
        found.append(_one(Check.STALE, Severity.WARNING, symbol, ts, rows_of, sentence))
    return found


def local_sigma(moves: F8) -> F8:
    """Return what is usual around each move: a robust standard deviation, never below half the whole series'.

    Parameters
    ----------
    moves : (T,) float64
        |log return| of each bar, fraction; NaN where there is none.

    Returns
    -------
    (T,) float64
        The largest of three neighbouring medians over 64 bars, times 1.4826. Known only after the fact: it looks 128
        bars ahead, which a check of past data may.
    """
    n_blocks = -(-len(moves) // BLOCK)
    padded = np.full(n_blocks * BLOCK, np.nan)
    padded[: len(moves)] = moves
    padded[padded == 0.0] = np.nan  # bars without a move say nothing about how large moves are
    whole = float(np.nanmedian(padded)) if np.isfinite(padded).any() else 0.0
    blocks = np.sort(padded.reshape(n_blocks, BLOCK), axis=1)  # NaN last
    known = np.isfinite(blocks).sum(axis=1)
    medians = np.where(known > 0, blocks[np.arange(n_blocks), np.maximum(known - 1, 0) // 2], whole)
    wide = np.concatenate(([whole], medians, [whole]))
    around = np.maximum(np.maximum(wide[:-2], wide[1:-1]), wide[2:])
    return np.asarray(np.repeat(np.maximum(around, whole / 2), BLOCK)[: len(moves)] * MAD_TO_SIGMA)


def _outliers(symbol: str, ts: I8, rows: F8, step: int) -> list[Finding]:
    logs = np.log(rows[:, :4])
    moves = np.append(np.nan, np.diff(logs[:, 3]))
    bars_since = np.append(1, np.diff(ts) // step)
    moves /= np.sqrt(np.maximum(bars_since, 1))  # after an outage the price may have gone anywhere
    sigma = local_sigma(np.abs(moves))
    with np.errstate(invalid="ignore"):
        far = np.abs(moves) > SPIKE_SIGMAS * sigma
        back = np.append(np.abs(moves[:-1] + moves[1:]) < SPIKE_LEFT * np.abs(moves[:-1]), False)
        spike = far & back
        after = np.append(False, spike[:-1])
        jump = ~spike & ~after & ((np.abs(moves) > JUMP_SIGMAS * sigma) | (np.abs(moves) > JUMP_MOVE))
    found = []
    if spike.any():
        found.append(_moved(Check.SPIKE, Severity.WARNING, symbol, ts, spike, moves, sigma, "and back in the next bar"))
    if jump.any():
        severity = Severity.ERROR if (np.abs(moves[jump]) > JUMP_MOVE).any() else Severity.NOTE
        found.append(_moved(Check.JUMP, severity, symbol, ts, jump, moves, sigma, "and stayed"))
    return found + _wicks(symbol, ts, logs, sigma)


def _moved(
    check: Check, severity: Severity, symbol: str, ts: I8, rows: Flags, moves: F8, sigma: F8, then: str
) -> Finding:  # fmt: skip
    worst = int(np.argmax(np.where(rows, np.abs(moves), -1.0)))
    times = "once" if rows.sum() == 1 else f"{rows.sum():,} times"
    sentence = (
        f"The close moved far beyond what was usual {times}, most at {moment_text(int(ts[worst]))}: "
        f"{np.expm1(moves[worst]):+.1%}, {abs(moves[worst]) / sigma[worst]:.0f} times the usual, {then}."
    )
    return _one(check, severity, symbol, ts, rows, sentence)


def _wicks(symbol: str, ts: I8, logs: F8, sigma: F8) -> list[Finding]:
    up = logs[:, 1] - np.maximum(logs[:, 0], logs[:, 3])
    down = np.minimum(logs[:, 0], logs[:, 3]) - logs[:, 2]
    wick = np.maximum(up, down)
    rows = (wick > WICK_SIGMAS * sigma) & (wick > WICK_MOVE)
    if not rows.any():
        return []
    worst = int(np.argmax(np.where(rows, wick, -1.0)))
    above = up[worst] > down[worst]
    reach = f"{np.expm1(wick[worst]):.1%} above" if above else f"{-np.expm1(-wick[worst]):.1%} below"
    times = "One bar reaches" if rows.sum() == 1 else f"{rows.sum():,} bars reach"
    sentence = (
        f"{times} far beyond open and close, the longest at {moment_text(int(ts[worst]))}: {reach}. A limit order or "
        "a stop would fill there in a backtest; check it against another source."
    )
    return [_one(Check.WICK, Severity.WARNING, symbol, ts, rows, sentence)]

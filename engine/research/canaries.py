"""Canaries: does the past change with the future, and does the rule know what it cannot have been told?"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from engine.core.matching import FillLog
from engine.core.simulate import SimResult
from engine.domain import F8
from engine.errors import DataError
from engine.research.critique import FAIL, PASS, UNTESTED
from engine.research.loading import BarTable
from engine.research.made_up import (
    MIN_COINS,
    N_WORLDS,
    common_part,
    keeps_its_edge,
    knows_the_real_prices,
    made_up,
    picks_with_hindsight,
    total_gain,
    world_of,
)

N_CUTS = 3
N_CUTS_USER = 2
TAIL_BARS = 200
CANARY_BARS = 50_000
CANARY_BARS_USER = 2_000
MADE_UP_BARS = 20_000
MADE_UP_BARS_USER = 1_500
"""Bars that are looked at in one go, to bound the cost; a user's rule gets those on top for which it waits."""

BAR_COLUMNS = ("ts_open", "open_px", "high_px", "low_px", "close_px", "volume")

Rerun = Callable[[BarTable], tuple[SimResult, F8]]
"""Runs the strategy from scratch over bars; returns the result and the user's wishes (T, N), (1, N) when built in."""


class Subject(NamedTuple):
    """A run under test."""

    bars: BarTable
    run: tuple[SimResult, F8]  # its result and the user's wishes
    rerun: Rerun
    is_file: bool  # a user's rule, which is slower and less known than a built-in one
    audited: bool  # whether its fills and equity came out again
    history: int = 0  # bars that a user's rule looks back at

    @property
    def n_cuts(self) -> int:
        """How often the future is cut off at the start of the run."""
        return N_CUTS_USER if self.is_file else N_CUTS

    @property
    def waits(self) -> int:
        """Bars that may pass before a user's rule acts; looking at fewer would test nothing."""
        return max(self.history, acts_from(self.run)) if self.is_file else 0

    @property
    def longest(self) -> int:
        """Bars that are looked at in one go."""
        return CANARY_BARS_USER + self.waits if self.is_file else CANARY_BARS


def acts_from(run: tuple[SimResult, F8]) -> int:
    """Return the first bar at whose close a run wanted a position, the number of its bars where it never did."""
    bars = np.flatnonzero(np.nan_to_num(world_of(run).wish).any(axis=1))
    return int(bars[0]) if len(bars) else len(run[0].track.equity)


def rows_of(bars: BarTable, first: int, last: int) -> BarTable:
    """Return bars [first, last) as copies, so that nothing earlier or later is in reach."""
    return bars._replace(**{name: getattr(bars, name)[first:last].copy() for name in BAR_COLUMNS})


def head(bars: BarTable, n_bars: int) -> BarTable:
    """Return the first bars as copies, so that nothing later is in reach."""
    return rows_of(bars, 0, n_bars)


def with_other_future(bars: BarTable, cut_at: int, rng: np.random.Generator) -> BarTable:
    """Return a copy in which every price from ``cut_at`` on is moved by its own random factor."""
    changed = head(bars, min(cut_at + TAIL_BARS, len(bars.ts_open)))
    n_tail = len(changed.ts_open) - cut_at
    factor = np.exp(rng.normal(0.0, 0.1, (n_tail, len(bars.symbols))))
    for column in (changed.open_px, changed.high_px, changed.low_px, changed.close_px):
        column[cut_at:] *= factor
    return changed


def _ordered(fills: FillLog, bar: int, n_symbols: int) -> F8:
    """Return the sign of what was traded at the open of a bar: the decision at the close before, (N,)."""
    at_bar = fills.bar == bar
    return np.sign(np.bincount(fills.symbol[at_bar], weights=fills.qty[at_bar], minlength=n_symbols))


def _same_until(cut_at: int, bars: BarTable, one: tuple[SimResult, F8], other: tuple[SimResult, F8]) -> bool:
    """Return whether two runs agree on everything that was decided before ``cut_at``.

    The decision at the last close before the cut shows only as the trade at the cut, so that is compared too.
    """
    (result, wish), (again, wish_again) = one, other
    past = slice(0, cut_at)
    pairs = [(result.track.equity, again.track.equity), (result.track.weight, again.track.weight)]
    if len(wish) > 1:
        pairs.append((wish, wish_again))
    n_symbols = len(bars.symbols)
    ended = len(again.track.equity) == cut_at
    orders = np.sign(again.account.in_flight_qty) if ended else _ordered(again.fills, cut_at, n_symbols)
    tradable = np.isfinite(bars.open_px[cut_at])
    return all(np.array_equal(a[past], b[past], equal_nan=True) for a, b in pairs) and bool(
        np.array_equal(orders[tradable], _ordered(result.fills, cut_at, n_symbols)[tradable])
    )


def _past_is_fixed(subject: Subject, rng: np.random.Generator, verdicts: dict[str, str]) -> None:
    """Cut the future off and change it, first at the start of the run, for a user's rule also further on."""
    n_bars, longest = len(subject.bars.ts_open), subject.longest
    starts = [0]
    if subject.is_file and n_bars > longest + 4:
        starts.append(int(rng.integers(1, n_bars - longest)))  # nobody can know where it looks
    for start in starts:
        n_seen = min(n_bars - start, longest)
        if n_seen < 4:
            return
        part = subject.bars if start == 0 else rows_of(subject.bars, start, start + n_seen)
        run = subject.run if start == 0 else subject.rerun(part)
        first = max(n_seen // 2, acts_from(run) + 2)  # cut where there is something decided before
        if first >= n_seen:
            continue
        for cut_at in sorted(rng.integers(first, n_seen, subject.n_cuts if start == 0 else 1).tolist()):
            trials = {"lookahead": head(part, cut_at), "future_shift": with_other_future(part, cut_at, rng)}
            for name, table in trials.items():
                if verdicts[name] != FAIL:
                    same = _same_until(cut_at, part, run, subject.rerun(table))
                    verdicts[name] = PASS if same else FAIL


def _in_made_up_worlds(subject: Subject, rng: np.random.Generator, verdicts: dict[str, str]) -> None:
    """Let the rule trade where nothing can be foretold, on the real clock with the real names."""
    longest = MADE_UP_BARS_USER + subject.waits if subject.is_file else MADE_UP_BARS
    real = common_part(subject.bars, longest, rng, acts_from(subject.run) if subject.is_file else 0)
    if real is None:
        return
    worlds = [world_of(subject.rerun(made_up(real, rng))) for _ in range(N_WORLDS)]
    if not any(np.nan_to_num(world.wish).any() for world in worlds):
        return
    failed = {"outside_knowledge": knows_the_real_prices(worlds, real, rng)}
    if any(np.ptp(world.equity) > 0.0 for world in worlds):  # it wanted something and got it
        failed = {"shuffled": keeps_its_edge(worlds)} | failed
    there = np.asarray(np.isfinite(real.close_px[0]))
    if subject.is_file and there.sum() >= MIN_COINS:
        failed["survivorship"] = picks_with_hindsight(worlds, there, total_gain(subject.bars), rng)
    verdicts |= {name: FAIL if wrong else PASS for name, wrong in failed.items()}


def run_canaries(subject: Subject, level: str = "full") -> dict[str, str]:
    """Return ``pass``, ``fail`` or ``not tested`` for each canary.

    lookahead: the run is repeated on prefixes; decisions and equity up to each cut must be the same to the bit.
    future_shift: the run is repeated with other prices after each cut; nothing up to the cut may change.
    fills: equity is worked out again from the fills, every fill lies inside its bar, opens are not
        those of the bar before.
    shuffled: on returns drawn at random the rule must not earn.
    outside_knowledge: what it wants there must not earn on the real prices.
    survivorship: a user's rule must not prefer by name the coins that did best.

    Parameters
    ----------
    subject : Subject
    level : str
        ``full``, or anything else to leave out the made-up worlds.

    Returns
    -------
    dict
        A canary for which there are too few bars or coins, or under which the rule held nothing, is ``not tested``.

    Notes
    -----
    A rule that breaks off with an error where the real run did not, fails.
    """
    rng = np.random.default_rng(int(subject.bars.fingerprint[:8], 16))
    verdicts = {"lookahead": UNTESTED, "future_shift": UNTESTED, "fills": PASS if subject.audited else FAIL}
    try:
        _past_is_fixed(subject, rng, verdicts)
    except DataError:
        verdicts["lookahead"] = FAIL
    if level == "full":
        verdicts |= {"shuffled": UNTESTED, "outside_knowledge": UNTESTED}
        verdicts |= {"survivorship": UNTESTED} if subject.is_file else {}
        try:
            _in_made_up_worlds(subject, rng, verdicts)
        except DataError:
            verdicts["shuffled"] = FAIL
    return verdicts

"""The scan of parameter sweeps: it keeps sums and extremes, no record, and shares averages with its siblings."""

from __future__ import annotations

import numpy as np

from engine.core.ahead import flat_column
from engine.core.costs import Costs
from engine.core.frictions import Assumptions
from engine.core.known import Known
from engine.core.matching import SimBars
from engine.core.scanning import new_track
from engine.core.simulate import Scan
from engine.core.stretch import STRETCH_BARS
from engine.core.tally import new_tally
from engine.domain import F8, I8, InstrumentTable, Params

_NOTHING: F8 = np.empty(0)


def has_every_price(bars: SimBars) -> bool:
    """Return whether it is one symbol with every price on every bar: what averages can be shared for."""
    columns = (bars.open_px, bars.high_px, bars.low_px, bars.close_px)
    shape = (len(bars.ts_close), 1)
    return all(column.shape == shape and bool((column > 0.0).all()) for column in columns)


class TallyScan(Scan):
    """A ``Scan`` of ema-cross on one symbol. Ask ``has_every_price`` and ``can_skip`` first.

    It keeps fills, account, ``tally`` and ``marked``, the equity on some bars; neither track nor rule counts.

    Parameters
    ----------
    bars : SimBars
    instruments : InstrumentTable
    costs : Costs
    params : Params
    cash : float, quote currency
    marks : (D,) int64
        Bars whose equity is wanted, increasing.
    assumptions : Assumptions, optional
    known : Known, optional
        What scans of the same bars share.
    """

    def __init__(
        self, bars: SimBars, instruments: InstrumentTable, costs: Costs, params: Params, cash: float, marks: I8,
        assumptions: Assumptions | None = None, known: Known | None = None,
    ) -> None:  # fmt: skip
        super().__init__(bars, instruments, costs, params, cash, new_track(1, 1), assumptions)
        self.tally = new_tally(cash)
        self.marked = np.empty(len(marks))
        self._known = known
        (ahead,) = self._ahead
        closed = np.append(marks, len(bars.ts_close)).astype(np.int64)
        self._scratch = ahead._replace(
            tape=ahead.tape._replace(keeps=False, equity=np.empty(STRETCH_BARS), weight=np.empty(STRETCH_BARS)),
            marks=closed, marked=self.marked, tally=self.tally,
        )  # fmt: skip
        self._look_ahead()
        memory = (*self.account, *self.state, *self.draft, *self._venue, self.tally, ahead.next_mark)
        self._at_first = [(array, array.copy()) for array in memory]

    def _look_ahead(self) -> None:
        """Point at what the present parameters read."""
        skips, ranges = self._looks
        low_px, high_px = (self.bars.low_px, self.bars.high_px) if ranges else (_NOTHING, _NOTHING)
        tape = self._scratch.tape._replace(low_px=flat_column(low_px), high_px=flat_column(high_px))
        ahead = self._scratch._replace(skips=skips, tape=tape)
        spans = (self.params.ema_fast, self.params.ema_slow)
        reads_variance = self._costs.spread_per_volatility > 0.0 or self._costs.impact > 0.0
        n_variance = len(self.bars.ts_close) if reads_variance else 0
        known = self._known
        if known and len(known.variance) >= n_variance and all(span in known.averages for span in spans):
            fast, slow = (known.averages[span] for span in spans)
            ahead = ahead._replace(known=True, fast=fast, slow=slow, variance=known.variance)
        self._ahead = (ahead,)

    def again(
        self, instruments: InstrumentTable, costs: Costs, params: Params, assumptions: Assumptions | None = None
    ) -> None:  # fmt: skip
        """Go back to the first bar with other parameters, in the same memory: what was found there is overwritten."""
        self._ask(instruments, costs, params, assumptions)
        self._look_ahead()
        for array, at_first in self._at_first:
            array[...] = at_first
        self.t = 0

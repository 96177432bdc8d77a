"""The scan of parameter sweeps: it keeps sums and extremes, no record, and shares averages with its siblings."""

from __future__ import annotations

import numpy as np

from engine.core.costs import Costs
from engine.core.frictions import Assumptions
from engine.core.known import Known
from engine.core.matching import FillLog, SimBars
from engine.core.scanning import new_track
from engine.core.simulate import Scan
from engine.core.stretch import STRETCH_BARS
from engine.core.tally import new_tally
from engine.domain import I8, InstrumentTable, Params


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
    log : FillLog, optional
        Memory for fills: that of a scan whose fills are no longer needed.
    """

    def __init__(
        self, bars: SimBars, instruments: InstrumentTable, costs: Costs, params: Params, cash: float, marks: I8,
        assumptions: Assumptions | None = None, known: Known | None = None, log: FillLog | None = None,
    ) -> None:  # fmt: skip
        super().__init__(bars, instruments, costs, params, cash, new_track(1, 1), assumptions)
        self.tally = new_tally(cash)
        self.marked = np.empty(len(marks))
        self._log = log or self._log
        (ahead,) = self._ahead
        tape = ahead.tape._replace(keeps=False, equity=np.empty(STRETCH_BARS), weight=np.empty(STRETCH_BARS))
        closed = np.append(marks, len(bars.ts_close)).astype(np.int64)
        ahead = ahead._replace(tape=tape, marks=closed, marked=self.marked, tally=self.tally)
        spans = (self.params.ema_fast, self.params.ema_slow)
        if known is not None and all(span in known.averages for span in spans):
            fast, slow = (known.averages[span] for span in spans)
            ahead = ahead._replace(known=True, fast=fast, slow=slow, variance=known.variance)
        self._ahead = (ahead,)

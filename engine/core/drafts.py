"""Scratch memory of one decision, and how a rule's answer is written into it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.core.compiling import kernel_part
from engine.domain import F8, I8, N_RULES, Verdict

_PASS, _CLIP, _REFUSE = int(Verdict.PASS), int(Verdict.CLIP), int(Verdict.REFUSE)


class Draft(NamedTuple):
    """Scratch arrays of one decision, (N,) or (N, N_RULES); reused by the scan, handed out by ``step``."""

    raw_weight: F8
    sized_weight: F8
    approved_weight: F8
    target_qty: F8
    act: npt.NDArray[np.int8]
    verdict: npt.NDArray[np.int8]
    measured: F8
    limit: F8
    present_weight: F8
    value_px: F8  # price that weights and quantities are converted at
    shares: F8
    objections: I8  # (N_RULES, 3) how often a rule said clip or refuse; column 0 stays 0


def new_draft(n_symbols: int) -> Draft:
    """Return scratch memory for decisions on ``n_symbols`` symbols."""
    rules = (n_symbols, N_RULES)
    return Draft(
        raw_weight=np.zeros(n_symbols),
        sized_weight=np.zeros(n_symbols),
        approved_weight=np.zeros(n_symbols),
        target_qty=np.zeros(n_symbols),
        act=np.zeros(n_symbols, dtype=np.int8),
        verdict=np.zeros(rules, dtype=np.int8),
        measured=np.zeros(rules),
        limit=np.zeros(rules),
        present_weight=np.zeros(n_symbols),
        value_px=np.zeros(n_symbols),
        shares=np.zeros(n_symbols),
        objections=np.zeros((N_RULES, 3), dtype=np.int64),
    )


@kernel_part
def write_verdict(
    draft: Draft, i: int, rule: int, verdict: int, measured: float, limit: float, keep_record: bool
) -> None:
    """Write one rule's answer on symbol ``i``: counted always, in full only when the record is kept."""
    if verdict != _PASS:
        draft.objections[rule, verdict] += 1
    if keep_record:
        draft.verdict[i, rule] = verdict
        draft.measured[i, rule] = measured
        draft.limit[i, rule] = limit


@kernel_part
def weight_verdict(before: float, after: float, present: float) -> int:
    """Return PASS when a rule left the weight alone, REFUSE when nothing of the wish is left, else CLIP."""
    if after == before:
        return _PASS
    return _REFUSE if after == 0.0 or after == present else _CLIP

"""Which symbols are legs of one underlying: a perpetual `X` and its spot `X.SPOT`. The only place that reads names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

SPOT_SUFFIX = ".SPOT"
"""Ends the name of the spot leg that belongs to a perpetual: BTCUSDT and BTCUSDT.SPOT."""

NO_PAIRS: npt.NDArray[np.int64] = np.zeros(0, dtype=np.int64)
"""Every symbol on its own."""


def perpetual_of(symbols: Sequence[str], name: str) -> int | None:
    """Return the column of the perpetual that a spot leg belongs to; None for a perpetual, and where it is missing.

    Examples
    --------
    >>> perpetual_of(("A", "B.SPOT", "A.SPOT"), "A.SPOT"), perpetual_of(("A", "B.SPOT"), "B.SPOT")
    (0, None)
    """
    perpetual = name.removesuffix(SPOT_SUFFIX)
    return symbols.index(perpetual) if perpetual != name and perpetual in symbols else None


def underlyings(symbols: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return for every symbol the column of the perpetual it moves with, (N,) int64, as ``Params.underlying`` has it.

    A perpetual moves with itself, a spot leg with its perpetual; a spot leg without one is on its own. Empty where
    nothing is paired, so that such books are decided exactly as if there were no pairs in the world.

    Examples
    --------
    >>> underlyings(("A", "B", "A.SPOT", "C.SPOT")).tolist(), underlyings(("A", "B")).tolist()
    ([0, 1, 0, 3], [])
    """
    found = [perpetual_of(symbols, name) for name in symbols]
    if all(column is None for column in found):
        return NO_PAIRS
    return np.array([i if column is None else column for i, column in enumerate(found)], dtype=np.int64)


def check_underlying(underlying: npt.NDArray[np.int64], n_symbols: int) -> None:
    """Refuse an index that compiled code would read past, or that is no pairing.

    Raises
    ------
    ValueError
        It is neither empty nor one entry a symbol; an entry is no perpetual; a perpetual has two spot legs.
    """
    if len(underlying) == 0:
        return
    if len(underlying) != n_symbols:
        raise ValueError(
            f"params.underlying has {len(underlying)} entries for {n_symbols} symbols: make it anew with "
            "underlyings(symbols) when symbols change"
        )
    own = np.arange(n_symbols)
    inside = (underlying >= 0) & (underlying < n_symbols)
    if not inside.all() or (underlying[underlying] != underlying).any():
        raise ValueError(f"params.underlying {underlying.tolist()} must point at perpetuals, which point at themselves")
    legs = underlying[underlying != own]
    if len(np.unique(legs)) != len(legs):
        raise ValueError(f"params.underlying {underlying.tolist()} gives one perpetual two spot legs")

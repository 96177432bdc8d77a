"""What gives positions rather than forecasts: the seam of the agents, judged by results after costs alone."""

from __future__ import annotations

from typing import Protocol

from engine.domain import F8
from models.forecast import Learnable, Progress


class Policy(Protocol):
    """One way to choose positions from what is known at a bar."""

    name: str

    def fit(self, data: Learnable, train: slice, valid: slice, seed: int, progress: Progress) -> dict[str, float]:
        """Learn from the rows of ``train``, choose by those of ``valid``; a fitted one starts from what it knows.

        Both slices end before anything that is judged. Returns figures of the training, with ``seconds``. Raises
        ``Cancelled``.
        """

    def weights(self, data: Learnable, rows: slice) -> F8:
        """Return the wish (T', N) for the bars ``rows``, in [-1, 1], NaN where there is none.

        A wish is a conviction, as a sleeve's raw weight is: sizing to the volatility target and the risk gate come
        after it. Row t is decided at the close of bar t from that bar and those before, and is filled at the next open.
        """

"""The last bars of a stream in a buffer that is written round and round: nothing is moved when a bar comes."""

from __future__ import annotations

import torch
from torch import Tensor


class Ring:
    """Vectors of the newest W bars, in the order of their places.

    Parameters
    ----------
    shape : tuple of int
        Of one bar's vectors, (..., D); the buffer is (..., W, D).
    window : int
        W.

    Notes
    -----
    Appending to a tensor would copy the whole of it for each bar, which took more time than the arithmetic.
    """

    def __init__(self, shape: tuple[int, ...], window: int) -> None:
        self.values = torch.zeros(*shape[:-1], window, shape[-1])

    def put(self, vectors: Tensor, place: int) -> Tensor:
        """Write one bar's vectors (..., D) to a place and return the buffer (..., W, D)."""
        self.values[..., place, :] = vectors
        return self.values


class Turn:
    """Where the newest bar stands, and how old each place is.

    Parameters
    ----------
    bias : (..., W) tensor
        What attention adds to the score of a bar, by its age: 0 is the newest.
    """

    def __init__(self, bias: Tensor) -> None:
        window = bias.shape[-1]
        place = torch.arange(window)
        self.window, self.n_seen = window, 0
        self._by_place = torch.stack([bias[..., (newest - place) % window] for newest in range(window)])  # (W, ..., W)

    def next(self) -> tuple[int, Tensor]:
        """Return the place of the bar that comes now, and the bias of each place (..., W): -inf where no bar was."""
        place = self.n_seen % self.window
        bias = self._by_place[place]
        if self.n_seen < self.window - 1:
            bias = bias.clone()
            bias[..., self.n_seen + 1 :] = -torch.inf
        self.n_seen += 1
        return place, bias

"""What every network ends in: rising quantiles and a probability up per horizon, and the loss they are taught by."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as fn
from torch import Tensor, nn

from models.forecast import MEDIAN, QUANTILE_LEVELS

N_LEVELS = len(QUANTILE_LEVELS)


class QuantileHead(nn.Module):
    """Turn hidden states (B, T, D) into quantiles (B, T, H, Q) and logits of the probability up (B, T, H).

    The median is a plain output. Each further quantile is the one nearer the median plus or minus softplus(output), so
    quantiles can never cross, whatever the weights are.

    Parameters
    ----------
    width : int
        D, the width of the hidden states.
    n_horizons : int
        H, how many horizons are answered.
    """

    def __init__(self, width: int, n_horizons: int) -> None:
        super().__init__()
        self.n_horizons = n_horizons
        self.linear = nn.Linear(width, n_horizons * (N_LEVELS + 1))

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return quantiles in sigma units (B, T, H, Q) and logits (B, T, H)."""
        raw = self.linear(hidden).unflatten(-1, (self.n_horizons, N_LEVELS + 1)).float()  # (B, T, H, Q + 1)
        median = raw[..., MEDIAN : MEDIAN + 1]
        rises = fn.softplus(raw[..., MEDIAN + 1 : N_LEVELS])
        falls = fn.softplus(raw[..., :MEDIAN])
        above = median + rises.cumsum(-1)
        below = median - falls.flip(-1).cumsum(-1).flip(-1)
        return torch.cat([below, median, above], -1), raw[..., N_LEVELS]

    @torch.no_grad()
    def start_from(self, quantile: np.ndarray, prob_up: np.ndarray) -> None:
        """Begin as the base rate: the same forecast at every bar, from which training has to earn every deviation.

        Parameters
        ----------
        quantile : (H, Q) float, sigma units, rising along Q
            Quantiles of the targets of the training rows.
        prob_up : (H,) float in (0, 1)
            Share of the training targets above zero.
        """
        gaps = np.maximum(np.diff(quantile, axis=1), 1e-3)
        raw = np.concatenate(
            [
                np.log(np.expm1(gaps[:, :MEDIAN])),
                quantile[:, MEDIAN : MEDIAN + 1],
                np.log(np.expm1(gaps[:, MEDIAN:])),
                np.log(prob_up / (1.0 - prob_up))[:, None],
            ],
            axis=1,
        )
        self.linear.bias.copy_(torch.as_tensor(raw.ravel(), dtype=torch.float32))
        self.linear.weight.mul_(0.1)


class CausalNetwork(nn.Module):
    """A network (B, T, F) and memory to quantiles, logits and memory, in which no bar sees a later one."""

    head: QuantileHead


def forecast_losses(quantile: Tensor, logit: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pinball loss and the binary cross-entropy, each the mean over the known targets.

    pinball = mean of max(q (y - y_q), (q - 1)(y - y_q)) over the levels q, in sigma units; it is smallest at the true
    quantiles. Cross-entropy is that of the event ``target > 0``, in nats.

    Parameters
    ----------
    quantile : (..., H, Q) tensor, sigma units
    logit : (..., H) tensor
    target : (..., H) tensor, sigma units
        NaN where unknown: such a target teaches nothing.

    Returns
    -------
    (pinball, cross_entropy)
        Two scalars; both 0 where no target is known.

    Notes
    -----
    Source: Koenker and Bassett (1978), "Regression Quantiles", Econometrica 46.
    """
    known = ~torch.isnan(target)
    count = known.sum().clamp(min=1)
    seen = torch.where(known, target, 0.0)
    levels = torch.tensor(QUANTILE_LEVELS, device=quantile.device, dtype=quantile.dtype)
    miss = seen[..., None] - quantile
    pinball = torch.maximum(levels * miss, (levels - 1.0) * miss).mean(-1)
    entropy = fn.binary_cross_entropy_with_logits(logit.float(), (seen > 0).float(), reduction="none")
    return (pinball * known).sum() / count, (entropy * known).sum() / count

"""What every network ends in: rising quantiles and a probability up per horizon, and the loss they are taught by."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as fn
from torch import Tensor, nn

from models.forecast import MEDIAN, QUANTILE_LEVELS

N_LEVELS = len(QUANTILE_LEVELS)
Step = Callable[[Tensor], tuple[Tensor, Tensor]]


class QuantileHead(nn.Module):
    """Turn hidden states (B, T, D) into quantiles (B, T, H, Q) and logits of the probability up (B, T, H).

    The median is a plain output. Each further quantile is the one nearer the median plus or minus softplus(output), so
    quantiles can never cross, whatever the weights are. Of the deviation from the base rate only the share ``trust``
    is said, per horizon: training leaves it at one, and ``set_trust`` lowers it to what the validation rows bear out.

    Parameters
    ----------
    width : int
        D, the width of the hidden states.
    n_horizons : int
        H, how many horizons are answered.
    """

    base_quantile: Tensor  # (H, Q)
    base_logit: Tensor  # (H,)
    trust: Tensor  # (2, H)

    def __init__(self, width: int, n_horizons: int) -> None:
        super().__init__()
        self.n_horizons = n_horizons
        self.linear = nn.Linear(width, n_horizons * (N_LEVELS + 1))
        self.register_buffer("base_quantile", torch.zeros(n_horizons, N_LEVELS))
        self.register_buffer("base_logit", torch.zeros(n_horizons))
        self.register_buffer("trust", torch.ones(2, n_horizons))  # of the quantiles, of the logits

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return quantiles in sigma units (B, T, H, Q) and logits (B, T, H)."""
        raw = self.linear(hidden).unflatten(-1, (self.n_horizons, N_LEVELS + 1)).float()  # (B, T, H, Q + 1)
        median = raw[..., MEDIAN : MEDIAN + 1]
        rises = fn.softplus(raw[..., MEDIAN + 1 : N_LEVELS])
        falls = fn.softplus(raw[..., :MEDIAN])
        above = median + rises.cumsum(-1)
        below = median - falls.flip(-1).cumsum(-1).flip(-1)
        quantile = torch.cat([below, median, above], -1)
        return self.tempered(quantile, raw[..., N_LEVELS])

    def tempered(self, quantile: Tensor, logit: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is said when only the share ``trust`` of each deviation from the base rate is."""
        return (
            torch.lerp(self.base_quantile.expand_as(quantile), quantile, self.trust[0, :, None]),
            torch.lerp(self.base_logit.expand_as(logit), logit, self.trust[1]),
        )

    @torch.no_grad()
    def set_base(self, quantile: np.ndarray, prob_up: np.ndarray) -> None:
        """Take the base rate from which deviations are measured, and trust them fully until ``set_trust``.

        Parameters
        ----------
        quantile : (H, Q) float, sigma units, rising along Q
            Quantiles of the targets of the training rows.
        prob_up : (H,) float in (0, 1)
            Share of the training targets above zero.
        """
        self.base_quantile.copy_(torch.as_tensor(quantile))
        self.base_logit.copy_(torch.as_tensor(np.log(prob_up / (1.0 - prob_up))))
        self.trust.fill_(1.0)

    @torch.no_grad()
    def start_as_base(self) -> None:
        """Begin as the base rate: the same forecast at every bar, from which training has to earn every deviation."""
        gaps = self.base_quantile.diff(dim=-1).clamp(min=1e-3).expm1().log()
        median = self.base_quantile[:, MEDIAN : MEDIAN + 1]
        raw = torch.cat([gaps[:, :MEDIAN], median, gaps[:, MEDIAN:], self.base_logit[:, None]], -1)
        self.linear.bias.copy_(raw.flatten())
        self.linear.weight.mul_(0.1)

    @torch.no_grad()
    def set_trust(self, quantile: Tensor, logit: Tensor, target: Tensor) -> None:
        """Say of each deviation from the base rate only as much as would have been best on the rows given.

        Parameters
        ----------
        quantile : (..., H, Q) tensor
            Said of these rows while ``trust`` was one.
        logit : (..., H) tensor
        target : (..., H) tensor, NaN where unknown
            A horizon without a known target is not trusted at all.

        Notes
        -----
        The shares are those of 0, 0.1 ... 1 with the smallest pinball loss and cross-entropy, for each horizon by
        itself: the slope of Cox (1958), "Two further applications of a model for binary regression", kept in [0, 1].
        """
        shares = torch.linspace(0.0, 1.0, 11)
        for h in range(self.n_horizons):
            losses = torch.stack(
                [
                    torch.stack(
                        forecast_losses(
                            torch.lerp(
                                self.base_quantile[h].expand_as(quantile[..., h, :]), quantile[..., h, :], share
                            ),
                            torch.lerp(self.base_logit[h].expand_as(logit[..., h]), logit[..., h], share),
                            target[..., h],
                        )
                    )
                    for share in shares.to(logit.device)
                ]
            )  # (11, 2)
            self.trust[:, h] = shares[losses.argmin(0).cpu()].to(self.trust.device)


class CausalNetwork(nn.Module):
    """A network (B, T, F) and memory to quantiles, logits and memory, in which no bar sees a later one."""

    head: QuantileHead

    def running(self, n_series: int) -> Step:
        """Return what reads the next bar (B, F) of B series and gives quantiles (B, H, Q) and logits (B, H).

        It says what ``forward`` says of the same bars, but for the order of summation, and keeps its memory itself.
        """
        raise NotImplementedError


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

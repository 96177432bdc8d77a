"""The Transformer: causal attention over a sliding window of 64 bars, with cached keys and values when it runs live."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as fn
from torch import Tensor, nn

from models.forecast import HORIZONS
from models.heads import CausalNetwork, QuantileHead
from models.neural import NeuralForecaster
from models.ring import Ring, Turn
from models.training import TrainingConfig


@dataclass(frozen=True)
class TransformerConfig:
    """The shape of the Transformer.

    Attributes
    ----------
    input_size : int
        Features a bar, F.
    d_model : int
        Width of a bar's representation, D.
    num_heads : int
        Attention heads, A; D / A numbers each.
    num_layers : int
        Blocks, L.
    dropout : float
        Share of each block's output that is dropped while training.
    window : int
        Bars that one layer looks back over, W, the present one included; L layers together reach L (W - 1) + 1 bars.
    forecast_horizon : int
        Longest horizon that is answered, in bars; longer ones of ``HORIZONS`` are NaN.
    """

    input_size: int = 50
    d_model: int = 128
    num_heads: int = 4
    num_layers: int = 3
    dropout: float = 0.2
    window: int = 64
    forecast_horizon: int = 24


class Cache(NamedTuple):
    """Keys and values of the last S < W bars in one layer, oldest first."""

    key: Tensor  # (B, A, S, D / A)
    value: Tensor  # (B, A, S, D / A)


class Block(nn.Module):
    """One layer: attention, then a position-wise network, each on normalised input and added to what came in.

    Notes
    -----
    Sources: Vaswani et al. (2017); normalisation first as in Xiong et al. (2020); positions by a penalty that grows
    with age, a different slope per head, as in Press, Smith and Lewis (2022, ALiBi): nothing in a key says where it
    stands, so keys can be cached for ever.
    """

    slope: Tensor  # (A,)

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width = config.d_model
        self.num_heads, self.window = config.num_heads, config.window
        self.norm_attention, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(config.dropout)
        heads = torch.arange(1, config.num_heads + 1)
        self.register_buffer("slope", 2.0 ** (-8.0 * heads / config.num_heads), persistent=False)

    def forward(self, x: Tensor, cache: Cache | None) -> tuple[Tensor, Cache]:
        """Return (B, T, D) and the layer's new cache."""
        parts = self.query_key_value(self.norm_attention(x))  # (B, T, 3 D)
        query, key, value = parts.unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)  # 3 of (B, A, T, D / A)
        if cache is not None:
            key = torch.cat([cache.key.to(key.dtype), key], 2)  # (B, A, S + T, D / A)
            value = torch.cat([cache.value.to(value.dtype), value], 2)
        bias = self.bias(query.shape[2], key.shape[2]).to(query.dtype)
        seen = fn.scaled_dot_product_attention(query, key, value, attn_mask=bias)  # (B, A, T, D / A)
        oldest = max(0, key.shape[2] - self.window + 1)
        x = self.after(x, seen.transpose(1, 2).flatten(2))  # (B, T, D)
        return x, Cache(key[:, :, oldest:], value[:, :, oldest:])

    def after(self, x: Tensor, seen: Tensor) -> Tensor:
        """Return (..., D) from what came in and what attention saw, (..., D) both."""
        x = x + self.dropout(self.out(seen))
        return x + self.dropout(self.narrow(fn.gelu(self.widen(self.norm_mlp(x)))))

    def bias(self, n_new: int, n_all: int) -> Tensor:
        """Return the penalty of each pair of bars, (A, T, S + T): -slope times age, minus infinity outside the window.

        Not persistent and cheap: the same numbers for one bar with a full cache and for a whole sequence.
        """
        now = torch.arange(n_all - n_new, n_all, device=self.slope.device)
        age = now[:, None] - torch.arange(n_all, device=self.slope.device)[None, :]  # (T, S + T)
        penalty = -self.slope[:, None, None] * age
        return penalty.masked_fill((age < 0) | (age >= self.window), -torch.inf)


class TransformerNetwork(CausalNetwork):
    """Features, L blocks, a last normalisation, the head."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.embed = nn.Linear(config.input_size, config.d_model)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.d_model)
        self.head = QuantileHead(config.d_model, sum(h <= config.forecast_horizon for h in HORIZONS))

    def forward(
        self, inputs: Tensor, memory: tuple[Cache, ...] | None = None
    ) -> tuple[Tensor, Tensor, tuple[Cache, ...]]:
        """Read T bars of B series, oldest first, after those that ``memory`` has seen.

        Parameters
        ----------
        inputs : (B, T, F) scaled features, no NaN
        memory : tuple of Cache, optional
            What an earlier call returned, one per layer; None at the start of a series.

        Returns
        -------
        (quantile (B, T, H, Q) sigma units, logit (B, T, H), memory)
        """
        x = self.embed(inputs)  # (B, T, D)
        caches = []
        for i, block in enumerate(self.blocks):
            x, cache = block(x, None if memory is None else memory[i])
            caches.append(cache)
        quantile, logit = self.head(self.norm(x))
        return quantile, logit, tuple(caches)

    def running(self, n_series: int) -> RunningTransformer:
        """Return the network as it runs live."""
        return RunningTransformer(self, n_series)


class RunningTransformer:
    """A ``TransformerNetwork`` bar by bar: rings of keys and values, a pair for each layer."""

    def __init__(self, network: TransformerNetwork, n_series: int) -> None:
        self._network = network
        self._blocks = [block for block in network.blocks if isinstance(block, Block)]
        first = self._blocks[0]
        shape = (n_series, first.num_heads, network.embed.out_features // first.num_heads)
        self._rings = [(Ring(shape, first.window), Ring(shape, first.window)) for _ in self._blocks]
        self._turn = Turn(-first.slope[:, None] * torch.arange(first.window))  # (A, W)

    def __call__(self, bar: Tensor) -> tuple[Tensor, Tensor]:
        """Read (B, F); return quantiles (B, H, Q) and logits (B, H)."""
        network, x = self._network, self._network.embed(bar)  # (B, D)
        place, bias = self._turn.next()
        for block, (keys, values) in zip(self._blocks, self._rings, strict=True):
            parts = block.query_key_value(block.norm_attention(x)).unflatten(-1, (3, block.num_heads, -1))
            query, key, value = parts.unbind(1)  # (B, A, D / A) each
            query = query[..., None] / query.shape[-1] ** 0.5  # (B, A, D / A, 1)
            score = (keys.put(key, place) @ query)[..., 0] + bias  # (B, A, W)
            seen = torch.softmax(score, -1)[..., None, :] @ values.put(value, place)  # (B, A, 1, D / A)
            x = block.after(x, seen.flatten(1))
        quantile, logit = network.head(network.norm(x))
        return quantile, logit


class TransformerForecaster(NeuralForecaster):
    """The Transformer as a forecaster."""

    name = "transformer"

    def __init__(self, config: TransformerConfig | None = None, training: TrainingConfig | None = None) -> None:
        super().__init__(config or TransformerConfig(), training or TrainingConfig())

    def build(self) -> TransformerNetwork:
        """Return an untrained network."""
        return TransformerNetwork(self.config)

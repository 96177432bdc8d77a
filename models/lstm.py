"""The LSTM: three recurrent layers, and attention over what they said about the last 64 bars."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.forecast import HORIZONS
from models.heads import CausalNetwork, QuantileHead
from models.neural import NeuralForecaster
from models.ring import Ring, Turn
from models.training import TrainingConfig


@dataclass(frozen=True)
class LSTMConfig:
    """The shape of the LSTM.

    Attributes
    ----------
    input_size : int
        Features a bar, F.
    hidden_size : int
        Width of the hidden state, D.
    num_layers : int
        Recurrent layers, L.
    dropout : float
        Share of activations dropped between layers and before the head while training.
    forecast_horizon : int
        Longest horizon that is answered, in bars; longer ones of ``HORIZONS`` are NaN.
    window : int
        Bars that the attention looks back over, W, the present one included.
    """

    input_size: int = 50
    hidden_size: int = 128
    num_layers: int = 3
    dropout: float = 0.2
    forecast_horizon: int = 24
    window: int = 64


class LstmMemory(NamedTuple):
    """What the network carries from one bar to the next."""

    hidden: Tensor  # (L, B, D)
    cell: Tensor  # (L, B, D)
    past: Tensor  # (B, S, D) top hidden states of the last S < W bars, oldest first


class LstmNetwork(CausalNetwork):
    """Stacked LSTM with banded, causal, scaled dot-product attention over its own top hidden states.

    Notes
    -----
    Sources: Hochreiter and Schmidhuber (1997) for the cell; Bahdanau, Cho and Bengio (2015) for attention in a
    recurrent network; Luong, Pham and Manning (2015) for the "general" score h_t' A h_s and the attentional state
    tanh(C [context; h_t]). Added here: a learned bias per age, because an LSTM's states do not say how old they are.
    """

    def __init__(self, config: LSTMConfig) -> None:
        super().__init__()
        width, dropout = config.hidden_size, config.dropout
        self.window = config.window
        self.lstm = nn.LSTM(
            config.input_size,
            width,
            config.num_layers,
            batch_first=True,
            dropout=dropout if config.num_layers > 1 else 0.0,
        )
        self.query = nn.Linear(width, width, bias=False)
        self.age_bias = nn.Parameter(torch.zeros(config.window))
        self.join = nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(dropout)
        self.head = QuantileHead(width, sum(h <= config.forecast_horizon for h in HORIZONS))

    def forward(self, inputs: Tensor, memory: LstmMemory | None = None) -> tuple[Tensor, Tensor, LstmMemory]:
        """Read T bars of B series, oldest first, after those that ``memory`` has seen.

        Parameters
        ----------
        inputs : (B, T, F) scaled features, no NaN
        memory : LstmMemory, optional
            What an earlier call returned; None at the start of a series.

        Returns
        -------
        (quantile (B, T, H, Q) sigma units, logit (B, T, H), memory)
        """
        start = None if memory is None else (memory.hidden, memory.cell)
        top, (hidden, cell) = self.lstm(inputs, start)  # (B, T, D), (L, B, D), (L, B, D)
        past = top if memory is None else torch.cat([memory.past.to(top.dtype), top], 1)  # (B, S + T, D)
        context = self.attention(top, past) @ past  # (B, T, D)
        joined = torch.tanh(self.join(torch.cat([top, context], -1)))  # (B, T, D)
        quantile, logit = self.head(self.dropout(joined))
        return quantile, logit, LstmMemory(hidden, cell, past[:, max(0, past.shape[1] - self.window + 1) :])

    def attention(self, top: Tensor, past: Tensor) -> Tensor:
        """Return how much each of T bars looks at each of the S + T bars so far: (B, T, S + T), rows sum to one."""
        n_new, n_all = top.shape[1], past.shape[1]
        now = torch.arange(n_all - n_new, n_all, device=top.device)
        age = now[:, None] - torch.arange(n_all, device=top.device)[None, :]  # (T, S + T), 0 is the bar itself
        bias = self.age_bias[age.clamp(0, self.window - 1)]
        bias = bias.masked_fill((age < 0) | (age >= self.window), -torch.inf)
        score = self.query(top) @ past.transpose(1, 2) / top.shape[-1] ** 0.5  # (B, T, S + T)
        return torch.softmax(score + bias, -1).to(past.dtype)

    def running(self, n_series: int) -> RunningLstm:
        """Return the network as it runs live."""
        return RunningLstm(self, n_series)


class RunningLstm:
    """An ``LstmNetwork`` bar by bar: the recurrent state, and a ring of top hidden states."""

    def __init__(self, network: LstmNetwork, n_series: int) -> None:
        lstm, width = network.lstm, network.lstm.hidden_size
        self._network, self._scale = network, width**-0.5
        self._layers = [lstm.all_weights[layer] for layer in range(lstm.num_layers)]
        self._state = [(torch.zeros(n_series, width), torch.zeros(n_series, width)) for _ in self._layers]
        self._past = Ring((n_series, width), network.window)
        self._turn = Turn(network.age_bias.detach())

    def __call__(self, bar: Tensor) -> tuple[Tensor, Tensor]:
        """Read (B, F); return quantiles (B, H, Q) and logits (B, H)."""
        network, top = self._network, bar
        for layer, weights in enumerate(self._layers):
            self._state[layer] = torch.lstm_cell(top, self._state[layer], *weights)
            top = self._state[layer][0]  # (B, D)
        place, bias = self._turn.next()
        past = self._past.put(top, place)  # (B, W, D)
        score = (past @ (network.query(top) * self._scale)[..., None])[..., 0] + bias  # (B, W)
        context = (torch.softmax(score, -1)[:, None] @ past)[:, 0]  # (B, D)
        quantile, logit = network.head(torch.tanh(network.join(torch.cat([top, context], -1))))
        return quantile, logit


class LstmForecaster(NeuralForecaster):
    """The LSTM as a forecaster."""

    name = "lstm"

    def __init__(self, config: LSTMConfig | None = None, training: TrainingConfig | None = None) -> None:
        super().__init__(config or LSTMConfig(), training or TrainingConfig())

    def build(self) -> LstmNetwork:
        """Return an untrained network."""
        return LstmNetwork(self.config)

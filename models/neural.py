"""A causal network as a forecaster: scaling, fitting, batches, the stream, and what is kept of it on disk."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from engine.errors import ModelError
from models.forecast import HORIZONS, QUANTILE_LEVELS, Learnable, Prediction, Progress
from models.heads import CausalNetwork
from models.tabular import Scaler, known_targets
from models.training import Rows, TrainingConfig, fit_network, run_network

torch.set_num_threads(1)  # two threads on two busy cores wait for each other: p99 rises from 0.2 to 300 ms

TOLERANCE = 1e-4
"""Largest difference between batch and stream, in sigma units and in probability: order of summation, not meaning."""

SCALER_BARS = 4096
"""The scaler is estimated on at most about this many bars, evenly spread over the training rows."""


class NeuralForecaster:
    """What the LSTM and the Transformer have in common around their networks; each file adds its own architecture.

    Parameters
    ----------
    config : dataclass
        The shape of the network, with ``input_size``.
    training : TrainingConfig
        The budget of each fit.
    """

    name = ""
    has_randomness = True

    def __init__(self, config: Any, training: TrainingConfig) -> None:
        self.config, self.training = config, training
        self.warm_up_bars = training.sequence
        self._network: CausalNetwork | None = None
        self._scaler = Scaler(np.zeros(0), np.zeros(0))

    def build(self) -> CausalNetwork:
        """Return an untrained network: (B, T, F) and memory to quantiles, logits and memory."""
        raise NotImplementedError

    @property
    def network(self) -> CausalNetwork:
        """The fitted network, in evaluation mode on the CPU."""
        if self._network is None:
            raise ModelError(f"the {self.name} has not been fitted yet: call fit or load first")
        return self._network

    def fit(self, data: Learnable, train: slice, valid: slice, seed: int, progress: Progress) -> dict[str, float]:
        """Learn from ``train`` until ``valid`` says enough; start from the last fit's weights if there was one.

        Parameters
        ----------
        data : Learnable
        train, valid : slice
            Bars; targets that are known only after a slice's last bar are not used. ``valid`` may be empty.
        seed : int
            First weights, draw of the sequences, dropout.
        progress : Progress

        Returns
        -------
        dict
            The losses, ``epochs`` and ``seconds``, see ``fit_network``.

        Raises
        ------
        Cancelled, ModelError
            The forecaster is then what it was before.
        """
        self._check_width(data.features)
        is_first = self._network is None
        train_rows, valid_rows = self._rows(data, train), self._rows(data, valid)
        bars = data.features[train]
        scaler = Scaler.of(bars[:: max(1, len(bars) // SCALER_BARS)])
        network = self._untrained(seed) if is_first else self.network
        losses = fit_network(
            network,
            lambda features: scaler.inputs(features)[0],
            train_rows,
            valid_rows,
            self.training,
            is_first,
            seed,
            progress,
        )
        self._network, self._scaler = network.eval(), scaler
        return losses

    def predict(self, data: Learnable, rows: slice) -> Prediction:
        """Forecast the bars ``rows``; at most ``warm_up_bars`` before them are read to fill the memory.

        What comes out is what a stream gives that was shown the same bars, within ``TOLERANCE``. NaN where less than
        half of a bar's features are known.
        """
        self._check_width(data.features)
        start, stop, _ = rows.indices(len(data.features))
        first = max(0, start - self.warm_up_bars)
        if stop <= start:
            return Prediction(*self._blank(0, data.features.shape[1]))
        quantile, logit = run_network(self.network, self._inputs, data.features[first:stop], start - first)
        known = self._scaler.inputs(data.features[start:stop])[1]
        return Prediction(*self._answer(quantile.transpose(0, 1), logit.transpose(0, 1), known))

    def stream(self, n_symbols: int) -> NeuralStream:
        """Return the forecaster as it runs in the engine, having seen nothing yet.

        Show it ``warm_up_bars`` bars before its forecasts are used.
        """
        return NeuralStream(self, n_symbols)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, object]]:
        """Return the weights and the scaler, and the two configurations."""
        tensors = {f"network.{name}": value.numpy().copy() for name, value in self.network.state_dict().items()}
        tensors |= {"scaler.center": self._scaler.center, "scaler.scale": self._scaler.scale}
        return tensors, {"config": asdict(self.config), "training": asdict(self.training)}

    def load(self, tensors: dict[str, np.ndarray], settings: dict[str, object]) -> None:
        """Take up what ``state`` gave.

        Raises
        ------
        ModelError
            If settings or tensors do not belong to this architecture.
        """
        try:
            self.config = type(self.config)(**_mapping(settings["config"]))
            self.training = TrainingConfig(**_mapping(settings["training"]))
            network = self.build()
            weights = {
                name.removeprefix("network."): torch.from_numpy(np.array(value))
                for name, value in tensors.items()
                if name.startswith("network.")
            }
            network.load_state_dict(weights)
            self._scaler = Scaler(tensors["scaler.center"], tensors["scaler.scale"])
        except (KeyError, TypeError, RuntimeError) as error:
            raise ModelError(
                f"what is stored is not a {self.name} of this version: {error}. Train it again."
            ) from error
        self.warm_up_bars = self.training.sequence
        self._network = network.eval()

    def _untrained(self, seed: int) -> CausalNetwork:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.build()

    def _rows(self, data: Learnable, rows: slice) -> Rows:
        start, _, _ = rows.indices(len(data.features))
        n_horizons = sum(horizon <= self.config.forecast_horizon for horizon in HORIZONS)
        return Rows(data.features, known_targets(data, rows)[..., :n_horizons].astype(np.float32), start)

    def _inputs(self, features: np.ndarray) -> np.ndarray:
        return self._scaler.inputs(features)[0]

    def _answer(self, quantile: torch.Tensor, logit: torch.Tensor, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """From tensors (..., N, h, Q) and (..., N, h) to arrays for all HORIZONS, NaN where nothing is said."""
        lead = quantile.shape[:-2]
        answers = np.full((*lead, len(HORIZONS), len(QUANTILE_LEVELS)), np.nan, dtype=np.float32)
        prob = np.full((*lead, len(HORIZONS)), np.nan, dtype=np.float32)
        n_horizons = quantile.shape[-2]
        answers[..., :n_horizons, :] = np.where(known[..., None, None], quantile.numpy(), np.nan)
        prob[..., :n_horizons] = np.where(known[..., None], torch.sigmoid(logit).numpy(), np.nan)
        return answers, prob

    def _blank(self, n_bars: int, n_symbols: int) -> tuple[np.ndarray, np.ndarray]:
        shape = (n_bars, n_symbols, len(HORIZONS))
        return np.full((*shape, len(QUANTILE_LEVELS)), np.nan, dtype=np.float32), np.full(shape, np.nan, np.float32)

    def _check_width(self, features: np.ndarray) -> None:
        if features.shape[-1] != self.config.input_size:
            raise ModelError(
                f"the {self.name} reads {self.config.input_size} features a bar and was given {features.shape[-1]}: "
                "build it with that input_size, or compute the features it was made for"
            )


class NeuralStream:
    """A fitted network that is shown one bar of every symbol after the other.

    Parameters
    ----------
    forecaster : NeuralForecaster
        Fitted. Fitting it again changes what this stream says: take a new one.
    n_symbols : int
        N, fixed for the life of the stream.
    """

    def __init__(self, forecaster: NeuralForecaster, n_symbols: int) -> None:
        self._forecaster, self._n_symbols = forecaster, n_symbols
        self._step = forecaster.network.running(n_symbols)

    @torch.inference_mode()
    def update(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Take one bar's unscaled features (N, F); return quantiles (N, H, Q) and probabilities up (N, H).

        NaN for symbols of which less than half of the features are known.
        """
        if len(features) != self._n_symbols:
            raise ModelError(f"this stream carries {self._n_symbols} symbols and was given {len(features)}")
        self._forecaster._check_width(features)
        inputs, known = self._forecaster._scaler.inputs(features)
        return self._forecaster._answer(*self._step(torch.from_numpy(inputs)), known)


def _mapping(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"found {value!r} where a mapping of settings was expected")
    return value

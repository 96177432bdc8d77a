"""One new bar to forecasts: the LSTM and the Transformer as they run live, on one thread. Prints JSON.

    python benchmarks/inference.py [--bars 300]

``streaming_ms`` is what the engine does: scale one bar's features, one step with carried memory, answers out. In the
same run: ``window_ms``, the same networks reading the last 64 bars anew for the newest one, and the largest difference
between batch and stream over all bars in sigma units. Networks have the sizes of the defaults; their weights come from
two steps on noise, because how long an answer takes does not depend on what it says; those of the head are made thirty
times as large, so that the difference is that of networks that say something.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from measuring import options, report, spread

from models.forecast import HORIZONS, Learnable, Panel
from models.lstm import LstmForecaster
from models.neural import TOLERANCE, NeuralForecaster
from models.training import TrainingConfig
from models.transformer import TransformerForecaster

SYMBOLS = (1, 10, 50)
N_FEATURES, WINDOW = 50, 64
TARGET_P99_MS = 20.0
T = TypeVar("T")
BRIEF = TrainingConfig(batch=4, steps_per_epoch=2, epochs_first=1)


def noise(n_bars: int, n_symbols: int) -> Learnable:
    """Return noise in the shapes of hourly bars."""
    rng = np.random.default_rng(0)
    shape = (n_bars, n_symbols)
    prices = np.exp(0.01 * rng.standard_normal(shape).cumsum(axis=0))
    ts_close = np.arange(1, n_bars + 1, dtype=np.int64) * 3_600_000_000_000
    panel = Panel(tuple(f"S{i}" for i in range(n_symbols)), ts_close, *([prices] * 8))
    features = rng.standard_normal((*shape, N_FEATURES)).astype(np.float32)
    target = rng.standard_normal((*shape, len(HORIZONS)))
    return Learnable(
        panel, features, np.full(shape, 0.01), target, ts_close[:, None] + np.zeros(len(HORIZONS), np.int64)
    )


class Times:
    """How long calls took: on the wall, and of the processor. Where others compute too, only the second compares."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.processor: list[float] = []

    def of(self, call: Callable[[], T]) -> T:
        """Call, and note the time."""
        wall, processor = time.perf_counter(), time.thread_time()
        result = call()
        self.wall.append(1e3 * (time.perf_counter() - wall))
        self.processor.append(1e3 * (time.thread_time() - processor))
        return result

    def figures(self, n_first: int = 0) -> dict[str, Any]:
        """Return the spread without the first calls."""
        return {"wall": spread(self.wall[n_first:]), "processor": spread(self.processor[n_first:])}


def streaming(forecaster: NeuralForecaster, features: np.ndarray) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """Return the time of every bar after the memory is full, ms, and all answers."""
    stream, times = forecaster.stream(features.shape[1]), Times()
    said = [times.of(partial(stream.update, bar)) for bar in features]
    return times.figures(WINDOW), np.stack([quantile for quantile, _ in said]), np.stack([prob for _, prob in said])


@torch.inference_mode()
def window_ms(forecaster: NeuralForecaster, features: np.ndarray, repeats: int) -> dict[str, Any]:
    """Return the time of reading the last bars anew, ms."""
    inputs, times = torch.from_numpy(features[:WINDOW]).transpose(0, 1).contiguous(), Times()  # (N, 64, F)
    for _ in range(repeats + 1):
        times.of(partial(forecaster.network, inputs))
    return times.figures(1)


def measure(forecaster: NeuralForecaster, n_bars: int) -> tuple[dict[str, Any], float]:
    """Return the figures by number of symbols, and the largest difference between batch and stream."""
    found, worst = {}, 0.0
    for n_symbols in SYMBOLS:
        data = noise(n_bars, n_symbols)
        elapsed, quantile, prob = streaming(forecaster, data.features)
        batch = forecaster.predict(data, slice(0, n_bars))
        worst = max(worst, float(abs(quantile - batch.quantile).max()), float(abs(prob - batch.prob_up).max()))
        found[str(n_symbols)] = {
            "streaming_ms": elapsed,
            "window_ms": window_ms(forecaster, data.features, max(3, n_bars // 20)),
        }
    return found, worst


def main() -> None:
    chosen = options(__doc__, ("--bars", {"type": int, "default": 300, "help": "bars that are streamed, at least 100"}))
    n_bars = max(chosen.bars, WINDOW + 36)
    models: dict[str, Any] = {}
    worst, together = 0.0, 0.0
    for forecaster in (LstmForecaster(training=BRIEF), TransformerForecaster(training=BRIEF)):
        nothing = slice(0, 0)
        forecaster.fit(noise(n_bars, 2), slice(0, n_bars), nothing, 1, lambda share, losses: True)
        with torch.no_grad():
            forecaster.network.head.linear.weight.mul_(30.0)
        models[forecaster.name], difference = measure(forecaster, n_bars)
        worst = max(worst, difference)
        together += models[forecaster.name][str(SYMBOLS[-1])]["streaming_ms"]["wall"]["p99"]
    report(
        {
            "benchmark": "inference",
            "unit": "ms a bar of all symbols, by number of symbols",
            "models": models,
            "both_p99_ms_50_symbols": round(together, 3),
            "largest_batch_stream_difference": worst,
            "tolerance": TOLERANCE,
            "target": {"both_p99_ms_50_symbols": TARGET_P99_MS},
            "reached": math.isfinite(together) and together < TARGET_P99_MS and worst <= TOLERANCE,
        },
        chosen.json,
    )


if __name__ == "__main__":
    main()

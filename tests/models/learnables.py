"""Small made-up Learnables for tests of learners: what is in them is known, so what can be learnt is too."""

from __future__ import annotations

import numpy as np

from models.forecast import HORIZONS, Learnable, Panel

HOUR = 3_600_000_000_000
N_FEATURES = 6


def made_up(n_bars: int = 1500, n_symbols: int = 3, drift: float = 0.0, seed: int = 1) -> Learnable:
    """Return noise whose returns lean towards the first feature by ``drift`` sigmas a bar; the last column is unknown.

    Feature 0 is a slow signal, feature 1 the last bar's return, the others noise. Sigma is 1 % everywhere.
    """
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n_bars, n_symbols, N_FEATURES)).astype(np.float32)
    signal = np.repeat(rng.choice([-1.0, 1.0], size=(n_bars // 50 + 1, n_symbols)), 50, axis=0)[:n_bars]
    features[..., 0] = signal
    log_return = 0.01 * (rng.standard_normal((n_bars, n_symbols)) + drift * np.vstack([signal[:1], signal[:-1]]))
    features[..., 1] = log_return
    features[..., -1] = np.nan
    features[:20] = np.nan
    close = 100.0 * np.exp(np.cumsum(log_return, axis=0))
    target = np.full((n_bars, n_symbols, len(HORIZONS)), np.nan)
    for h, horizon in enumerate(HORIZONS):
        target[:-horizon, :, h] = np.log(close[horizon:] / close[:-horizon]) / (0.01 * np.sqrt(horizon))
    ts_close = (1 + np.arange(n_bars, dtype=np.int64)) * HOUR
    ts_known = ts_close[:, None] + np.array(HORIZONS, dtype=np.int64) * HOUR
    open_px = np.vstack([close[:1], close[:-1]])
    volume = np.full(close.shape, 1e6)
    panel = Panel(
        tuple(f"S{i}USDT" for i in range(n_symbols)), ts_close, open_px, np.maximum(open_px, close),
        np.minimum(open_px, close), close, volume, np.zeros(close.shape), np.full(close.shape, np.nan),
        np.full(close.shape, np.nan),
    )  # fmt: skip
    return Learnable(panel, features, np.full(close.shape, 0.01), target, ts_known)


def always(share: float, losses: dict[str, float]) -> bool:
    """Progress of somebody who never cancels."""
    return True


class Broken:
    """A learner that fails on purpose."""

    name = "broken"

    def fit(self, *args: object) -> dict[str, float]:
        raise RuntimeError("broken on purpose")


class Holder:
    """A policy that is always long."""

    name = "holder"

    def fit(self, *args: object) -> dict[str, float]:
        return {"seconds": 0.0}

    def weights(self, data: Learnable, rows: slice) -> np.ndarray:
        return np.ones(data.panel.close_px[rows].shape)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, object]]:
        return {}, {}


class Earner:
    """A policy with a paper book that goes up by day and down by day, one after the other, as far as it wishes."""

    def __init__(self, wish: float) -> None:
        self.name, self.wish = "earner", wish

    def fit(self, *args: object) -> dict[str, float]:
        days = 60.0
        return {"valid_days": days, "valid_sum": 0.001 * self.wish * days, "valid_squares": 1e-4 * days}

    def rollout(self, data: Learnable, rows: slice) -> object:
        from models.agents import Rollout  # brings the practice ground, which few tests need

        shape = data.panel.close_px[rows].shape
        steps = np.where(np.arange(shape[0]) % 48 < 24, 3e-4, -1e-4)[:, None]
        return Rollout(np.full(shape, self.wish), self.wish * np.broadcast_to(steps, shape))

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, object]]:
        return {}, {}

    def load(self, tensors: dict[str, np.ndarray], settings: dict[str, object]) -> None:
        pass


def winner() -> Earner:
    return Earner(0.8)


def loser() -> Earner:
    return Earner(-0.4)

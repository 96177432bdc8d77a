"""One trained set on a live tape: each member sees every bar once; what is late, stale or broken is left out."""

from __future__ import annotations

import time
from collections import deque
from typing import Any, NamedTuple

import numpy as np

from engine.domain import F8, INTERVAL_S, NS_PER_S
from engine.errors import ModelError
from models.conformal import Tracker, learn, widened
from models.ensemble import Weights, combine
from models.features import NAMES
from models.forecast import HORIZONS, Panel, Prediction, Stream
from models.position import no_position, position_after
from models.sets import BASE, ModelSet
from models.shown import why_share

BUDGET_MS = 40.0
"""Members that have not begun by then are left out of this bar's answer, and catch up after it."""


FUNDING = [at for at, name in enumerate(NAMES) if name.startswith("funding")]
"""Inputs that are made of funding rates: 0 where these are unknown, see ``models.features``."""


class Issued(NamedTuple):
    """A forecast whose outcomes are still to come."""

    ts_close: int
    close_px: F8  # (N,)
    sigma: F8  # (N,)
    quantile: F8  # (N, H, Q) as issued


class LiveSet:
    """A set as it runs: its members' memories, the adaptive intervals, and what was left out and why.

    Parameters
    ----------
    models : ModelSet
    symbols : tuple of str
        In the order of the rows. A symbol that the training did not have starts with intervals as they are.
    """

    def __init__(self, models: ModelSet, symbols: tuple[str, ...]) -> None:
        self.version, self._models, self._manifest = models.version, models, models.manifest
        self._knows_funding = "funding" in models.record.inputs
        self._weights: Weights = models.record.weights
        self._tracker = _tracker_for(models, symbols)
        loaded = {BASE: models.base, **models.members}
        self._expires = {name: one.manifest.ts_expires for name, one in loaded.items()}
        self.warm_up_bars = max(int(getattr(one.model, "warm_up_bars", 0)) for one in loaded.values())
        self._streams: dict[str, Stream] = {name: one.model.stream(len(symbols)) for name, one in loaded.items()}
        self.left_out = dict(models.left_out)  # for as long as the set is loaded
        self._took_ms = dict.fromkeys(self._streams, 0.0)
        self._trail = no_position(len(symbols))
        self._waiting: list[str] = []
        self._bar_ns = INTERVAL_S[models.manifest.interval] * NS_PER_S
        self._issued: deque[Issued] = deque(maxlen=HORIZONS[-1])
        self.said: dict[str, Any] | None = None  # the newest answer
        self.newest: tuple[Panel, np.ndarray, F8] | None = None

    def description(self) -> dict[str, Any]:
        """Return what it is, in JSON types."""
        return {
            "version": self.version, "members": list(self._weights.names), "left_out": self.left_out,
            "ts_trained": self._manifest.ts_trained, "ts_expires": self._manifest.ts_expires,
            "interval": self._manifest.interval, "share": self.share, "why_share": why_share(self._manifest.metrics),
            "weights": {name: self._weights.member[k].tolist() for k, name in enumerate(self._weights.names)},
        }  # fmt: skip

    @property
    def share(self) -> float:
        """What the members' wishes earned of a decision, in [0, 1]; 0 where the set does not know."""
        return float(self._manifest.metrics.get("share", {}).get("mean", 0.0)) if self._weights.names else 0.0

    def warm_up(self, panel: Panel, features: np.ndarray, sigma: F8) -> None:
        """Show a history to every member; the intervals learn from it what members say of it afterwards."""
        first = max(0, len(features) - self.warm_up_bars - 2 * HORIZONS[-1])
        for t in range(first, len(features)):
            one = Panel(panel.symbols, *(values[t : t + 1] for values in panel[1:]))  # type: ignore[arg-type]
            self.on_bar(one, features[t], sigma[t], int(panel.ts_close[t]), np.inf)

    def on_bar(self, panel: Panel, features: np.ndarray, sigma: F8, ts_now: int, budget_ms: float) -> dict[str, Any]:
        """Take one bar (a panel of one row) and return forecasts, what they weigh, and the wish.

        ``weight`` (N,) is the wish, NaN where there is none; ``models`` and ``ensemble`` hold quantiles and
        probabilities; ``left_out`` says why a member does not count.
        """
        started = time.perf_counter()
        self.catch_up()
        self.newest = panel, features, sigma
        ts_close = int(panel.ts_close[0])
        self._learn(ts_close, panel.close_px[0])
        said: dict[str, Prediction] = {}
        left_out, elapsed = dict(self.left_out), {}
        # the base rate first: without it nothing can be said; then whoever was quickest
        for name in sorted(self._streams, key=lambda one: (one != BASE, self._took_ms[one])):
            if name != BASE and 1e3 * (time.perf_counter() - started) + self._took_ms[name] > budget_ms:
                left_out[name] = f"slow: no time was left of {budget_ms:.0f} ms"
                self._waiting.append(name)
                continue
            one = self._shown(name, features)
            elapsed[name] = self._took_ms[name]
            if isinstance(one, str):
                left_out[name] = one
            elif ts_now >= self._expires[name]:
                left_out[name] = "expired: train it again"
            else:
                said[name] = one
        at = Issued(ts_close, panel.close_px[0], sigma, np.empty(0))
        found = self._together(said, left_out, elapsed, at)
        self.said = {"version": self.version, "ts_close": ts_close, "close_px": at.close_px, "sigma": sigma} | found
        return self.said

    def member(self, name: str) -> Any:
        """Return a member's forecaster, the base rate's too.

        Raises
        ------
        ModelError
            There is none of that name, or it could not be loaded.
        """
        loaded = {BASE: self._models.base, **self._models.members}
        if name not in loaded:
            why = self.left_out.get(name, f"it has {', '.join(loaded)}")
            raise ModelError(f"the set {self.version} has no {name} to ask: {why}")
        return loaded[name].model

    def masked(self, features: np.ndarray) -> np.ndarray:
        """Return inputs (..., F) as the training knew them: without funding where it had none."""
        if self._knows_funding:
            return features
        shown = features.copy()
        shown[..., FUNDING] = np.where(np.isfinite(shown[..., FUNDING]), 0.0, np.nan)
        return shown

    def shown_panel(self, panel: Panel) -> Panel:
        """Return bars as the training knew them: without funding where it had none."""
        return panel if self._knows_funding else panel._replace(funding=np.full(panel.funding.shape, np.nan))

    def catch_up(self) -> None:
        """Show the newest bar to those that had no time for it, so that no member misses one."""
        waiting, self._waiting = self._waiting, []
        if self.newest is not None:
            for name in waiting:
                self._shown(name, self.newest[1])

    def _shown(self, name: str, features: np.ndarray) -> Prediction | str:
        """Show a bar to one member; return its forecast (1, N, …), or why there is none."""
        began = time.perf_counter()
        try:
            quantile, prob_up = self._streams[name].update(self.masked(features))
        except Exception as error:  # a member that breaks stops only itself
            return f"broken: {type(error).__name__}: {error}"
        finally:
            self._took_ms[name] = 1e3 * (time.perf_counter() - began)
        one = Prediction(np.asarray(quantile, dtype=np.float64)[None], np.asarray(prob_up, dtype=np.float64)[None])
        return one if np.isfinite(one.prob_up).any() else "no forecast: it is warming up, or the bar is unknown"

    def _together(
        self, said: dict[str, Prediction], left_out: dict[str, str], elapsed: dict[str, float], at: Issued
    ) -> dict[str, Any]:
        members = {name: one for name, one in said.items() if name != BASE}
        n_symbols = len(at.close_px)
        if BASE not in said:
            none = np.full(n_symbols, np.nan)
            left_out.setdefault(BASE, "expired: train it again")
            nothing = {"weight": none, "share": 0.0, "models": {}, "ensemble": None}
            return nothing | {"left_out": left_out, "elapsed": elapsed}
        found = combine(members, said[BASE], self._weights)
        issued = widened(self._tracker, found.prediction.quantile[0])
        self._issued.append(at._replace(quantile=issued))
        prob_up = found.prediction.prob_up[0]
        counts = {name: found.weight[k, 0] for k, name in enumerate(self._weights.names)}
        self._trail, wish = position_after(self._trail, issued, prob_up)
        wish = np.where(np.isfinite(prob_up).any(axis=1), wish, np.nan)  # unknown now: what was wished is too old
        return {
            "weight": wish, "share": self.share * self._present(members), "left_out": left_out, "elapsed": elapsed,
            "models": {
                name: {"quantile": one.quantile[0], "prob_up": one.prob_up[0], "weight": counts.get(name)}
                for name, one in said.items()
            },
            "ensemble": {"quantile": issued, "prob_up": prob_up, "base_weight": found.weight[-1, 0]},
            "median_spread": found.median_spread[0], "prob_spread": found.prob_spread[0],
        }  # fmt: skip

    def _present(self, members: dict[str, Prediction]) -> float:
        """Return the part of all members' weight that is here: who is left out takes its evidence with it."""
        total = float(self._weights.member.sum())
        here = sum(float(self._weights.member[self._weights.names.index(name)].sum()) for name in members)
        return here / total if total > 0.0 else 0.0

    def _learn(self, ts_close: int, close_px: F8) -> None:
        """Tell the intervals about every outcome that this close makes known."""
        for h, horizon in enumerate(HORIZONS):
            for issued in self._issued:
                if ts_close - issued.ts_close == horizon * self._bar_ns:
                    with np.errstate(invalid="ignore", divide="ignore"):
                        target = np.log(close_px / issued.close_px) / (issued.sigma * np.sqrt(horizon))
                    learn(self._tracker, h, issued.quantile[:, h], np.where(np.isfinite(target), target, np.nan))


def _tracker_for(models: ModelSet, symbols: tuple[str, ...]) -> Tracker:
    fresh, kept = Tracker.fresh(len(symbols)), models.record.tracker
    for i, symbol in enumerate(symbols):
        if symbol in models.record.symbols:
            j = models.record.symbols.index(symbol)
            for mine, theirs in zip(fresh, kept, strict=True):
                mine[i] = theirs[j]
    return fresh

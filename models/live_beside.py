"""What runs beside the forecasters of a set on a live tape: its lookout over the market, and its trading agents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from engine.domain import F8
from engine.errors import ModelError
from models.beside import AGENTS, SURROUNDINGS
from models.forecast import Panel
from models.live_agents import LiveAgents, together
from models.registry import load_model
from models.surroundings import Lookout

BURN_IN = 168
"""Bars before the first that counts which the agents' paper books walk through."""


class LiveBeside:
    """Everything of a set that is no forecaster. What breaks stops only itself, and says so.

    Parameters
    ----------
    lookout : Lookout or None
    agents : LiveAgents or None
    left_out : dict of str to str
        What could not be loaded, and why.
    """

    def __init__(
        self, lookout: Lookout | None = None, agents: LiveAgents | None = None, left_out: dict[str, str] | None = None
    ) -> None:
        self.lookout, self._agents, self.left_out = lookout, agents, dict(left_out or {})
        self.wish: F8 | None = None  # of the agents together at the newest bar; None where there are none

    def warm_up(self, panel: Panel, features: np.ndarray, sigma: F8) -> None:
        """Show a history, a row a bar."""
        for t in range(len(features)):
            one = Panel(panel.symbols, *(values[t : t + 1] for values in panel[1:]))  # type: ignore[arg-type]
            if t >= len(features) - BURN_IN:
                self._wish(one, features[t], sigma[t])
            self.look(one, features[t], sigma[t])

    def join(self, said: dict[str, Any], panel: Panel, features: np.ndarray, sigma: F8, ts_now: int) -> dict[str, Any]:
        """Show a bar to the agents and return the answer with their wish in it, as far as their evidence goes."""
        wish = self.wish = self._wish(panel, features, sigma)
        said = said | {"left_out": said["left_out"] | self.left_out, "agents_share": 0.0}
        if wish is None or self._agents is None:
            return said
        own = self._agents.share_at(ts_now)
        weight, share = together(said["weight"], said["share"], wish, own)
        return said | {"weight": weight, "share": share, "agents_share": own}

    def look(self, panel: Panel, features: np.ndarray, sigma: F8) -> None:
        """Show a bar to the lookout. After the answer: nothing waits for it."""
        if self.lookout is not None:
            try:
                self.lookout.see(panel, features, sigma)
            except Exception as error:  # it decides nothing, so it may not hold anything up
                self.lookout = None
                self.left_out[SURROUNDINGS] = f"broken: {type(error).__name__}: {error}"

    def answer(self) -> dict[str, Any]:
        """Return ``regimes``, ``changes``, ``drift`` and ``agents``, empty where there are none."""
        nothing: dict[str, Any] = {"regimes": None, "changes": [], "drift": []}
        seen = nothing if self.lookout is None else self.lookout.answer()
        return seen | {"agents": [] if self._agents is None else self._agents.votes()}

    def _wish(self, panel: Panel, features: np.ndarray, sigma: F8) -> F8 | None:
        if self._agents is None:
            return None
        try:
            return self._agents.see(panel, features, sigma)
        except Exception as error:  # agents that break stop only themselves
            self._agents = None
            self.left_out[AGENTS] = f"broken: {type(error).__name__}: {error}"
            return None


def load_beside(
    home: Path, version: str, features_hash: str, ts_now: int, n_symbols: int, retired: tuple[str, ...] = ()
) -> LiveBeside:
    """Load what was stored beside a set; what is not there is not there, and what cannot be used is left out."""
    lookout: Lookout | None = None
    agents: LiveAgents | None = None
    left_out: dict[str, str] = {}
    for name in (SURROUNDINGS, AGENTS):
        if not (home / "models" / name / version).is_dir():
            continue
        if name in retired:
            left_out[name] = "retired by a person"
            continue
        try:
            found = load_model(home, name, version, features_hash, ts_now)
            if name == SURROUNDINGS:
                lookout = Lookout(found.model)
            else:
                agents = LiveAgents(found.model, found.manifest, n_symbols)
        except ModelError as error:
            left_out[name] = str(error)
        except (KeyError, TypeError, ValueError) as error:  # settings of another version of this program
            left_out[name] = f"its settings are not those of this version ({error}): train it again"
    return LiveBeside(lookout, agents, left_out)

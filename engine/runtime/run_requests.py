"""What a page may ask of the research bench: the fields of each kind of run, checked before a process is started."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engine.errors import CommandRefused, ConfigError
from engine.research.config import completed
from engine.research.own_costs import ASSUMED, OWN, chosen_costs
from engine.settings import SystemConfig

IN_FORCE = "in_force"


class SourceRequest(BaseModel):
    """Which bars a run is on."""

    model_config = ConfigDict(extra="forbid")
    source: str = Field("history", pattern="^(history|path|dataset)$")
    path: str | None = None
    dataset: str | None = Field(None, description="NAME of a stored data set, or NAME@VERSION")
    funding: str | None = Field(None, description="A stored data set of funding rates, or a folder of them")
    symbols: list[str] = Field(default_factory=list)
    interval: str = "1h"
    start: str | None = None
    end: str | None = None


class TrainingRequest(SourceRequest):
    """What a training of models is on, and why it is done."""

    models: list[str] = Field(default_factory=list, description="All that forecast by default")
    seed: int = Field(0, ge=0)
    seeds: int = Field(3, ge=1, le=10, description="How often what is random is taught")
    reason: str = "a person asked for it"
    actor: str = "desk"


class BacktestRequest(SourceRequest):
    """What the backtest form sends."""

    strategy: str = "trend"
    params: dict[str, Any] = Field(default_factory=dict)
    cash: float = Field(10_000.0, gt=0)
    costs: str = Field(ASSUMED, max_length=80, description="assumed or own; kept as the fit that was taken")
    settings: Literal["default", "in_force"] = Field("default", description="What stands for parameters not given")

    def with_costs(self, home: Path) -> BacktestRequest:
        """Return the request with the costs it asked for among its parameters; a later resume finds the same ones.

        Raises
        ------
        CommandRefused
            Our own costs are asked for and cannot be had, or it is neither assumed nor own: a result would name a fit
            that nobody made.
        """
        if self.costs not in (ASSUMED, OWN):
            raise CommandRefused(f"Costs: {self.costs!r} is neither {ASSUMED} nor {OWN}.")
        try:
            params, origin = chosen_costs(home, self.costs, self.params, getattr(self, "grid", {}))
        except ConfigError as error:
            raise CommandRefused(f"Costs: {error}.") from error
        return self.model_copy(update={"params": params, "costs": origin})

    def with_settings(self, in_force: SystemConfig) -> BacktestRequest:
        """Return the request with what it left open taken from the settings, where it asked for that.

        They are among its parameters then: a later resume finds the same ones, whatever was set meanwhile.
        """
        if self.settings != IN_FORCE:
            return self
        params = completed(in_force, self.strategy, self.params, getattr(self, "grid", {}))
        return self.model_copy(update={"params": params})


class SweepRequest(BacktestRequest):
    """What the sweep form sends: a backtest whose grid takes the place of some parameters."""

    grid: dict[str, Any] = Field(default_factory=dict, description="Axis to a list, or to text such as 5:50:5")
    n_random: int | None = Field(None, ge=1)
    seed: int = Field(0, ge=0)
    choose_by: str | None = None


class WalkForwardRequest(SweepRequest):
    """What the walk-forward form sends: a sweep and how time is cut."""

    train_days: float = Field(365.0, gt=0)
    test_days: float = Field(90.0, gt=0)
    anchored: bool = False
    purge_days: float = Field(1.0, ge=0)
    embargo_days: float = Field(0.0, ge=0)


REQUESTS: dict[str, type[SourceRequest]] = {
    "backtest": BacktestRequest, "sweep": SweepRequest, "walkforward": WalkForwardRequest, "train": TrainingRequest,
}  # fmt: skip
PREFIX = {"backtest": "bt", "sweep": "sw", "walkforward": "wf", "train": "tr"}
RESUMABLE = ("sweep", "walkforward")


def checked_request(kind: str, config: dict[str, Any]) -> SourceRequest:
    """Return what was asked for.

    Raises
    ------
    CommandRefused
        An unknown kind, or a field that cannot be meant.
    """
    if kind not in REQUESTS:
        raise CommandRefused(f"There is no kind of run {kind!r}.")
    try:
        return REQUESTS[kind].model_validate(config)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise CommandRefused(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error

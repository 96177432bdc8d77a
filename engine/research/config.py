"""What a backtest is asked to do, checked before anything is loaded."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from engine.core.costs import Costs
from engine.core.frictions import Assumptions
from engine.domain import INTERVAL_S, InstrumentTable, Params, Sleeve
from engine.errors import ConfigError
from engine.research.loading import BarTable
from engine.research.run_params import Market, RunParams, market_of
from engine.settings import SystemConfig
from engine.strategies import BUILT_IN, built_in, portfolio

ALIASES = {
    "fast": "ema_fast", "slow": "ema_slow", "vol_target": "volatility_target", "max_drawdown": "max_total_drawdown",
    "horizons": "trend_horizons_hours",
}  # fmt: skip
"""Short names of settings."""

SETTINGS = (
    "max_daily_loss", "max_total_drawdown", "trend_horizons_hours", "volatility_horizon_hours", "volatility_target",
    "ema_fast", "ema_slow", "allow_short", "max_symbol_weight", "max_gross_weight", "max_leverage", "rebalance_band",
    "max_net_weight", "max_cluster_weight", "cluster_correlation", "drawdown_full_share", "daily_throttle_share",
    "daily_reduce_share", "daily_flatten_share", "cvar_method", "cvar_level", "cvar_horizon_hours", "max_cvar",
    "kelly_fraction", "kelly_prior_sharpe", "kelly_prior_days", "kelly_memory_days", "gap_pct", "basis_gap_pct",
    "stop_slippage_pct",
    "stress_fall", "stress_rise", "stress_own", "max_stress_loss", "use_gate_daily_loss", "use_gate_drawdown",
    "use_gate_book", "max_hour_participation", "max_orders_per_minute", "min_liquidation_distance",
)  # fmt: skip
"""Fields of ``SystemConfig`` that mean something in a backtest."""


class Resolved(NamedTuple):
    """A configuration in the form that the core takes."""

    params: Params
    costs: Costs
    instruments: InstrumentTable
    user_params: dict[str, Any]
    listed: dict[str, Any]  # every parameter with its value, for the report
    assumptions: Assumptions
    market: Market  # what costs and assumptions were made of


class BacktestConfig(BaseModel):
    """One backtest. Picklable, so that a spawned worker can run it."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    data: Path | None = Field(None, description="File, or folder of SYMBOL.parquet")
    bars: BarTable | None = Field(None, exclude=True, repr=False, description="Bars in memory instead of a path")
    strategy: str = Field("trend", description="trend, ema-cross, portfolio or a Python file")
    params: dict[str, Any] = Field(default_factory=dict)
    costs: str = Field("assumed", description="Where the costs come from, in words: the parameters hold them already")
    symbols: tuple[str, ...] = ()
    start: datetime | None = Field(None, description="First bar opens at or after this, UTC")
    end: datetime | None = Field(None, description="Bars open before this, UTC")
    cash: float = Field(10_000.0, gt=0, le=1e12)
    funding: Path | None = Field(None, description="Folder of SYMBOL.parquet with timestamp and rate")
    home: Path | None = Field(None, description="Data folder for the ledger of trials; default ASTROLABE_HOME")
    keep_ledger: bool = Field(True, description="Count this run as a trial")
    panel: Literal["full", "fast", "off"] = Field("full", description="How much of the honesty panel is computed")

    @field_validator("start", "end")
    @classmethod
    def _in_utc(cls, value: datetime | None) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)

    @field_validator("symbols")
    @classmethod
    def _upper(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(symbol.strip().upper() for symbol in value if symbol.strip())

    @model_validator(mode="after")
    def _one_source(self) -> BacktestConfig:
        if (self.data is None) == (self.bars is None):
            raise ValueError("give either data (a path) or bars")
        if not self.is_file and built_in(self.strategy) is None:
            near = difflib.get_close_matches(self.strategy, BUILT_IN, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"choose {', '.join(BUILT_IN)} or a Python file"
            raise ValueError(f"strategy {self.strategy!r} is unknown: {hint}")
        return self

    @property
    def is_file(self) -> bool:
        """Whether the strategy is a user's Python file."""
        return self.strategy.endswith(".py")


def _plain(value: Any) -> Any:
    """Turn a command line's text into what pydantic reads: on/off and comma lists."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.lower() in ("on", "off"):
        return text.lower() == "on"
    return [part for part in text.split(",") if part] if "," in text else text


def completed(system: SystemConfig, strategy: str, params: dict[str, Any], grid: Iterable[str] = ()) -> dict[str, Any]:
    """Return a run's parameters with the settings in force where nobody stated anything.

    Parameters
    ----------
    system : SystemConfig
        The settings in force.
    strategy : str
        What the run is of; the parameters of the strategy in force count only for that one.
    params : dict
        As a person stated them, by any of their names: they win.
    grid : iterable of str
        Names that a sweep varies: they are stated too.
    """
    said = {ALIASES.get(name, name) for name in (*params, *grid)}
    own = system.model_dump(mode="json", include=set(SETTINGS))
    own |= system.strategy_params if system.strategy == strategy else {}
    return {name: value for name, value in own.items() if name not in said} | params


def _sorted_params(config: BacktestConfig) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    run: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    user: dict[str, Any] = {}
    for name, value in config.params.items():
        field = ALIASES.get(name, name)
        if field in RunParams.model_fields:
            run[field] = _plain(value)
        elif field in SETTINGS:
            plain = _plain(value)
            settings[field] = (plain,) if field == "trend_horizons_hours" and not isinstance(plain, list) else plain
        elif config.strategy == portfolio.NAME and name in portfolio.PortfolioParams.model_fields:
            user[name] = _plain(value)
        elif config.is_file:
            user[name] = number_of(value)
        else:
            known = [*RunParams.model_fields, *ALIASES, *SETTINGS]
            known += portfolio.PortfolioParams.model_fields if config.strategy == portfolio.NAME else ()
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known parameters: {', '.join(sorted(known))}"
            raise ConfigError(f"parameter {name!r} is unknown: {hint}")
    return run, settings, user


def number_of(value: Any) -> Any:
    """Return a command line's word as a number when it is one."""
    if isinstance(value, str):
        for kind in (int, float):
            try:
                return kind(value)
            except ValueError:
                continue
    return value


def _sentence(error: ValidationError) -> str:
    parts = []
    for problem in error.errors():
        name = ".".join(str(part) for part in problem["loc"])
        parts.append(f"{name}: {problem['msg']}" if name else str(problem["msg"]))
    return "; ".join(parts)


def resolve(config: BacktestConfig, interval_s: int, symbols: Sequence[str], has_volume: bool = True) -> Resolved:
    """Return a configuration in the form that the core takes.

    ``has_volume`` says whether every symbol has volume, see ``market_of``.

    Raises
    ------
    ConfigError
        Unknown parameters, with the nearest known one, and values out of range.
    """
    run, settings, user = _sorted_params(config)
    interval = next((name for name, seconds in INTERVAL_S.items() if seconds == interval_s), None)
    if interval is None:
        raise ConfigError(f"bars are {interval_s} s apart; known intervals are {', '.join(INTERVAL_S)}")
    name = "trend" if config.is_file else config.strategy
    try:
        own = RunParams.model_validate(run)
        if name == portfolio.NAME:
            user = portfolio.PortfolioParams.model_validate(user).model_dump()
        system = SystemConfig(strategy=name, decision_interval=interval, **settings)
    except ValidationError as error:
        raise ConfigError(_sentence(error)) from None
    market = market_of(own, has_volume)
    side = own.side or ("long" if name == "ema-cross" else None)
    allow_short = system.allow_short if side is None else side == "both"
    params = system.model_copy(update={"symbols": tuple(symbols)}).params()
    params = params._replace(allow_short=allow_short, gate=own.gate)
    if config.is_file:
        params = params._replace(sleeve=int(Sleeve.EXTERNAL))
    n_symbols = len(symbols)
    instruments = InstrumentTable(
        tick_size=np.zeros(n_symbols),
        lot_size=np.full(n_symbols, own.lot_size),
        min_qty=np.full(n_symbols, own.lot_size),
        max_qty=np.full(n_symbols, np.inf),
        min_notional=np.full(n_symbols, own.min_notional),
    )
    listed = own.model_dump() | market._asdict() | {field: getattr(system, field) for field in SETTINGS} | user
    listed |= {"side": "both" if allow_short else "long", "allow_short": allow_short, "taker_fee": market.fee}
    return Resolved(params, market.costs(interval_s), instruments, user, listed, market.assumptions(interval_s), market)

"""What a person can set: ``SystemConfig`` (trading, changeable while running) and ``Environment`` (the process).

Every field has a unit and a range, so a bad value is refused with a sentence and never reaches the core.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from engine.core.tail import TailMethod, shortfall_table
from engine.domain import INTERVAL_S, NO_SHOCKS, Params, Sleeve
from engine.limits import MAINTENANCE_RATE, risk_limits
from engine.shocks import past_shocks
from engine.strategies import BUILT_IN, portfolio
from engine.underlyings import underlyings

_TAIL_METHODS = {
    "filtered": TailMethod.FILTERED, "student-t": TailMethod.STUDENT_T, "historical": TailMethod.HISTORICAL,
}  # fmt: skip
DEFAULT_SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "BNBUSDT", "XRPUSDT", "DOGEUSDT")


class SystemConfig(BaseModel):
    """Trading settings. Stored in the database, edited on the Settings page, applied at the next decision."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True, allow_inf_nan=False)

    initial_balance: float = Field(10_000.0, gt=0, le=1e9, description="Paper account's opening balance, USDT")
    max_daily_loss: float = Field(0.05, gt=0, le=0.5, description="Loss in a UTC day at which the book is flattened")
    max_total_drawdown: float = Field(0.15, gt=0, le=0.9, description="Fall from peak equity at which trading halts")
    target_annual_return: float = Field(2.0, gt=0, le=100, description="The goal, fraction a year; measured, not used")
    symbols: tuple[str, ...] = Field(DEFAULT_SYMBOLS, min_length=1, description="What the engine trades")
    strategy: str = Field(
        "trend",
        description="What sets the raw weights: trend, ema-cross, portfolio, or the path of your own Python file",
    )
    strategy_params: dict[str, bool | int | float | str] = Field(
        default_factory=dict, description="What your own strategy's __init__ is given, by name; for portfolio, its own"
    )
    decision_interval: str = Field("1m", description="Bar on whose close a decision is made")
    trend_horizons_hours: tuple[float, ...] = Field(
        (72.0, 216.0, 648.0), min_length=1, max_length=8, description="Trend horizons, hours"
    )
    volatility_horizon_hours: float = Field(168.0, gt=0, description="Memory of the volatility estimate, hours")
    volatility_target: float = Field(0.20, gt=0, le=2, description="Annualised volatility the book aims at")
    ema_fast: int = Field(20, ge=1, le=10_000, description="ema-cross: fast span, bars")
    ema_slow: int = Field(100, ge=2, le=100_000, description="ema-cross: slow span, bars")
    allow_short: bool = Field(True, description="Negative weights allowed")
    max_symbol_weight: float = Field(0.5, gt=0, le=5, description="Cap on one symbol's |weight|")
    max_gross_weight: float = Field(2.0, gt=0, le=10, description="Cap on the sum of |weights|")
    max_leverage: float = Field(3.0, ge=1, le=20, description="Gross notional over equity")
    max_net_weight: float = Field(1.0, gt=0, le=10, description="Cap on longs less shorts, either way")
    max_cluster_weight: float = Field(
        1.0, gt=0, le=10, description="Cap on the net weight of symbols that move together"
    )
    cluster_correlation: float = Field(
        0.7, ge=0.1, le=1, description="Correlation from which two symbols count as one cluster"
    )
    drawdown_full_share: float = Field(
        0.6, ge=0, le=0.95, description="Share of the drawdown limit that is used before exposure shrinks"
    )
    daily_throttle_share: float = Field(
        0.5, gt=0, le=1, description="Share of the daily loss limit from which exposure shrinks"
    )
    daily_reduce_share: float = Field(
        0.7, gt=0, le=1, description="Share of the daily loss limit from which exposure may only shrink"
    )
    daily_flatten_share: float = Field(
        0.85, gt=0, le=1, description="Share of the daily loss limit from which the book is flat until tomorrow (UTC)"
    )
    cvar_method: Literal["filtered", "student-t", "historical"] = Field(
        "filtered", description="How tomorrow's losses are made: past returns at today's volatility, a law, or history"
    )
    cvar_level: float = Field(0.975, ge=0.9, le=0.995, description="Level of the expected shortfall (CVaR)")
    cvar_horizon_hours: float = Field(24.0, ge=1, le=240, description="Horizon of the expected shortfall, hours")
    max_cvar: float = Field(
        0.04, gt=0, le=1, description="Cap on the expected shortfall over the horizon, share of equity"
    )
    kelly_fraction: float = Field(0.5, gt=0, le=1, description="Share of the Kelly volatility that may be used")
    kelly_prior_sharpe: float = Field(
        1.0, ge=0, le=5, description="Sharpe ratio a year that is assumed before the strategy has a record"
    )
    kelly_prior_days: float = Field(
        1095.0, ge=1, le=3650, description="Days of record for which that assumption counts"
    )
    kelly_memory_days: float = Field(730.0, ge=30, le=3650, description="Memory of the strategy's record, days")
    gap_pct: float = Field(
        0.30, gt=0, le=1, description="Move against every position between two decisions that the book must survive"
    )
    basis_gap_pct: float = Field(
        0.10, gt=0, le=2, description="Premium of a perpetual over its spot that a pair of the two must survive"
    )
    stop_slippage_pct: float = Field(
        0.01, ge=0, le=0.2, description="What leaving after such a gap costs on top, share of price"
    )
    stress_fall: float = Field(0.40, gt=0, le=1, description="Fall of the market in the stress test")
    stress_rise: float = Field(0.25, gt=0, le=3, description="Rise of the market in the stress test")
    stress_own: float = Field(
        0.05, ge=0, le=1, description="Move of each symbol on its own, against the position, on top of that"
    )
    max_stress_loss: float = Field(0.20, gt=0, le=1, description="Cap on the loss in the stress test, share of equity")
    max_hour_participation: float = Field(
        0.25, gt=0, le=10, description="Cap on what is added to a symbol within an hour, share of an hour's usual trade"
    )
    max_price_age_s: float = Field(15.0, gt=0, le=3600, description="Older prices block new risk, seconds")
    rebalance_band: float = Field(0.05, ge=0, le=0.5, description="Smallest change of weight worth trading")
    maker_wait_s: float = Field(15.0, ge=0, le=600, description="How long a post-only order may wait before it crosses")
    execution_algorithm: Literal["direct", "adaptive", "twap", "vwap", "pov", "almgren-chriss"] = Field(
        "adaptive", description="How targets that are large for their market are worked; direct: like all others"
    )
    execution_over_share: float = Field(
        0.02, gt=0, le=10, description="A target change above this share of the last hour's volume counts as large"
    )
    execution_minutes: float = Field(15.0, ge=0.5, le=1440, description="How long such a target may take, minutes")
    execution_urgency: float = Field(
        1.0, ge=0, le=10, description="adaptive and almgren-chriss: 0 spreads evenly, 3 does most of it at the start"
    )
    execution_participation: float = Field(0.1, gt=0, le=0.5, description="pov: share of everything that trades")
    execution_max_participation: float = Field(
        0.0, ge=0, le=1, description="Cap on our share of everything that trades, whatever the algorithm; 0: none"
    )
    max_orders_per_minute: int = Field(
        600, ge=1, le=1800, description="Orders that may add risk within a minute; reducing is never refused"
    )
    protective_stop_pct: float = Field(0.05, gt=0.001, le=0.5, description="Distance of the exchange-resident stop")
    drill_every_days: int = Field(7, ge=1, le=30, description="Each kill level is rehearsed this often, days")
    min_liquidation_distance: float = Field(
        0.05, gt=0, le=0.5, description="A position whose mark comes this close to its liquidation price is halved"
    )
    tick_retention_days: int = Field(3, ge=1, le=365, description="Ticks kept in the database, days")
    compute_backend: Literal["local", "dask"] = Field(
        "local", description="Where sweeps and walk-forwards run: this machine, or a Dask cluster"
    )
    compute_address: str = Field(
        "", max_length=200, description="The cluster's scheduler, such as tcp://10.0.0.5:8786; only for dask"
    )
    use_models: bool = Field(True, description="Trained models take part beside the trend rule, as far as they earned")
    max_model_share: float = Field(
        0.5, ge=0, le=1, description="The most that models may count in the conviction, whatever their evidence"
    )
    use_retraining: bool = Field(True, description="Train again on schedule; off: not by the calendar")
    retrain_every_days: int = Field(
        7, ge=1, le=60, description="Models are trained again this often, once there was a first training"
    )
    use_drift_retraining: bool = Field(
        True,
        description="Train again when inputs are unlike the training's, or forecasts surely worse than none",
    )
    use_regime_retraining: bool = Field(
        True, description="Train again after an alarm that the market's behaviour changed"
    )
    retrain_pause_days: int = Field(
        3, ge=1, le=30, description="No training for these reasons sooner than this after the one before, days"
    )
    use_promotion: bool = Field(
        True, description="A challenger takes over when the evidence decides; off: only when a person promotes it"
    )
    news_feeds: tuple[str, ...] = Field(
        (), max_length=20, description="RSS or Atom feeds to read headlines from: addresses or files. Empty: no traffic"
    )
    news_every_minutes: int = Field(15, ge=1, le=1440, description="How often the feeds are read, minutes")
    use_trend: bool = Field(True, description="The sleeve may open risk; off: positions are only reduced")
    use_protective_stops: bool = Field(True, description="Keep a stop on the exchange for every position")
    use_dead_man_switch: bool = Field(
        True, description="The venue cancels entries of symbols without a position when the engine falls silent"
    )
    use_maker_orders: bool = Field(True, description="Try post-only first; off: cross at once")
    use_gate_daily_loss: bool = Field(True, description="Enforce the daily loss limit; may be off in paper only")
    use_gate_drawdown: bool = Field(True, description="Enforce the drawdown control; may be off in paper only")
    use_gate_book: bool = Field(
        True, description="Enforce the limits on the book and on its orders; may be off in paper only"
    )

    @field_validator("decision_interval")
    @classmethod
    def _known_interval(cls, value: str) -> str:
        if value not in INTERVAL_S:
            raise ValueError(f"decision_interval {value!r} is not one of {', '.join(INTERVAL_S)}")
        return value

    @field_validator("strategy")
    @classmethod
    def _known_strategy(cls, value: str) -> str:
        name = value.strip()
        if name in BUILT_IN or name.endswith(".py"):
            return name
        near = difflib.get_close_matches(name, BUILT_IN, n=1)
        hint = f": did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"strategy {name!r} is not {', '.join(BUILT_IN)} or a Python file (its path){hint}")

    @field_validator("symbols")
    @classmethod
    def _plain_symbols(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        cleaned = tuple(symbol.strip().upper() for symbol in value)
        for symbol in cleaned:
            if not symbol.isalnum():
                raise ValueError(f"symbol {symbol!r} is not of the form BTCUSDT")
        if len(set(cleaned)) != len(cleaned):
            raise ValueError("symbols contains the same symbol twice")
        return cleaned

    @field_validator("news_feeds")
    @classmethod
    def _plain_feeds(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        cleaned = tuple(dict.fromkeys(feed.strip() for feed in value if feed.strip()))
        for feed in cleaned:
            if not feed.startswith(("http://", "https://", "/", "~/")):
                raise ValueError(
                    f"news feed {feed!r} is neither an address (https://...) nor a file with its whole path (/...)"
                )
        return cleaned

    @field_validator("trend_horizons_hours")
    @classmethod
    def _positive_horizons(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(not hours > 0 for hours in value):
            raise ValueError("trend_horizons_hours must all be positive")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> SystemConfig:
        if self.ema_fast >= self.ema_slow:
            raise ValueError(f"ema_fast {self.ema_fast} must be below ema_slow {self.ema_slow}")
        if self.compute_backend == "dask" and not self.compute_address.startswith(("tcp://", "tls://")):
            raise ValueError(
                f"compute_address {self.compute_address!r} is not a scheduler's: write it like tcp://10.0.0.5:8786"
            )
        if self.strategy == portfolio.NAME:
            portfolio.PortfolioParams.model_validate(self.strategy_params)
        if self.max_symbol_weight > self.max_gross_weight:
            raise ValueError(
                f"max_symbol_weight {self.max_symbol_weight} is above max_gross_weight {self.max_gross_weight}"
            )
        if not self.daily_throttle_share <= self.daily_reduce_share <= self.daily_flatten_share:
            raise ValueError(
                f"daily_throttle_share {self.daily_throttle_share}, daily_reduce_share {self.daily_reduce_share} and "
                f"daily_flatten_share {self.daily_flatten_share} must follow one another: a ladder is climbed upwards"
            )
        return self

    @property
    def interval_s(self) -> int:
        """Seconds in one decision bar."""
        return INTERVAL_S[self.decision_interval]

    @property
    def book_limits_on(self) -> bool:
        """Whether the limits marked B in docs/risk_management.md are enforced: never for ema-cross, the yardstick."""
        return self.use_gate_book and self.strategy != "ema-cross"

    @property
    def every_gate_on(self) -> bool:
        """Whether daily loss, drawdown and the limits on the book are all enforced: live trading wants them."""
        return self.use_gate_daily_loss and self.use_gate_drawdown and self.book_limits_on

    def params(self) -> Params:
        """Return the numbers the compiled core needs, in bars of the decision interval."""
        bars_per_hour = 3600 / self.interval_s
        return Params(
            sleeve=int(BUILT_IN[self.strategy][0] if self.strategy in BUILT_IN else Sleeve.EXTERNAL),
            bars_per_year=365 * 24 * bars_per_hour,
            trend_horizon_bars=np.maximum(np.array(self.trend_horizons_hours) * bars_per_hour, 1.0),
            vol_horizon_bars=max(self.volatility_horizon_hours * bars_per_hour, 2.0),
            vol_target=self.volatility_target,
            ema_fast=self.ema_fast,
            ema_slow=self.ema_slow,
            allow_short=self.allow_short,
            gate=True,
            max_symbol_weight=self.max_symbol_weight,
            max_gross_weight=self.max_gross_weight,
            max_leverage=self.max_leverage,
            max_daily_loss=self.max_daily_loss if self.use_gate_daily_loss else 1e9,
            max_drawdown=self.max_total_drawdown if self.use_gate_drawdown else 1e9,
            max_age_s=self.max_price_age_s,
            rebalance_band=self.rebalance_band,
            risk=self.risk_limits(),
            tail_table=shortfall_table(self.cvar_level),
            underlying=underlyings(self.symbols),
            shocks=past_shocks(self.symbols) if self.book_limits_on else NO_SHOCKS,
        )

    def risk_limits(self) -> np.ndarray:
        """Return the limits beside those of ``params``; with ``use_gate_book`` off those marked B are left out.

        Liquidation, of the worse side: 1 - gross * move = m * gross * (1 + move), so gross = 1 / (move * (1 + m) + m).
        """
        near, maintenance = self.min_liquidation_distance, MAINTENANCE_RATE
        affordable = 1.0 / (near * (1.0 + maintenance) + maintenance)
        if self.strategy == "ema-cross":
            return risk_limits(liquidation_gross=affordable)
        ladder: dict[str, float] = {
            "liquidation_gross": affordable, "full_share": self.drawdown_full_share,
            "throttle_share": self.daily_throttle_share, "reduce_share": self.daily_reduce_share,
            "flatten_share": self.daily_flatten_share,
        }  # fmt: skip
        if not self.use_gate_book:
            return risk_limits(**ladder)
        alike = (
            "kelly_fraction", "kelly_prior_sharpe", "kelly_prior_days", "kelly_memory_days", "max_cvar",
            "max_cluster_weight", "cluster_correlation", "max_net_weight", "stress_fall", "stress_rise", "stress_own",
            "max_stress_loss",
        )  # fmt: skip
        return risk_limits(
            **ladder,
            **{name: getattr(self, name) for name in alike},
            horizon_bars=max(round(self.cvar_horizon_hours * 3600 / self.interval_s), 1),
            tail_method=int(_TAIL_METHODS[self.cvar_method]),
            tail_level=self.cvar_level,
            gap=self.gap_pct + self.stop_slippage_pct,
            slippage=self.stop_slippage_pct,
            basis_gap=self.basis_gap_pct,
            max_participation=self.max_hour_participation,
            max_orders=self.max_orders_per_minute,
        )


class Environment(BaseSettings):
    """The process: where its data lives and how it reaches the venue. Read from the environment only."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, env_ignore_empty=True)

    astrolabe_home: Path = Field(Path.home() / ".astrolabe", description="Data folder")
    aster_base_url: str | None = None
    aster_ws_url: str | None = None
    aster_private_key: SecretStr | None = None
    aster_signer_key: SecretStr | None = None
    aster_user: str | None = None
    aster_api_key: SecretStr | None = None
    aster_api_secret: SecretStr | None = None


_CHOICES = {"decision_interval": list(INTERVAL_S), "strategy": list(BUILT_IN)}


def field_descriptions() -> dict[str, dict[str, object]]:
    """Return what a form needs of every trading setting: description, default, type, range and choices."""
    schema = SystemConfig.model_json_schema()["properties"]
    defaults = SystemConfig().model_dump(mode="json")
    return {
        name: {
            "description": field.get("description", ""),
            "default": defaults[name],
            "type": field.get("type", "string"),
            "minimum": field.get("minimum", field.get("exclusiveMinimum")),
            "maximum": field.get("maximum", field.get("exclusiveMaximum")),
            "choices": _CHOICES.get(name, field.get("enum")),
        }
        for name, field in schema.items()
    }

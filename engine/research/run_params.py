"""What a backtest assumes about costs and the venue: parameters as a person states them, and what they mean together.

Whoever states nothing gets a market that answers: the spread widens with volatility, orders have impact, and a position
that its margin no longer carries is liquidated. ``gate=off`` is the public yardstick, and ``slippage`` states a fixed
distance: both leave the market model out unless it is asked for.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from engine.core.costs import Costs
from engine.core.frictions import Assumptions
from engine.errors import ConfigError

SLIPPAGE = 0.0001
SPREAD_VOL = 0.01
IMPACT = 1.0
MAINTENANCE_MARGIN = 0.01
LIQUIDATION_FEE = 0.025
"""The defaults of what is None below."""

_S_PER_HOUR = 3600.0


class RunParams(BaseModel):
    """Parameters that only a backtest has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fee: float = Field(0.0004, ge=-0.01, le=0.05, description="Fee as a fraction of notional; negative is a rebate")
    taker_fee: float | None = Field(None, ge=-0.01, le=0.05, description="Fee of taking liquidity; default: fee")
    maker_fee: float | None = Field(None, ge=-0.01, le=0.05, description="Fee of adding liquidity; default: fee")
    maker_share: float = Field(0.0, ge=0, le=1, description="Share of each order that is filled as maker")
    slippage: float | None = Field(
        None, ge=0, le=0.05, description="Distance of our fill from the open, against us; default 0.0001 as a floor"
    )
    spread_vol: float | None = Field(
        None, ge=0, le=1, description="Half spread over the volatility of an hour, on top of slippage; default 0.01"
    )
    impact: float | None = Field(
        None, ge=0, le=10, description="Factor of the square-root law of market impact; default 1 where volume is known"
    )
    max_participation: float | None = Field(
        None, gt=0, le=1, description="Largest share of a bar's volume that is ours; default: no limit"
    )
    delay_bars: int = Field(0, ge=0, le=1000, description="Bars between a decision and its fill, beyond the next open")
    latency_ms: float = Field(0.0, ge=0, le=86_400_000, description="Time between a decision and its fill, ms")
    stop_pct: float = Field(0.0, ge=0, le=0.9, description="Distance of a protective stop, of the entry price; 0: none")
    stop_gap: float = Field(0.0, ge=0, le=1, description="0: a stop fills at its price, 1: at the bar's worst")
    take_pct: float = Field(0.0, ge=0, le=10, description="Distance of a profit target, of the entry price; 0: none")
    maintenance_margin: float | None = Field(
        None, ge=0, le=0.5, description="Margin that positions need, of notional; default 0.01; 0: no liquidation"
    )
    liquidation_fee: float | None = Field(None, ge=0, le=0.1, description="Of notional, on liquidation; default 0.025")
    side: Literal["long", "both"] | None = Field(None, description="long or both; default: long for ema-cross")
    gate: bool = Field(True, description="off: the public yardstick without risk limits")
    lot_size: float = Field(0.0, ge=0, description="Quantities are whole lots, base; 0: no rounding")
    min_notional: float = Field(5.0, ge=0, description="Smallest order that opens risk, quote currency")


class Market(NamedTuple):
    """Assumptions in force, none of them open. The names are those of ``RunParams``."""

    fee: float
    maker_fee: float
    maker_share: float
    slippage: float
    spread_vol: float
    impact: float
    max_participation: float | None
    delay_bars: int
    latency_ms: float
    stop_pct: float
    stop_gap: float
    take_pct: float
    maintenance_margin: float
    liquidation_fee: float

    def costs(self, interval_s: int) -> Costs:
        """Return the costs for bars of that length: volatility is stated for an hour, the core knows that of a bar."""
        per_bar = self.spread_vol * math.sqrt(_S_PER_HOUR / interval_s)
        return Costs(self.fee, self.slippage, self.maker_fee, self.maker_share, per_bar, self.impact)

    def assumptions(self, interval_s: int) -> Assumptions:
        """Return the rest for bars of that length. Latency becomes whole bars and a share of one."""
        whole, share = divmod(self.latency_ms / 1000.0, interval_s)
        return Assumptions(
            max_participation=math.inf if self.max_participation is None else self.max_participation,
            delay_bars=self.delay_bars + int(whole),
            delay_share=share / interval_s,
            stop_distance=self.stop_pct,
            stop_gap=self.stop_gap,
            take_distance=self.take_pct,
            maintenance_rate=self.maintenance_margin,
            liquidation_fee_rate=self.liquidation_fee,
        )


def _first(*values: float | None) -> float:
    return next(value for value in values if value is not None)


def market_of(own: RunParams, has_volume: bool) -> Market:
    """Return the assumptions in force.

    Parameters
    ----------
    own : RunParams
    has_volume : bool
        Whether every symbol has volume. Without it impact is unknown: it is left out where nobody asked for it, and
        refused where somebody did.

    Raises
    ------
    ConfigError
        Parameters that contradict each other or the bars.
    """
    if not has_volume and (own.impact or own.max_participation is not None):
        raise ConfigError("impact and max_participation need the volume of every symbol, and a symbol has none")
    if own.max_participation is not None and not own.gate:
        raise ConfigError("max_participation needs gate=on: the yardstick's all-in orders are not divisible")
    answers = own.gate and own.slippage is None
    fee = _first(own.taker_fee, own.fee)
    return Market(
        fee=fee,
        maker_fee=_first(own.maker_fee, fee),
        maker_share=own.maker_share,
        slippage=_first(own.slippage, SLIPPAGE),
        spread_vol=_first(own.spread_vol, SPREAD_VOL if answers else 0.0),
        impact=_first(own.impact, IMPACT if answers and has_volume else 0.0),
        max_participation=own.max_participation,
        delay_bars=own.delay_bars,
        latency_ms=own.latency_ms,
        stop_pct=own.stop_pct,
        stop_gap=own.stop_gap,
        take_pct=own.take_pct,
        maintenance_margin=_first(own.maintenance_margin, MAINTENANCE_MARGIN if own.gate else 0.0),
        liquidation_fee=_first(own.liquidation_fee, LIQUIDATION_FEE if own.gate else 0.0),
    )

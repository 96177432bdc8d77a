"""The backtest of the portfolio strategy: the scan trades what its kernel says at each close."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.core.simulate import Scan
from engine.domain import Params
from engine.strategies.portfolio_runner import PortfolioRunner, Told

__all__ = ["advance_portfolio", "scan_portfolio"]


def advance_portfolio(scan: Scan, runner: PortfolioRunner, stop: int) -> Told:
    """Advance ``scan`` from where it stands up to, not including, bar ``stop``, and return what was said.

    What the strategy says depends on prices and funding, not on the account, so it says everything first. Its kernel
    goes bar by bar all the same, and each bar's wish is known at that bar's close.

    Parameters
    ----------
    scan : Scan
        Of the EXTERNAL sleeve. Its bars' funding is what the strategy is told; without any, rates are unknown to it.
    runner : PortfolioRunner
        Has seen everything before the bar where the scan stands.
    stop : int
    """
    part = slice(scan.t, stop)
    rates = scan.bars.funding_rate[part] if len(scan.bars.funding_rate) else None
    told = runner.advance(scan.bars.ts_close[part], scan.bars.close_px[part], rates)
    scan.external_weight[part] = told.weight
    scan.advance(stop)
    return told


def scan_portfolio(scan: Scan, params: Params, own: dict[str, Any], symbols: Sequence[str]) -> Told:
    """Advance ``scan`` over all of its bars with a fresh portfolio strategy, and return what was said.

    Raises
    ------
    ConfigError
        A parameter of the strategy that cannot be used.
    """
    return advance_portfolio(scan, PortfolioRunner(params, own, tuple(symbols)), len(scan.bars.ts_close))

"""A decider that is ready to decide: its strategy's process runs, and it has seen the history that it wants."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from engine.domain import Bar
from engine.errors import CommandRefused, ConfigError, VenueError
from engine.runtime import sentences
from engine.runtime.decider import Decider
from engine.runtime.drift import remember_filters
from engine.runtime.kernels import load_portfolio
from engine.runtime.portfolio_desk import cost_of_plans
from engine.runtime.user_sleeve import UserSleeve
from engine.settings import SystemConfig
from engine.strategies import portfolio
from engine.strategies.versions import is_file, keep, kept_path

if TYPE_CHECKING:
    from engine.runtime.engine import Engine

RETRY_S = 2.0


async def warm_decider(engine: Engine, config: SystemConfig, *, hold_back: bool = False) -> tuple[Decider, int]:
    """Return a decider that has seen the history, and when the newest closed bar opened.

    With ``hold_back`` that newest bar is left for ``decide``, so that the first decision need not wait for another.
    """
    if config.strategy == portfolio.NAME:
        await load_portfolio(engine.store)
    decider = Decider(engine.capital.limited(config), engine.instruments, engine.capital.share)
    decider.models = engine.loop.models
    try:
        await asyncio.to_thread(decider.open, engine.store.path.parent, engine.loop.incident)
        history = await _history(engine, config, decider.warm_up_bars + 1)
        newest_ts = max((bar.ts_open for bars in history.values() for bar in bars if bar.is_closed), default=0)
        if hold_back:
            history = {s: [bar for bar in bars if bar.ts_open < newest_ts] for s, bars in history.items()}
        if decider.portfolio is not None:
            decider.portfolio.cost = partial(cost_of_plans, engine)
            decider.portfolio.remember(engine.store.rows("SELECT symbol, ts_funding, rate FROM funding"))
            decider.portfolio.resume(engine.store.recall(engine.session.sleeves_key))
        await asyncio.to_thread(decider.warm_up, history)  # nobody else has it yet
        remember_filters(engine.store, engine.instruments, config.symbols)
        await asyncio.to_thread(decider.catch_up)
    except BaseException:
        decider.close()
        raise
    return decider, newest_ts


async def _history(engine: Engine, config: SystemConfig, n_bars: int) -> dict[str, Sequence[Bar]]:
    while True:
        try:
            pages = await engine.loop.fetch_history(config.decision_interval, n_bars, symbols=config.symbols)
            return dict(pages)
        except VenueError as trouble:
            engine.loop.incident("warning", "warm-up", sentences.no_history(config.strategy, trouble, RETRY_S))
            await asyncio.sleep(RETRY_S)


async def chosen_strategy(home: Path, config: SystemConfig, before: SystemConfig) -> SystemConfig:
    """Return settings that name the kept copy of a chosen strategy file, after the file has been loaded once.

    Raises
    ------
    CommandRefused
        It cannot be used, with what to change.
    """
    if not is_file(config.strategy):
        return config
    try:
        named = config.model_copy(update={"strategy": await asyncio.to_thread(keep, home, config.strategy)})
        if (named.strategy, named.strategy_params, named.symbols) != (
            before.strategy, before.strategy_params, before.symbols,
        ):  # fmt: skip
            await asyncio.to_thread(_try_out, kept_path(home, named.strategy), named)
    except (ConfigError, OSError) as error:
        raise CommandRefused(f"strategy: {error}") from error
    return named


def _try_out(path: Path, config: SystemConfig) -> None:
    sleeve = UserSleeve(path, config.strategy_params, config.symbols)
    try:
        sleeve.open()
    finally:
        sleeve.close()

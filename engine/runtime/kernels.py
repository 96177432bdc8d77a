"""Compiled kernels at start: the disk cache is filled once for given sources, in a process of its own."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import DEVNULL

import numpy as np
import structlog

from engine.core.compiling import FINGERPRINT
from engine.core.step import compile_kernels
from engine.settings import SystemConfig
from engine.strategies import portfolio
from engine.strategies.portfolio_runner import PortfolioRunner
from engine.strategies.sleeves.scan import SLEEVES_FINGERPRINT
from storage.database import Database

log = structlog.get_logger("kernels")

SOURCES = f"{FINGERPRINT}:{sys.version}"
COMPILE_WITHIN_S = 600.0


async def load_kernels(store: Database) -> None:
    """Make the compiled core ready."""
    await compile_once(store, "core.step", "compile_kernels")
    await asyncio.to_thread(compile_kernels)


async def compile_once(store: Database, module: str, function: str, sources: str = SOURCES) -> None:
    """Fill the disk cache unless it was filled for these very sources: a restart should not pay for it again."""
    if store.recall(f"compiled:{function}") == sources:
        return
    if (code := await _compile_ahead(module, function)) == 0:
        store.remember(f"compiled:{function}", sources)
    else:  # whoever needs it compiles it itself, and the next start tries again
        log.warning("kernels not compiled ahead", function=function, exit_code=code)


async def load_portfolio(store: Database) -> None:
    """Have the portfolio strategy's kernel compiled elsewhere: here it would hold up everything, stops included."""
    sources = f"{SLEEVES_FINGERPRINT}:{sys.version}"
    await compile_once(store, "runtime.kernels", "compile_portfolio", sources)


def compile_portfolio() -> None:
    """Compile, or load from disk, the portfolio strategy's kernel. Takes a quarter of a minute the first time."""
    params = SystemConfig(strategy=portfolio.NAME).params()
    PortfolioRunner(params, {}, ("BTCUSDT",)).advance(np.array([1], dtype=np.int64), np.ones((1, 1)))


def no_need_to_compile(store: Database) -> None:
    """Tell a throw-away record that the disk cache is filled: its engine shares it with whoever made the record."""
    for function in ("compile_kernels", "compile_scans"):
        store.remember(f"compiled:{function}", SOURCES)


async def _compile_ahead(module: str, function: str) -> int:
    """Compile with low priority elsewhere, so that nothing here stalls; return the exit code.

    Whoever stops waiting ends it.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "engine.runtime.precompile", module, function, stdout=DEVNULL, stderr=DEVNULL
    )
    try:
        return await asyncio.wait_for(process.wait(), COMPILE_WITHIN_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()

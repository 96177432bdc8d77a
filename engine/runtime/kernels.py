"""Compiled kernels at start: the disk cache is filled once for given sources, in a process of its own."""

from __future__ import annotations

import asyncio
import subprocess
import sys

from engine.core.compiling import FINGERPRINT
from engine.core.step import compile_kernels
from storage.database import Database


async def load_kernels(store: Database) -> None:
    """Make the compiled core ready."""
    await compile_once(store, "step", "compile_kernels")
    await asyncio.to_thread(compile_kernels)


async def compile_once(store: Database, module: str, function: str) -> None:
    """Fill the disk cache unless it was filled for these very sources: a restart should not pay for it again."""
    key, sources = f"compiled:{function}", f"{FINGERPRINT}:{sys.version}"
    if store.recall(key) != sources:
        await asyncio.to_thread(_compile_ahead, module, function)
        store.remember(key, sources)


def _compile_ahead(module: str, function: str) -> None:
    """Compile with low priority elsewhere, so that nothing here stalls."""
    command = [sys.executable, "-m", "engine.runtime.precompile", module, function]
    subprocess.run(command, check=False, capture_output=True, timeout=300)

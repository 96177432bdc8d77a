"""The practice exchange as a child process of paper trading."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import ConfigError

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class SandboxChoice:
    """Which market the practice exchange plays."""

    market: str = "simulated"
    path: str | None = None
    upstream: str | None = None
    speed: float = 1.0
    seed: int = 7
    balance: float = 10_000.0
    faults: str | None = None
    symbols: tuple[str, ...] = ()


class SandboxProcess:
    """A running practice exchange and what it printed on its first line."""

    def __init__(self, process: asyncio.subprocess.Process, hello: dict[str, Any]) -> None:
        self.process, self.hello = process, hello

    async def stop(self) -> None:
        """End it, politely first."""
        if self.process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        try:
            await asyncio.wait_for(self.process.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()


async def start_sandbox(choice: SandboxChoice, log_path: Path) -> SandboxProcess:
    """Start the practice exchange and wait for its first line.

    Raises
    ------
    ConfigError
        It ended, or said nothing in time; the message holds the end of its log.
    """
    arguments = [
        "-m", "engine", "sandbox", "--market", choice.market, "--speed", str(choice.speed), "--seed", str(choice.seed),
        "--balance", str(choice.balance), "--parent-pid", str(os.getpid()),
    ]  # fmt: skip
    for flag, value in (("--path", choice.path), ("--upstream", choice.upstream), ("--faults", choice.faults)):
        if value is not None:
            arguments += [flag, value]
    if choice.symbols:
        arguments += ["--symbols", ",".join(choice.symbols)]
    with log_path.open("ab") as log_file:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, stdout=asyncio.subprocess.PIPE, stderr=log_file, start_new_session=True
        )
    try:
        assert process.stdout is not None  # PIPE was asked for
        line = await asyncio.wait_for(process.stdout.readline(), START_TIMEOUT_S)
        return SandboxProcess(process, json.loads(line))
    except (TimeoutError, json.JSONDecodeError) as error:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        tail = log_path.read_text(errors="replace")[-400:].strip()
        raise ConfigError(f"The practice exchange did not start. Its log ends: {tail or 'empty'}") from error

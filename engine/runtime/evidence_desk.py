"""What the Health page asks of the evidence: parity certificates, made by a job, and the drift meter."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import structlog

from engine.errors import CommandRefused, ConfigError
from engine.research import certificate
from engine.runtime.drift import drift_rows, measure_day, too_large, unmeasured, yesterday
from engine.runtime.upkeep import follow_ladder
from engine.settings import SystemConfig
from engine.strategies.versions import is_file, keep
from storage.database import Database

if TYPE_CHECKING:
    from engine.runtime.engine import Engine

log = structlog.get_logger("evidence")

CERTIFY_TIMEOUT_S = 900.0  # 35 s of processor time; a busy machine was seen to take four minutes
Handler = Callable[[dict[str, Any]], Awaitable[Any]]


def record_certificate(store: Database, issued: dict[str, Any]) -> None:
    """Keep an issued certificate in the record and in the audit chain."""
    row = {name: issued[name] for name in ("version", "ts", "strategy", "status", "decisions", "differences")}
    store.append_durable("certificates", [row | {"certificate": json.dumps(issued)}]).result(30)
    store.audit("certify", "certificate", row).result(30)


class EvidenceDesk:
    """Actions by name, merged into the engine's others: ``questions`` change nothing, ``orders`` carry a key.

    Parameters
    ----------
    engine : Engine
    """

    def __init__(self, engine: Engine) -> None:
        self._engine, self._home = engine, engine.store.path.parent
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._since: int | None = None
        self._trouble = ""
        self.questions: dict[str, Handler] = {
            "certificate.get": self._get, "drift": self._drift, "drift.measure": self._measure,
        }  # fmt: skip
        self.orders: dict[str, Handler] = {"certificate.start": self._start}

    async def _get(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the certificate of the strategy in force, whether one is being made, and what was wrong with the last.

        ``status`` is pass, fail or none.
        """
        config = self._chosen(body)
        try:
            version = await asyncio.to_thread(certificate.version_now, self._home, config)
            found = await asyncio.to_thread(certificate.block, self._home, version)
            whole = await asyncio.to_thread(certificate.read, self._home, version["version"])
        except ConfigError as error:
            found, whole = found_none(str(error)), None
        details = {name: (whole or {}).get(name) for name in ("tape", "paths", "sentences", "own_account")}
        return found | details | {
            "strategy": config.strategy, "running_since": self._since, "trouble": self._trouble,
        }  # fmt: skip

    def _chosen(self, body: dict[str, Any]) -> SystemConfig:
        config = self._engine.wanted_config
        if not body.get("strategy"):
            return config
        changes = {"strategy": str(body["strategy"]), "strategy_params": dict(body.get("params") or {})}
        try:
            named = SystemConfig.model_validate(config.model_dump() | changes)
            if is_file(named.strategy):
                named = named.model_copy(update={"strategy": keep(self._home, named.strategy)})
        except ValueError as error:
            raise CommandRefused(f"strategy: {error}") from error
        except ConfigError as error:
            raise CommandRefused(f"strategy: {error}") from error
        return named

    async def _start(self, body: dict[str, Any]) -> dict[str, Any]:
        if self._since is not None:
            raise CommandRefused("A certificate is being made already. Wait for its outcome: a minute, or several.")
        config = self._chosen(body)
        self._since, self._trouble = self._engine.loop.clock.now(), ""
        self._engine.store.audit(str(body.get("actor") or "desk"), "certificate.start", {"strategy": config.strategy})
        self._task = asyncio.create_task(self._run(config))
        return {"strategy": config.strategy, "running_since": self._since}

    async def _run(self, config: SystemConfig) -> None:
        try:
            issued = await self._certified(config)
            await asyncio.to_thread(record_certificate, self._engine.store, issued)
            if issued["status"] != "pass":
                self._engine.loop.incident("error", "parity", _failed(issued))
            await follow_ladder(self._engine)
        except CommandRefused as refusal:
            self._trouble = str(refusal)
            self._engine.loop.incident("warning", "parity", self._trouble)
        except Exception as error:  # a job that died must not look as if it went on
            log.exception("certificate died")
            self._trouble = f"the certificate could not be made: {type(error).__name__}: {error}"
        finally:
            self._since = self._process = None

    async def _certified(self, config: SystemConfig) -> dict[str, Any]:
        # the job sees nothing of the account that trades: neither its keys nor where its venue is
        own = {name: value for name, value in os.environ.items() if not name.startswith(("ASTER_", "ASTROLABE_"))}
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "engine.certify", "--home", str(self._home), "--config", config.model_dump_json(),
            env=own, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            said, _ = await asyncio.wait_for(self._process.communicate(), CERTIFY_TIMEOUT_S)
        except TimeoutError:
            await self.stop()
            raise CommandRefused(f"the certificate was not made within {CERTIFY_TIMEOUT_S:.0f} s") from None
        try:
            answer = dict(json.loads(said.decode().strip().splitlines()[-1]))
        except (IndexError, ValueError):
            raise CommandRefused("the certificate's process ended without an outcome") from None
        if "error" in answer:
            raise CommandRefused(f"the certificate could not be made: {answer['error']}")
        return answer

    async def stop(self) -> None:
        """End a job that goes on; it leaves no certificate."""
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _drift(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        return await asyncio.to_thread(drift_rows, self._engine.store)

    async def _measure(self, body: dict[str, Any]) -> dict[str, Any]:
        day = str(body.get("day") or yesterday(self._engine.loop.clock.now()))
        return await asyncio.to_thread(measure_day, self._engine.store, day, self._engine.session.account_key)


def found_none(why: str) -> dict[str, Any]:
    """Return what is said of a certificate that cannot be looked up."""
    return certificate.NONE | {"why": why}


def _failed(issued: dict[str, Any]) -> str:
    first = (issued.get("sentences") or ["no difference was named"])[0]
    return (
        f"{issued['strategy']}: backtest, paper and live did not decide alike ({issued['differences']} differences in "
        f"{issued['decisions']} decisions): {first}. Live trading is refused without an override"
    )


async def measure_owed(engine: Engine, refused: set[str]) -> None:
    """Measure the days before that were not measured yet, last night's and those of nights when the engine was down.

    What cannot be measured is not an incident, what drifts too far is.

    Parameters
    ----------
    engine : Engine
    refused : set of str
        Days of which too little is on the record, kept from call to call: they are asked once.
    """
    if engine.loop.phase != "trading":
        return
    account, any_new = engine.session.account_key, False
    for day in await asyncio.to_thread(unmeasured, engine.store, time.time_ns(), account):
        if day in refused:
            continue
        try:
            row = await asyncio.to_thread(measure_day, engine.store, day, account)
        except CommandRefused as refusal:
            refused.add(day)
            log.info("drift not measured", day=day, reason=str(refusal))
            continue
        any_new = True
        sentence = too_large(row)
        if sentence is not None:
            engine.loop.incident("warning", "drift", sentence)
    if any_new:
        await follow_ladder(engine)

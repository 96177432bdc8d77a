"""Arming from the screen: the running paper engine checks everything, then its process goes on in live mode.

Like the vault's actions this one is not written to the table of commands: it carries a passphrase and a code. A code
counts once, so the same request twice cannot arm twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from engine.domain import Mode
from engine.errors import CommandRefused
from engine.runtime import arming
from engine.settings import Environment, SystemConfig
from storage.database import Database

if TYPE_CHECKING:
    from engine.controls.credentials import Credential
    from engine.controls.preflight import Item
    from engine.runtime.engine import Engine

ANSWER_FIRST_S = 0.5  # the answer must have left before the server closes


class LiveDesk:
    """The action ``arm``, in ``handlers``.

    Parameters
    ----------
    engine : Engine
    on_armed : callable or None
        Ends this engine and starts the live one; None where nothing can.
    """

    def __init__(self, engine: Engine, on_armed: Callable[[arming.Armed], None] | None) -> None:
        self._engine, self._on_armed = engine, on_armed
        self._one_at_a_time = asyncio.Lock()
        self.handlers = {"arm": self._arm}

    async def _arm(self, body: dict[str, Any]) -> dict[str, Any]:
        """Answer ``armed`` and ``items``; when armed, the engine is about to start again in live mode."""
        if self._engine.session.mode == Mode.LIVE or self._on_armed is None:
            raise CommandRefused("This engine trades live already, and only paper can be armed: nothing was changed.")
        async with self._one_at_a_time:
            items, permission = await self._checked(body)
        if permission is not None:
            asyncio.get_running_loop().call_later(ANSWER_FIRST_S, self._on_armed, permission)
        return {"armed": permission is not None, "items": [item.row for item in items]}

    async def _checked(self, body: dict[str, Any]) -> tuple[list[Item], arming.Armed | None]:
        engine, environment = self._engine, Environment()
        home = engine.store.path.parent
        accepted = body.get("accept_unverified") is True
        place = arming.Place(environment.aster_base_url, environment.aster_ws_url, accepted)
        vault, opened = await asyncio.to_thread(arming.open_item, home, str(body.get("passphrase") or ""))
        credential, trouble = arming.chosen_credential(vault, body.get("key"))
        live = await asyncio.to_thread(Database, home / f"{Mode.LIVE}.duckdb")
        try:
            config = await asyncio.to_thread(live_config, live, engine.loop.config)
        finally:
            await asyncio.to_thread(live.close)
        items = [opened, *await arming.live_items(home, engine.store, config, vault, credential, place)]
        items = arming.explained(items, trouble)
        if vault is not None and credential is not None and all(item.ok for item in items):
            code, phrase = str(body.get("code") or ""), str(body.get("phrase") or "")
            items += await asyncio.to_thread(arming.person_items, vault, code, phrase)
        await self._record(credential, items, str(body.get("actor") or "desk"))
        is_armed = credential is not None and all(item.ok for item in items)
        return items, arming.armed(credential, place) if credential is not None and is_armed else None

    async def _record(self, credential: Credential | None, items: list[Item], actor: str) -> None:
        # in the live record, where the terminal's armings are; it is opened only for this
        live = await asyncio.to_thread(Database, self._engine.store.path.parent / f"{Mode.LIVE}.duckdb")
        try:
            await arming.record_arming(live, credential, items, actor)
        finally:
            await asyncio.to_thread(live.close)


def live_config(live: Database, paper: SystemConfig) -> SystemConfig:
    """Return the live record's settings; a record that has none yet takes over the paper ones."""
    stored = live.recall("config")
    if stored is None:
        stored = paper.model_dump(mode="json")
        live.remember("config", stored).result(10)
    return SystemConfig.model_validate({name: stored[name] for name in stored if name in SystemConfig.model_fields})

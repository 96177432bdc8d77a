"""What the Settings page asks of the vault: store a credential, set the second factor up.

These actions are not written to the table of commands, because what they carry must not be on record. The audit keeps
that something was stored, its name and kind. The vault is open only while one of them runs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from engine.controls import mfa
from engine.controls.credentials import Credential
from engine.controls.vault import Vault, create_vault, open_vault, vault_summary
from engine.errors import CommandRefused
from storage.database import Database

PENDING_S = 600.0

Handler = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class VaultDesk:
    """The vault's actions by name, in ``handlers``.

    Parameters
    ----------
    home : Path
        Data folder.
    store : Database
        Where the audit goes.
    """

    def __init__(self, home: Path, store: Database) -> None:
        self._home, self._store = home, store
        self._one_at_a_time = asyncio.Lock()
        self._pending: tuple[str, float] | None = None
        self.handlers: dict[str, Handler] = {
            "vault": self._summary,
            "vault.store": self._keep,
            "vault.remove": self._remove,
            "totp.setup": self._setup,
            "totp.confirm": self._confirm,
        }

    async def _summary(self, body: dict[str, Any]) -> dict[str, Any]:
        summary = vault_summary(self._home)
        return {
            "exists": summary["exists"], "names": list(summary["names"]), "kinds": summary["names"],
            "second_factor": summary["second_factor"],
        }  # fmt: skip

    async def _keep(self, body: dict[str, Any]) -> dict[str, Any]:
        credential = Credential(str(body.get("kind")), dict(body.get("values") or {}))
        name = str(body.get("name") or "")
        await self._with_vault(body, lambda vault: vault.store(name, credential))
        await self._audit(body, "vault.store", {"name": name, "kind": credential.kind})
        return await self._summary({})

    async def _remove(self, body: dict[str, Any]) -> dict[str, Any]:
        name = str(body.get("name") or "")
        await self._with_vault(body, lambda vault: vault.remove(name), may_create=False)
        await self._audit(body, "vault.remove", {"name": name})
        return await self._summary({})

    async def _setup(self, body: dict[str, Any]) -> dict[str, Any]:
        """Begin: the one time that the secret is shown. It is forgotten after ten minutes without a code."""
        secret = mfa.new_secret()
        self._pending = (secret, time.monotonic() + PENDING_S)
        uri = mfa.provisioning_uri(secret)
        return {"uri": uri, "qr_svg": mfa.qr_svg(uri)}

    async def _confirm(self, body: dict[str, Any]) -> dict[str, Any]:
        if self._pending is None or time.monotonic() > self._pending[1]:
            self._pending = None
            raise CommandRefused("There is no QR code waiting for its first code: show a new one and scan it.")
        secret = self._pending[0]
        code, current = str(body.get("code") or ""), str(body.get("current_code") or "")
        await self._with_vault(body, lambda vault: mfa.confirm(vault, secret, code, current_code=current))
        self._pending = None
        await self._audit(body, "totp.confirm", {})
        return await self._summary({})

    async def _with_vault(
        self, body: dict[str, Any], work: Callable[[Vault], None], *, may_create: bool = True
    ) -> None:  # fmt: skip
        passphrase = str(body.get("passphrase") or "")
        if not passphrase:
            raise CommandRefused("The vault is locked and no passphrase was given. Enter the vault's passphrase.")

        def run() -> None:
            exists = vault_summary(self._home)["exists"]
            work(
                create_vault(self._home, passphrase)
                if may_create and not exists
                else open_vault(self._home, passphrase)
            )

        async with self._one_at_a_time:
            await asyncio.to_thread(run)  # the key derivation takes half a second of one core

    async def _audit(self, body: dict[str, Any], action: str, detail: dict[str, Any]) -> None:
        await asyncio.wrap_future(self._store.audit(str(body.get("actor") or "desk"), action, detail))

"""Arming live trading: gather what must be green, take the second factor and the typed words, write it down.

Nothing here starts trading. ``arm`` returns what ``compose`` needs to start it, and only when every item is green.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ccxt

from engine.controls import mfa
from engine.controls.credentials import Credential, environment_credential
from engine.controls.preflight import Item, LocalFacts, VenueFacts, local_items, venue_items
from engine.controls.vault import Vault, VaultError, open_vault, vault_summary
from engine.errors import ConfigError, VenueError
from engine.runtime.drills import drill_verdict
from engine.runtime.ladder import ladder
from engine.settings import Environment, SystemConfig
from engine.venues.account_rules import read_account_rules
from engine.venues.aster import AsterVenue
from engine.venues.aster_client import client_config
from storage.database import Database, StorageError

if TYPE_CHECKING:
    from engine.runtime.engine import Engine

PHRASE = "TRADE LIVE"
COMMAND = "python -m engine live"


@dataclass(frozen=True, slots=True)
class Place:
    """Where live orders would go.

    Parameters
    ----------
    base_url, ws_url : str or None
        None is Aster itself.
    accept_unverified : bool
        A person has read ``docs/live.md`` and goes on although this version has not been run at Aster itself.
    """

    base_url: str | None
    ws_url: str | None
    accept_unverified: bool = False


@dataclass(frozen=True, slots=True)
class Armed:
    """Permission to trade live, once. Holds what signs, so it shows nothing of itself."""

    venue_config: dict[str, Any] = field(repr=False)
    account: str
    market_source: str


def venue_config(credential: Credential, place: Place) -> dict[str, Any]:
    """Return the adapter's configuration that signs with a credential.

    Raises
    ------
    ConfigError
        One of the two addresses is missing: the adapter would go to Aster itself, which nobody asked for.
    """
    if (place.base_url is None) != (place.ws_url is None):
        found, missing = ("ASTER_BASE_URL", "ASTER_WS_URL") if place.base_url else ("ASTER_WS_URL", "ASTER_BASE_URL")
        raise ConfigError(f"Found {found} without {missing}; expected both or neither. Set {missing} as well.")
    keys: dict[str, Any] = {"private_key": None}
    keys |= {name: credential.secret(name) for name in credential.stored()["values"]}
    return client_config(**keys, base_url=place.base_url, ws_url=place.ws_url)


def account_name(credential: Credential) -> str:
    """Return what names the account in the record: its address, or a fingerprint of the API key. Never a secret."""
    if credential.kind == "agent":
        return credential.secret("user")
    if credential.kind == "hmac":
        return "key-" + hashlib.sha256(credential.secret("api_key").encode()).hexdigest()[:12]
    from eth_account import Account as EthAccount

    return str(EthAccount.from_key(credential.secret("private_key")).address)


def open_item(home: Path, passphrase: str) -> tuple[Vault | None, Item]:
    """Open the vault; None with a red item when it does not open."""
    expected, remedy = "the vault opened by its passphrase", "Give it, or set ASTROLABE_PASSPHRASE at a terminal."
    if not passphrase:
        return None, Item("Vault", False, "no passphrase", expected, remedy)
    try:
        return open_vault(home, passphrase), Item("Vault", True, "opened", expected, "")
    except VaultError as error:
        return None, Item("Vault", False, str(error).rstrip("."), expected, remedy)


def chosen_credential(vault: Vault | None, key: str | None) -> tuple[Credential | None, str]:
    """Return what signs and, when nothing does, why. The environment counts before the vault."""
    try:
        given = environment_credential(Environment())
        if given is not None or vault is None:
            return given, ""
        return vault.credential(key or None), ""
    except (VaultError, ConfigError) as error:
        return None, str(error).rstrip(".")


def explained(items: list[Item], trouble: str) -> list[Item]:
    """Put into the item on credentials why there is none."""
    return [item._replace(found=trouble) if trouble and item.name == "Credentials" else item for item in items]


# what must be green -------------------------------------------------------------------------------------------------


async def live_items(
    home: Path, store: Database, config: SystemConfig, vault: Vault | None, credential: Credential | None, place: Place
) -> list[Item]:
    """Return every item of the checklist except the code and the typed words.

    Parameters
    ----------
    store : Database
        The live record.
    vault : Vault or None
        Open vault; None when it could not be opened, which the caller's own item says.
    credential : Credential or None
        What would sign.
    """
    items = [_second_factor(vault), _venue(place)]
    items += local_items(await local_facts(home, store), config)
    if credential is None:
        expected = "one credential in the vault or in the environment"
        remedy = "Store an agent's key on the Settings page or with `python -m engine vault add`."
        return [Item("Credentials", False, "none that can be used", expected, remedy), *items]
    found = Item("Credentials", True, f"{credential.kind} for {account_name(credential)}", "", "")
    return [found, *items, *venue_items(await venue_facts(credential, place), config)]


async def local_facts(home: Path, store: Database) -> LocalFacts:
    """Look at this machine and its record."""
    try:
        free: int | None = shutil.disk_usage(home).free
    except OSError:
        free = None
    now_ns = time.time_ns()
    trouble = await _write_trouble(store)
    drill_ok, drill_detail = await asyncio.to_thread(drill_verdict, store, now_ns)
    capital = await asyncio.to_thread(ladder, store, now_ns)
    at = next(index for index, row in enumerate(capital["rungs"]) if row["name"] == capital["rung"])
    above = capital["rungs"][at + 1 : at + 2]
    missing = tuple(item["name"] for row in above for item in row["conditions"] if not item["ok"])
    level, title = int(store.recall("kill", {}).get("level", 0)), capital["rungs"][at]["title"]
    return LocalFacts(free, trouble, drill_ok, drill_detail, title, capital["share"], level, missing)


async def _write_trouble(store: Database) -> str | None:
    row = {"ts": time.time_ns(), "name": "preflight", "value": 1.0, "labels": ""}
    try:
        await asyncio.wait_for(asyncio.wrap_future(store.append_durable("metrics", [row])), 10.0)
    except (StorageError, TimeoutError) as error:
        return str(error) or "no answer from the disk within 10 s"
    return None


async def venue_facts(credential: Credential, place: Place) -> VenueFacts:
    """Ask the venue over connections that are closed afterwards. What it does not answer stays None."""
    config = venue_config(credential, place)
    troubles: list[str] = []
    skew = instruments = n_orders = n_positions = None
    venue = AsterVenue(config)
    try:
        skew = await venue.server_time_ms() - time.time_ns() / 1e6
        instruments = await venue.instruments()
        orders, positions, _ = await venue.snapshot()
        n_orders, n_positions = len(orders), len(positions)
    except (VenueError, ccxt.BaseError) as trouble:
        troubles.append(str(trouble) if isinstance(trouble, VenueError) else type(trouble).__name__)
    finally:
        await venue.close()
    rules = await read_account_rules(config)
    return VenueFacts(
        skew, instruments, rules.equity, n_orders, n_positions, credential.kind, rules.can_trade, rules.can_withdraw,
        rules.is_hedge_mode, rules.is_multi_asset, rules.leverage, rules.mark_px, (*troubles, *rules.troubles),
    )  # fmt: skip


def _second_factor(vault: Vault | None) -> Item:
    is_set = vault is not None and vault.second_factor() is not None
    found = "set up" if is_set else "not set up" if vault is not None else "unknown while the vault is closed"
    return Item("Second factor", is_set, found, "set up", "Scan the QR code on the Settings page and confirm a code.")


def _venue(place: Place) -> Item:
    if place.base_url is not None:
        return Item("Venue", True, f"{place.base_url}, from ASTER_BASE_URL", "", "")
    expected = "--accept-unverified"
    remedy = "Read docs/live.md, work through its list with the smallest size, then add --accept-unverified."
    found = "Aster itself, at which this version has never been run"
    if place.accept_unverified:
        found += "; accepted by a person"
    return Item("Venue", place.accept_unverified, found, expected, remedy)


# the person's part --------------------------------------------------------------------------------------------------


def person_items(vault: Vault, code: str, phrase: str) -> list[Item]:
    """Take the typed words and the code; the code is only spent when the words are right."""
    words_ok = phrase.strip() == PHRASE
    words = Item("Typed confirmation", words_ok, "as typed" if words_ok else "other words or none", f'"{PHRASE}"',
                 f'Type it, or give --confirm "{PHRASE}".')  # fmt: skip
    expected, remedy = "a fresh code", "Enter the app's newest code, or give --totp."
    if not words_ok:
        return [words, Item("Two-factor code", False, "not looked at yet", expected, remedy)]
    try:
        mfa.verify(vault, code)
    except (mfa.SecondFactorError, VaultError) as refusal:
        return [words, Item("Two-factor code", False, f"a code that is not accepted: {refusal}", expected, remedy)]
    return [words, Item("Two-factor code", True, "accepted", expected, "")]


async def record_arming(store: Database, credential: Credential | None, items: list[Item], actor: str) -> None:
    """Append the outcome to the audit chain and return when it is on disk."""
    refused = [item.name for item in items if not item.ok]
    detail: dict[str, Any] = {"account": None if credential is None else account_name(credential)}
    detail |= {"kind": None if credential is None else credential.kind, "refused_by": refused}
    action = "live.refused" if refused else "live.armed"
    await asyncio.wrap_future(store.audit(actor, action, detail))


def armed(credential: Credential, place: Place) -> Armed:
    """Return the permission to trade; call it only when every item is green and the arming is on record."""
    where = place.base_url or "aster"
    source = "aster" if place.base_url is None else "custom"
    return Armed(venue_config(credential, place), f"{account_name(credential)}@{where}", source)


# the running engine's view ------------------------------------------------------------------------------------------


async def arming_checklist(engine: Engine) -> dict[str, Any]:
    """Return ``items``, ``ready`` when none is red, and the ``command`` that goes on from there.

    The vault stays closed here, so the key's rights, the account and its balance are checked when the command runs.
    """
    loop, home = engine.loop, engine.store.path.parent
    items = [*_vault_items(home), _reconciled(engine)]
    items += local_items(await local_facts(home, engine.store), loop.config)
    rows = [item.row for item in items]
    return {"items": rows, "ready": all(item.ok for item in items), "command": f"{COMMAND} --data-dir {home}"}


def _vault_items(home: Path) -> list[Item]:
    try:
        summary = vault_summary(home)
    except VaultError as error:
        return [Item("Vault", False, str(error), "a vault that can be read", "Restore a copy of it.")]
    usable = [name for name, kind in summary["names"].items() if kind != "private_key"]
    found = ", ".join(f"{name} ({kind})" for name, kind in summary["names"].items()) or "no credential"
    note = f"{found}; its rights are read from the venue when the command runs" if usable else found
    return [
        Item("Vault", bool(usable), note, "an agent's key or a legacy key without withdrawal right",
             "Store one on the Settings page: an account's own key can always withdraw."),
        Item("Second factor", summary["second_factor"], "set up" if summary["second_factor"] else "not set up",
             "set up", "Set it up on the Settings page."),
    ]  # fmt: skip


def _reconciled(engine: Engine) -> Item:
    last = engine.loop.reconciler.last
    found = "not compared yet" if last is None else last.message
    return Item("Books reconciled", last is not None and last.ok, found, "books equal to the venue's",
                "Reconcile on the Health page and settle what differs.")  # fmt: skip

"""``python -m engine live`` and ``vault``: what a person does at a terminal before real money moves."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from engine.errors import WorkstationError
from engine.terminal import REFUSED, HomeOption, JsonOption, console, data_folder, errors, log_to_stderr

if TYPE_CHECKING:
    from engine.controls.credentials import Credential
    from engine.controls.preflight import Item
    from engine.controls.vault import Vault
    from engine.runtime.arming import Armed, Place
    from storage.database import Database

PASSPHRASE_VARIABLE = "ASTROLABE_PASSPHRASE"
vault_app = typer.Typer(name="vault", help="The encrypted file of credentials.", no_args_is_help=True)

KeyOption = Annotated[str | None, typer.Option("--key", help="Credential in the vault; needed when it holds several")]


def _ask(question: str, *, hide: bool, quiet: bool) -> str:
    """Return what a person types; nothing where nobody can."""
    if quiet or not sys.stdin.isatty():
        return ""
    return str(typer.prompt(question, hide_input=hide, default="", show_default=False))


def _passphrase(home: Path, *, quiet: bool = False) -> str:
    from engine.controls.keyring import keyring_passphrase

    # taken out of the environment: the processes that the engine starts inherit that
    return (
        os.environ.pop(PASSPHRASE_VARIABLE, None)
        or keyring_passphrase(home)
        or _ask("Vault passphrase", hide=True, quiet=quiet)
    )


# live ---------------------------------------------------------------------------------------------------------------


def live(
    totp: Annotated[str, typer.Option("--totp", help="Code of the authenticator app; asked for when left out")] = "",
    confirm: Annotated[str, typer.Option("--confirm", help='"TRADE LIVE"; asked for when left out')] = "",
    key: KeyOption = None,
    accept_unverified: Annotated[
        bool, typer.Option("--accept-unverified", help="docs/live.md is read; go on at Aster itself")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Only show the checklist")] = False,
    data_dir: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Trade live. Refuses unless every item of the checklist is green, the code fits and the words are typed."""
    from engine.compose import folder_lock, run_engine
    from engine.domain import Mode
    from engine.runtime.arming import Place
    from engine.runtime.sandbox_process import SandboxChoice
    from engine.settings import Environment

    log_to_stderr()
    home, environment = data_folder(data_dir), Environment()
    place = Place(environment.aster_base_url, environment.aster_ws_url, accept_unverified)
    with folder_lock(home):
        answers = _Answers(_passphrase(home, quiet=as_json), totp, confirm, key, quiet=as_json)
        items, permission = asyncio.run(_arm(home, place, answers, only_check=check))
        ready = all(item.ok for item in items)
        _show(items, ready, as_json)
        if not ready:
            errors.print("Live trading is not armed: every item above must be green.")
            raise typer.Exit(REFUSED)
        if permission is not None:
            asyncio.run(run_engine(Mode.LIVE, home, SandboxChoice(), permission))


class _Answers:
    """What a person gives to arm. Plain class: a dataclass would show its fields."""

    def __init__(self, passphrase: str, code: str, phrase: str, key: str | None, *, quiet: bool) -> None:
        self.passphrase, self.code, self.phrase, self.key, self.quiet = passphrase, code, phrase, key, quiet

    def ask_the_rest(self, account: str) -> None:
        self.phrase = self.phrase or _ask(f'{account}: type "TRADE LIVE"', hide=False, quiet=self.quiet)
        self.code = self.code or _ask("Code of the authenticator app", hide=False, quiet=self.quiet)


async def _arm(home: Path, place: Place, answers: _Answers, *, only_check: bool) -> tuple[list[Item], Armed | None]:
    from engine.compose import adopt_paper_settings
    from engine.domain import Mode
    from engine.runtime import arming
    from storage.database import Database

    store = Database(home / f"{Mode.LIVE}.duckdb")
    try:
        adopt_paper_settings(home, store)
        vault, opened = arming.open_item(home, answers.passphrase)
        credential, trouble = arming.chosen_credential(vault, answers.key)
        items = arming.explained([opened, *await _checks(home, store, vault, credential, place)], trouble)
        if only_check:
            return items, None
        if vault is not None and credential is not None and all(item.ok for item in items):
            if not answers.quiet:
                _show(items, True, False)
            answers.ask_the_rest(arming.account_name(credential))
            items += arming.person_items(vault, answers.code, answers.phrase)
        await arming.record_arming(store, credential, items, "command line")
        if credential is None or not all(item.ok for item in items):
            return items, None
        return items, arming.armed(credential, place)
    finally:
        store.close()


async def _checks(
    home: Path, store: Database, vault: Vault | None, credential: Credential | None, place: Place
) -> list[Item]:  # fmt: skip
    from engine.compose import load_config
    from engine.runtime.arming import live_items

    return await live_items(home, store, load_config(store), vault, credential, place)


def _show(items: list[Item], ready: bool, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"items": [item.row for item in items], "ready": ready}, indent=2))
        return
    table = Table("check", "", "detail")
    for item in items:
        table.add_row(item.name, "[green]ok[/]" if item.ok else "[red]not ok[/]", escape(item.row["detail"]))
    console.print(table)


# vault --------------------------------------------------------------------------------------------------------------


@vault_app.command("add")
def vault_add(
    name: Annotated[str, typer.Argument(help="What to call it")],
    kind: Annotated[str, typer.Option(help="agent, hmac or private_key")] = "agent",
    data_dir: HomeOption = None,
) -> None:
    """Store a credential; its parts are asked for, or read one a line from standard input."""
    from engine.controls.credentials import KIND_FIELDS, Credential
    from engine.controls.vault import create_vault, open_vault, vault_summary

    home = data_folder(data_dir)
    exists = vault_summary(home)["exists"]
    passphrase = _passphrase(home)
    if not exists and sys.stdin.isatty() and _ask("The same again", hide=True, quiet=False) != passphrase:
        raise WorkstationError("The two passphrases differ: nothing was stored.")
    fields = KIND_FIELDS.get(kind, ())
    values = {field: _secret_line(field) for field in fields}
    credential = Credential(kind, values)
    vault = open_vault(home, passphrase) if exists else create_vault(home, passphrase)
    vault.store(name, credential)
    console.print(f"Stored {escape(name)} ({kind}) in {vault.path}")


def _secret_line(field: str) -> str:
    if sys.stdin.isatty():
        return str(typer.prompt(field, hide_input=True))
    return sys.stdin.readline().strip()


@vault_app.command("list")
def vault_list(data_dir: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show names and kinds; needs no passphrase."""
    from engine.controls.vault import vault_summary

    summary = vault_summary(data_folder(data_dir))
    if as_json:
        typer.echo(json.dumps(summary, indent=2))
        return
    table = Table("name", "kind")
    for name, kind in summary["names"].items():
        table.add_row(escape(name), kind)
    console.print(table)
    console.print("Second factor: " + ("set up" if summary["second_factor"] else "not set up"))


@vault_app.command("remove")
def vault_remove(name: Annotated[str, typer.Argument(help="Which one")], data_dir: HomeOption = None) -> None:
    """Forget a credential."""
    from engine.controls.vault import open_vault

    home = data_folder(data_dir)
    open_vault(home, _passphrase(home)).remove(name)
    console.print(f"Removed {escape(name)}")


@vault_app.command("totp")
def vault_totp(data_dir: HomeOption = None) -> None:
    """Set the second factor up at a terminal: prints the address for the app and asks for its first code."""
    from engine.controls import mfa
    from engine.controls.vault import open_vault

    home = data_folder(data_dir)
    vault = open_vault(home, _passphrase(home))
    secret = mfa.new_secret()
    console.print(f"Add this to the authenticator app:\n{mfa.provisioning_uri(secret)}", soft_wrap=True)
    current = _secret_line("a code of the old one") if vault.second_factor() else ""
    mfa.confirm(vault, secret, _secret_line("its first code"), current_code=current)
    console.print("Second factor set up")


@vault_app.command("remember")
def vault_remember(data_dir: HomeOption = None) -> None:
    """Keep the passphrase in the operating system's keyring, where there is one."""
    from engine.controls.keyring import remember_passphrase
    from engine.controls.vault import open_vault

    home = data_folder(data_dir)
    passphrase = _passphrase(home)
    open_vault(home, passphrase)
    if not remember_passphrase(home, passphrase):
        raise WorkstationError(
            "Found no keyring that works; expected the package keyring with a backend of this system. Go on with "
            f"{PASSPHRASE_VARIABLE} or the prompt."
        )
    console.print("The passphrase is in the keyring")

"""The vault over the engine's actions: secrets go in, never out, and never onto the record."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace

import pyotp
import pytest

from engine.controls import vault as vault_module
from engine.controls.vault import WrongPassphrase, create_vault, open_vault
from engine.errors import CommandRefused, ConfigError
from engine.runtime.commands import Commands
from engine.runtime.jobs import Jobs
from engine.runtime.vault_desk import VaultDesk
from storage.database import Database
from storage.schema import metadata

PASSPHRASE = "correct horse battery"
KEY = "0x" + "5ec2e7" * 10 + "abcd"
ADDRESS = "0x" + "12" * 20


@pytest.fixture
def store(tmp_path):
    store = Database(tmp_path / "paper.duckdb")
    yield store
    store.close()


@pytest.fixture
def desk(tmp_path, store):
    return VaultDesk(tmp_path, store)


@pytest.fixture(autouse=True)
def _cheap(monkeypatch):
    create = vault_module.create_vault
    monkeypatch.setattr("engine.runtime.vault_desk.create_vault", lambda home, words: create(home, words, cost=2**10))


def request(**changed):
    values = {"signer_key": KEY, "user": ADDRESS}
    return {"passphrase": PASSPHRASE, "name": "main", "kind": "agent", "values": values} | changed


def everything_on_record(store):
    store.flush()
    return json.dumps({name: store.rows(f"SELECT * FROM {name}") for name in metadata.tables}, default=str)


async def test_stored_over_the_engine_and_nothing_of_it_on_record(desk, store, tmp_path):
    assert await desk.handlers["vault"]({}) == {"exists": False, "names": [], "kinds": {}, "second_factor": False}
    answer = await desk.handlers["vault.store"](request(actor="settings page"))
    assert answer == {"exists": True, "names": ["main"], "kinds": {"main": "agent"}, "second_factor": False}
    assert open_vault(tmp_path, PASSPHRASE).credential("main").secret("signer_key") == KEY
    record = everything_on_record(store)
    assert '"settings page", "action": "vault.store"' in record
    for secret in (KEY, KEY[2:], ADDRESS, PASSPHRASE):
        assert secret not in record


async def test_refusals_change_nothing_and_show_nothing(desk, tmp_path):
    with pytest.raises(CommandRefused, match="Enter the vault's passphrase"):
        await desk.handlers["vault.store"](request(passphrase=""))
    with pytest.raises(ConfigError, match="user is missing"):
        await desk.handlers["vault.store"](request(values={"signer_key": KEY}))
    assert not (tmp_path / "vault.json").exists()
    create_vault(tmp_path, PASSPHRASE, cost=2**10)
    with pytest.raises(WrongPassphrase) as refusal:
        await desk.handlers["vault.store"](request(passphrase="another passphrase"))
    assert "another passphrase" not in str(refusal.value)
    assert (await desk.handlers["vault"]({}))["names"] == []


async def test_the_second_factor_is_in_force_after_its_first_code(desk, store, tmp_path):
    with pytest.raises(CommandRefused, match="no QR code waiting"):
        await desk.handlers["totp.confirm"]({"passphrase": PASSPHRASE, "code": "000000"})
    shown = await desk.handlers["totp.setup"]({})
    secret = pyotp.parse_uri(shown["uri"]).secret
    assert shown["qr_svg"].startswith("<svg")
    code = pyotp.TOTP(secret).at(int(time.time()))
    answer = await desk.handlers["totp.confirm"]({"passphrase": PASSPHRASE, "code": code})
    assert answer["second_factor"] is True
    assert open_vault(tmp_path, PASSPHRASE).second_factor()["secret"] == secret
    assert secret not in everything_on_record(store)
    assert secret not in json.dumps(answer)
    with pytest.raises(CommandRefused, match="no QR code waiting"):  # shown once, used once
        await desk.handlers["totp.confirm"]({"passphrase": PASSPHRASE, "code": code})


async def test_a_removed_credential_is_gone(desk, tmp_path):
    await desk.handlers["vault.store"](request())
    assert (await desk.handlers["vault.remove"]({"passphrase": PASSPHRASE, "name": "main"}))["names"] == []
    assert open_vault(tmp_path, PASSPHRASE).names == {}


async def test_the_engines_command_table_keeps_nothing_of_it(store, tmp_path):
    no_desk = SimpleNamespace(questions={}, orders={})
    loop = SimpleNamespace(store=store, worker=SimpleNamespace(parents=SimpleNamespace()))
    engine = SimpleNamespace(loop=loop, store=store, evidence=no_desk)
    commands = Commands(engine, Jobs(store, tmp_path / "runs"))
    assert {"vault", "vault.store", "vault.remove", "totp.setup", "totp.confirm"} <= set(commands.names)
    assert {"parents", "parents.start", "parents.cancel", "execution.costs"} <= set(commands.names)
    await commands.run("vault.store", request())
    store.flush()
    assert store.rows("SELECT * FROM commands") == []
    assert KEY[2:] not in everything_on_record(store)

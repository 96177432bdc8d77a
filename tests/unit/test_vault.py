"""The encrypted vault: what goes in comes out, nothing else does, and nothing shows on the way."""

from __future__ import annotations

import base64
import json
import logging
import pickle
import stat
import sys
import time
import traceback
import types

import pytest

from engine.controls import vault as vault_module
from engine.controls.credentials import Credential, environment_credential
from engine.controls.keyring import keyring_passphrase, remember_passphrase
from engine.controls.vault import VaultError, WrongPassphrase, create_vault, open_vault, vault_summary
from engine.errors import ConfigError
from engine.settings import Environment

PASSPHRASE = "correct horse battery"
KEY = "0x" + "5ec2e7" * 10 + "abcd"
ADDRESS = "0x" + "12" * 20
CHEAP = 2**10  # the tests' guesses need not be expensive


def agent() -> Credential:
    return Credential("agent", {"signer_key": KEY, "user": ADDRESS})


@pytest.fixture
def home(tmp_path):
    create_vault(tmp_path, PASSPHRASE, cost=CHEAP).store("main", agent())
    return tmp_path


def test_what_was_stored_is_read_back(home):
    found = open_vault(home, PASSPHRASE).credential("main")
    assert found == agent()
    assert found.secret("signer_key") == KEY


def test_the_file_is_private_and_holds_no_secret_in_the_clear(home):
    path = home / "vault.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = path.read_text()
    for secret in (KEY, KEY[2:], ADDRESS, PASSPHRASE):
        assert secret not in text
        assert base64.b64encode(secret.encode()).decode()[:20] not in text
    assert vault_summary(home) == {"exists": True, "names": {"main": "agent"}, "second_factor": False}


def test_default_cost_is_what_a_guess_should_cost():
    assert vault_module.SCRYPT_COST >= 2**17


def test_each_write_takes_a_fresh_nonce(home):
    def nonce():
        return json.loads((home / "vault.json").read_text())["header"]["nonce"]

    before = nonce()
    open_vault(home, PASSPHRASE).save()
    assert nonce() != before


@pytest.mark.parametrize("change", [
    lambda outer: outer["header"]["names"].update(other="agent"),
    lambda outer: outer["header"].update(second_factor=True),
    lambda outer: outer["header"]["kdf"].update(n=CHEAP * 2),
    lambda outer: outer.update(sealed=base64.b64encode(b"\0" + base64.b64decode(outer["sealed"])[1:]).decode()),
])  # fmt: skip
def test_a_changed_file_does_not_open(home, change):
    path = home / "vault.json"
    outer = json.loads(path.read_text())
    change(outer)
    path.write_text(json.dumps(outer))
    with pytest.raises(WrongPassphrase):
        open_vault(home, PASSPHRASE)


def test_a_vault_changed_meanwhile_is_not_overwritten(home):
    first, second = open_vault(home, PASSPHRASE), open_vault(home, PASSPHRASE)
    first.store("new", agent())
    with pytest.raises(VaultError, match="changed while it was open"):
        second.remove("main")
    assert set(open_vault(home, PASSPHRASE).names) == {"main", "new"}


def test_a_header_cannot_ask_for_all_memory(home):
    path = home / "vault.json"
    outer = json.loads(path.read_text())
    outer["header"]["kdf"]["n"] = 2**30
    path.write_text(json.dumps(outer))
    with pytest.raises(VaultError, match="key derivation"):
        open_vault(home, PASSPHRASE)


def test_an_unreadable_file_and_a_newer_one_say_so(home):
    path = home / "vault.json"
    outer = json.loads(path.read_text())
    outer["header"]["version"] = 9
    path.write_text(json.dumps(outer))
    with pytest.raises(VaultError, match="version 9, this program knows 1"):
        open_vault(home, PASSPHRASE)
    path.write_text("{")
    with pytest.raises(VaultError, match="cannot be read"):
        vault_summary(home)


def test_wrong_passphrases_are_slowed_down_over_restarts(home, monkeypatch):
    for _ in range(2):
        with pytest.raises(WrongPassphrase):
            open_vault(home, "wrong horse battery")
    with pytest.raises(WrongPassphrase, match="in 2 s"):
        open_vault(home, "wrong horse battery")
    with pytest.raises(VaultError, match="Too many wrong passphrases"):
        open_vault(home, PASSPHRASE)  # even the right one waits: nothing is derived meanwhile
    later = time.time() + 3
    monkeypatch.setattr(vault_module.time, "time", lambda: later)
    assert open_vault(home, PASSPHRASE).names == {"main": "agent"}
    assert not (home / "vault.attempts.json").exists()


def test_a_clock_set_back_does_not_lock_for_ever(home):
    (home / "vault.attempts.json").write_text(json.dumps({"failures": 3, "until_s": time.time() + 1e9}))
    with pytest.raises(VaultError, match="try again in 300 s"):
        open_vault(home, PASSPHRASE)


def test_short_passphrase_second_vault_and_missing_vault_are_refused(home, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("none")
    with pytest.raises(VaultError, match="Found a passphrase of 5 characters; expected at least 10"):
        create_vault(elsewhere, "short", cost=CHEAP)
    assert not (elsewhere / "vault.json").exists()
    with pytest.raises(VaultError, match="exists"):
        create_vault(home, PASSPHRASE, cost=CHEAP)
    with pytest.raises(VaultError, match="There is no vault"):
        open_vault(elsewhere, PASSPHRASE)


def test_which_credential_is_meant_must_be_clear(home):
    vault = open_vault(home, PASSPHRASE)
    assert vault.credential() == agent()
    vault.store("second", Credential("hmac", {"api_key": "k" * 64, "api_secret": "s" * 64}))
    with pytest.raises(VaultError, match="main, second: name one"):
        vault.credential()
    with pytest.raises(VaultError, match="expected 'third'"):
        vault.credential("third")
    vault.remove("main")
    assert open_vault(home, PASSPHRASE).names == {"second": "hmac"}


@pytest.mark.parametrize(("kind", "values", "names"), [
    ("agent", {"signer_key": KEY, "user": ""}, "user is missing"),
    ("agent", {"signer_key": "5ec2e7" * 3, "user": ADDRESS}, "signer_key has 18 characters"),
    ("agent", {"signer_key": KEY, "user": ADDRESS, "api_key": "k" * 20}, "no field api_key"),
    ("hmac", {"api_key": "has space in it", "api_secret": "s" * 20}, "api_key has 15 characters"),
    ("seed", {}, "credential kind 'seed'"),
])  # fmt: skip
def test_a_malformed_credential_is_refused_without_showing_it(kind, values, names):
    with pytest.raises(ConfigError, match=names) as refusal:
        Credential(kind, values)
    assert all(value not in str(refusal.value) for value in values.values() if len(value) > 8)


# nothing shows -----------------------------------------------------------------------------------------------------


def test_representations_hide_everything(home):
    vault = open_vault(home, PASSPHRASE)
    shown = repr(vault) + str(vault) + repr(vault.credential()) + str(vault.credential()) + f"{[vault.credential()]}"
    assert KEY not in shown
    assert KEY[2:] not in shown
    assert not hasattr(vault, "__dict__")
    assert not hasattr(vault.credential(), "__dict__")


@pytest.mark.parametrize("what", ["vault", "credential"])
def test_nothing_is_pickled(home, what):
    vault = open_vault(home, PASSPHRASE)
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(vault if what == "vault" else vault.credential())


def test_logs_and_tracebacks_hide_everything(home, caplog):
    vault = open_vault(home, PASSPHRASE)
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("test").warning("%r %s", vault, vault.credential())
        try:
            open_vault(home, PASSPHRASE + "!")
        except VaultError:
            logging.getLogger("test").exception("refused")
            text = traceback.format_exc()
    for secret in (KEY, KEY[2:], PASSPHRASE):
        assert secret not in caplog.text + text
    assert "InvalidTag" not in text  # the cause is not chained: its frames hold the key


# environment and keyring -------------------------------------------------------------------------------------------


def test_the_environment_names_a_credential(monkeypatch):
    for name in ("PRIVATE_KEY", "SIGNER_KEY", "USER", "API_KEY", "API_SECRET"):
        monkeypatch.delenv(f"ASTER_{name}", raising=False)
    assert environment_credential(Environment()) is None
    monkeypatch.setenv("ASTER_API_KEY", "k" * 64)
    with pytest.raises(ConfigError, match="set both"):
        environment_credential(Environment())
    monkeypatch.setenv("ASTER_API_SECRET", "s" * 64)
    assert environment_credential(Environment()).kind == "hmac"
    monkeypatch.setenv("ASTER_SIGNER_KEY", KEY)
    with pytest.raises(ConfigError, match="set ASTER_USER"):
        environment_credential(Environment())
    monkeypatch.setenv("ASTER_USER", ADDRESS)
    assert environment_credential(Environment()) == agent()


def test_a_keyring_is_used_only_where_one_works(tmp_path, monkeypatch):
    kept = {}
    backend = types.SimpleNamespace(priority=5)
    fake = types.SimpleNamespace(
        get_keyring=lambda: backend, get_password=lambda service, name: kept.get((service, name)),
        set_password=lambda service, name, value: kept.__setitem__((service, name), value),
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "keyring", fake)
    assert keyring_passphrase(tmp_path) is None
    assert remember_passphrase(tmp_path, PASSPHRASE)
    assert keyring_passphrase(tmp_path) == PASSPHRASE
    backend.priority = 0
    assert keyring_passphrase(tmp_path) is None
    assert not remember_passphrase(tmp_path, PASSPHRASE)
    monkeypatch.setitem(sys.modules, "keyring", None)  # not installed
    assert keyring_passphrase(tmp_path) is None

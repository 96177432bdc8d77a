"""Live mode as a process, at the practice exchange: refused until every item is green, then the same engine, armed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request

import pyotp
import pytest
import structlog
from engine_process import SMALL_AND_QUICK, START_S, Sandbox
from typer.testing import CliRunner

from engine.__main__ import app
from engine.controls import mfa
from engine.controls.credentials import Credential
from engine.controls.vault import create_vault, open_vault
from engine.domain import Mode
from engine.errors import CommandRefused, ConfigError, Unreachable
from engine.runtime.drills import record_drill
from engine.runtime.kernels import no_need_to_compile
from engine.runtime.ladder import override
from engine.runtime.remote import ask
from engine.venues.sandbox.auth import key_from_seed
from storage.database import Database

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

PASSPHRASE = "correct horse battery"
SECRET = mfa.new_secret()
AGENT_KEY, AGENT = key_from_seed(5, "live agent")
SYMBOLS = ["BTCUSDT", "ETHUSDT"]


@pytest.fixture(scope="module")
def sandbox():
    sandbox = Sandbox("--seed", "23", "--symbols", "BTCUSDT,ETHUSDT,SOLUSDT")
    _register(sandbox, AGENT, can_withdraw=False)
    yield sandbox
    sandbox.stop()


def _register(sandbox, agent, *, can_withdraw):
    body = {"address": sandbox.hello["address"], "signer": agent, "can_withdraw": can_withdraw}
    url = f"{sandbox.hello['base_url']}/sandbox/deposit"
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode()), timeout=5) as answer:
        assert answer.status == 200


@pytest.fixture
def home(tmp_path, sandbox):
    """A data folder in which everything that lives on disk is green."""
    with_drill(tmp_path, ok=True)
    vault = create_vault(tmp_path, PASSPHRASE, cost=2**10)
    vault.store("agent", Credential("agent", {"signer_key": AGENT_KEY, "user": sandbox.hello["address"]}))
    mfa.confirm(vault, SECRET, pyotp.TOTP(SECRET).at(int(time.time()) - 30))
    return tmp_path


def with_drill(home, *, ok):
    """Leave a paper record with settings, a drill and the ladder's override in it."""
    store = Database(home / "paper.duckdb")
    try:
        no_need_to_compile(store)
        store.remember("config", SMALL_AND_QUICK | {"symbols": SYMBOLS, "tick_retention_days": 2})
        drill = {"drill_id": "drill-1", "ts": time.time_ns(), "level": 3, "ok": ok, "cancels_ms": 8.0,
                 "time_to_flat_s": 0.4, "actor": "test",
                 "message": "flat" if ok else "not flat after 60 s"}  # fmt: skip
        record_drill(store, drill)
        override(store, "full", "a practice exchange, not real money", "test")
    finally:
        store.close()


def environment(sandbox):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ASTER_")}
    return kept | {
        "ASTER_BASE_URL": sandbox.hello["base_url"], "ASTER_WS_URL": sandbox.hello["ws_url"],
        "ASTROLABE_PASSPHRASE": PASSPHRASE,
    }  # fmt: skip


def live(sandbox, home, *arguments, **changed):
    """Run the command in this process: a new one would spend seconds on imports."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("ASTER_")]:
            patch.delenv(name)
        command = ["live", "--json", "--data-dir", str(home), *arguments]
        try:
            return CliRunner().invoke(app, command, env=environment(sandbox) | changed)
        finally:
            structlog.reset_defaults()  # the command logs to a stream that ends with it


def live_process(sandbox, home, *arguments, **streams):
    command = [sys.executable, "-m", "engine", "live", "--data-dir", str(home), *arguments]
    return subprocess.Popen(command, env=environment(sandbox), stdin=subprocess.DEVNULL, **streams)


def answer(done):
    text = done.stdout + done.stderr
    for secret in (AGENT_KEY, AGENT_KEY[2:], SECRET, PASSPHRASE):
        assert secret not in text
    items = json.loads(done.stdout[done.stdout.index("{") :])
    return items["ready"], {item["name"]: item["detail"] for item in items["items"] if not item["ok"]}


def code(at_s=None):
    return pyotp.TOTP(SECRET).at(int(at_s or time.time()))


def audit(home):
    store = Database(home / "live.duckdb")
    try:
        rows = store.rows("SELECT actor, action, detail FROM audit ORDER BY seq")
    finally:
        store.close()
    return [(row["action"], json.loads(row["detail"])) for row in rows]


def test_the_checklist_alone_is_green_and_arms_nothing(sandbox, home):
    done = live(sandbox, home, "--check")
    assert answer(done) == (True, {})
    assert done.exit_code == 0
    assert audit(home) == []


def test_a_wrong_code_is_refused_and_on_record(sandbox, home):
    done = live(sandbox, home, "--totp", "000000", "--confirm", "TRADE LIVE")
    ready, red = answer(done)
    assert (done.exit_code, ready, list(red)) == (3, False, ["Two-factor code"])
    assert "4 tries are left" in red["Two-factor code"]
    assert audit(home) == [
        ("live.refused", {"account": sandbox.hello["address"], "kind": "agent", "refused_by": ["Two-factor code"]})
    ]


def test_other_words_are_refused_and_do_not_spend_the_code(sandbox, home):
    done = live(sandbox, home, "--totp", "000000", "--confirm", "trade live please")
    assert done.exit_code == 3
    assert list(answer(done)[1]) == ["Typed confirmation", "Two-factor code"]
    done = live(sandbox, home, "--totp", "000000", "--confirm", "TRADE LIVE")
    assert "4 tries are left" in answer(done)[1]["Two-factor code"]  # still the first try


def test_a_wrong_passphrase_is_refused(sandbox, home):
    done = live(sandbox, home, "--totp", code(), "--confirm", "TRADE LIVE", ASTROLABE_PASSPHRASE="wrong horse")
    red = answer(done)[1]
    assert done.exit_code == 3
    assert list(red) == ["Vault", "Credentials", "Second factor"]
    assert "does not open the vault" in red["Vault"]


def test_a_failed_drill_and_a_missing_one_are_refused(sandbox, home):
    with_drill(home, ok=False)
    done = live(sandbox, home, "--totp", code(), "--confirm", "TRADE LIVE")
    red = answer(done)[1]
    assert (done.exit_code, list(red)) == (3, ["Kill switch rehearsed"])
    assert "level 3 failed: not flat after 60 s" in red["Kill switch rehearsed"]
    (home / "paper.duckdb").unlink()
    red = answer(live(sandbox, home, "--check"))[1]
    assert "never been rehearsed" in red["Kill switch rehearsed"]
    assert "Capital ladder" in red


def test_a_key_that_can_withdraw_is_refused(sandbox, home):
    done = live(sandbox, home, "--check", ASTER_PRIVATE_KEY=sandbox.hello["private_key"])
    assert (done.exit_code, list(answer(done)[1])) == (3, ["No withdrawal right"])
    key, address = key_from_seed(6, "withdrawing agent")
    _register(sandbox, address, can_withdraw=True)
    user = sandbox.hello["address"]
    red = answer(live(sandbox, home, "--check", ASTER_SIGNER_KEY=key, ASTER_USER=user))[1]
    assert "an agent's key, which can withdraw" in red["No withdrawal right"]


def test_one_address_without_the_other_never_falls_back_to_aster(sandbox, home):
    done = live(sandbox, home, "--check", ASTER_WS_URL="")
    assert isinstance(done.exception, ConfigError)
    assert "Found ASTER_BASE_URL without ASTER_WS_URL" in str(done.exception)


def test_armed_it_trades_at_the_exchange_and_the_kill_switch_flattens(sandbox, home):
    log = home / "engine.log"
    with log.open("wb") as file:
        process = live_process(
            sandbox, home, "--totp", code(), "--confirm", "TRADE LIVE", stdout=file, stderr=subprocess.STDOUT
        )
    try:
        status = _until(process, home, log, lambda status: status["phase"] == "trading")
        assert status["mode"] == "live"
        settings = ask(home, "settings.get")["values"]
        assert (settings["symbols"], settings["tick_retention_days"]) == (SYMBOLS, 2)  # as chosen on paper
        ask(home, "ticket.submit", {
            "symbol": "BTCUSDT", "side": "buy", "kind": "market", "size": {"unit": "base", "value": 0.01},
            "idempotency_key": "live-test-buy",
        })  # fmt: skip
        _until(process, home, log, lambda status: status["gross_weight"])
        assert _positions(sandbox).get("BTCUSDT", 0) >= 0.01
        with pytest.raises(CommandRefused, match="cannot be switched off"):
            ask(home, "settings.set", {"values": {"use_gate_drawdown": False}, "idempotency_key": "live-test-gate"})
        with pytest.raises(CommandRefused, match="ema-cross cannot be traded"):
            ask(home, "settings.set", {"values": {"strategy": "ema-cross"}, "idempotency_key": "live-test-yardstick"})
        pressed = ask(home, "kill", {"level": 4, "reason": "test", "idempotency_key": "live-test-kill"})
        assert pressed["cancels_sent_ms"] < 1000
        deadline = time.monotonic() + 20
        while _positions(sandbox) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert _positions(sandbox) == {}
        assert ask(home, "status")["kill_level"] == 4
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
    text = log.read_text()
    for secret in (AGENT_KEY, AGENT_KEY[2:], SECRET, PASSPHRASE):
        assert secret not in text
        for record in home.glob("*.duckdb*"):
            assert secret.encode() not in record.read_bytes()
    assert ("live.armed", {"account": sandbox.hello["address"], "kind": "agent", "refused_by": []}) in audit(home)
    assert (home / f"{Mode.LIVE}.duckdb").exists()


def test_armed_from_the_paper_engine_its_process_goes_on_in_live_mode(sandbox, home):
    agent = {"ASTER_SIGNER_KEY": AGENT_KEY, "ASTER_USER": sandbox.hello["address"]}
    log = home / "engine.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "engine", "paper", "--data-dir", str(home)],
            env=environment(sandbox) | agent, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
        )  # fmt: skip
    try:
        status = _until(process, home, log, lambda status: status["phase"] == "trading")
        assert status["mode"] == "paper"
        assert ask(home, "arming")["ready"]
        answers = {"passphrase": PASSPHRASE, "phrase": "TRADE LIVE", "code": "000000"}
        refused = ask(home, "arm", dict(answers))
        assert [item["name"] for item in refused["items"] if not item["ok"]] == ["Two-factor code"]
        assert (refused["armed"], ask(home, "status")["mode"]) == (False, "paper")
        assert ask(home, "arm", answers | {"code": code()})["armed"] is True
        status = _until(process, home, log, lambda status: status["mode"] == "live" and status["phase"] == "trading")
        with pytest.raises(CommandRefused, match="trades live already"):
            ask(home, "arm", answers | {"code": code()})
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
    assert process.returncode == 0
    for secret in (AGENT_KEY[2:], SECRET, PASSPHRASE):
        assert secret not in log.read_text()
        assert all(secret.encode() not in record.read_bytes() for record in home.glob("*.duckdb*"))
    assert [action for action, _ in audit(home)][:2] == ["live.refused", "live.armed"]


def test_as_a_program_it_refuses_with_exit_code_3(sandbox, home):
    process = live_process(sandbox, home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    said, complaint = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "Two-factor code" in said
    assert "not armed" in complaint


def test_a_code_arms_once(sandbox, home):
    spent = code()
    mfa.verify(open_vault(home, PASSPHRASE), spent)
    done = live(sandbox, home, "--totp", spent, "--confirm", "TRADE LIVE")
    red = answer(done)[1]
    assert done.exit_code == 3
    assert list(red) == ["Two-factor code"]


def _positions(sandbox):
    return {row["symbol"]: float(row["positionAmt"]) for row in sandbox.books()["positions"]}


def _until(process, home, log, condition):
    deadline = time.monotonic() + START_S
    status = {}
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the engine ended: {log.read_text()[-2000:]}"
        try:
            status = ask(home, "status")
            if condition(status):
                return status
        except (Unreachable, OSError):
            status = {}
        time.sleep(0.1)
    raise AssertionError(f"not within {START_S} s; status {status}; log {log.read_text()[-2000:]}")

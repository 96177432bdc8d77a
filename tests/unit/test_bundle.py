"""An incident bundle holds what happened around it and none of the secrets that were planted everywhere."""

from __future__ import annotations

import json
import zipfile

import pytest
from typer.testing import CliRunner

from engine.__main__ import app
from engine.domain import NS_PER_S
from engine.errors import CommandRefused
from engine.runtime.bundle import make_bundle
from engine.runtime.redact import HIDDEN, Redactor
from storage.database import Database

TS = 1_900_000_000_000_000_000
MINUTE = 60 * NS_PER_S
PRIVATE = "0x" + "a1b2c3d4" * 8
ADDRESS = "0xAbCdEf0123456789aBcDeF0123456789AbCdEf01"
HMAC = "Zk3vQ9xLmW2rT8yB5nC1dF7gH4jK6pS0aE3uI9oR2tY5wX8z"
SHORT = "hunter2-pass"
TOTP = "JBSWY3DPEHPK3PXP"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"
BEARER = "tok_5f3a9c-41"
ENV_SECRET = "plain words as a secret"
SECRETS = (PRIVATE, PRIVATE[2:], ADDRESS, ADDRESS.lower(), HMAC, SHORT, TOTP, JWT, BEARER, ENV_SECRET)


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("ASTER_API_SECRET", ENV_SECRET)
    (tmp_path / "engine.json").write_text(json.dumps({"token": BEARER}))
    store = Database(tmp_path / "paper.duckdb")
    for number, ts in ((1, TS - 30 * MINUTE), (2, TS), (3, TS + 5 * MINUTE)):
        secret_words = f"refused by {ADDRESS}: apiSecret={SHORT}, signature: {PRIVATE}"
        message = secret_words if number == 2 else f"incident {number}"
        detail = json.dumps({"private_key": PRIVATE, "nested": {"passphrase": SHORT, "qty": 1.5}})
        row = {"incident_id": number, "ts": ts, "severity": "error", "source": "venue", "message": message}
        store.append("incidents", [row | {"detail": detail}])
    store.append("commands", [{
        "idempotency_key": "key-0001", "ts": TS + MINUTE, "command": "vault.store", "status": "done", "result": "{}",
        "payload": json.dumps({"totp_secret": TOTP, "api_key": HMAC, "symbol": "BTCUSDT"}),
    }])  # fmt: skip
    store.append("orders", [{"account": "me", **row} for row in (
        {"client_id": "near", "ts_intent": TS - MINUTE, "status": "FILLED", "reason": f"wallet {ADDRESS.lower()}"},
        {"client_id": "far", "ts_intent": TS - 60 * MINUTE, "ts_final": TS - 59 * MINUTE, "status": "FILLED"},
        {"client_id": "resting", "ts_intent": TS - 60 * MINUTE, "status": "NEW"},
    )])  # fmt: skip
    event = {"seq": 1, "client_id": "near", "ts": TS, "event": "sent", "detail": f"Bearer {BEARER}"}
    store.append("order_events", [event])
    fill = {"account": "me", "symbol": "BTCUSDT", "trade_id": "7", "qty": 0.25, "px": 90_000.0, "ts_received": TS}
    store.append("fills", [fill])
    store.flush()
    lines = [f"POST /fapi?user={ADDRESS}&signature={PRIVATE}", f"Authorization: {JWT}", f"key {HMAC}",
             f"otpauth://totp/x?secret={TOTP}", f"env {ENV_SECRET}",
             "an ordinary line about BTCUSDT 90000.5"]  # fmt: skip
    (tmp_path / "engine.log").write_text("\n".join(lines))
    yield store
    store.close()


def unpacked(store, tmp_path, status=None) -> dict[str, str]:
    path = tmp_path / "out" / "one.zip"
    answer = make_bundle(store, 2, path, status)
    assert answer == {"path": str(path), "bytes": path.stat().st_size}
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_no_planted_secret_is_in_any_file(store, tmp_path):
    files = unpacked(store, tmp_path, {"phase": "trading", "listenKey": HMAC, "account": ADDRESS})
    assert {"README.txt", "incident.json", "engine.log", "settings.json", "status.json", "versions.json"} <= set(files)
    for name, text in files.items():
        for secret in SECRETS:
            assert secret not in text, f"{secret} is in {name}"
    assert "an ordinary line about BTCUSDT 90000.5" in files["engine.log"]


def test_what_is_no_secret_is_kept(store, tmp_path):
    files = unpacked(store, tmp_path, {"phase": "trading", "equity": 10_000.5})
    detail = json.loads(json.loads(files["incident.json"])["detail"])
    assert detail == {"private_key": HIDDEN, "nested": {"passphrase": HIDDEN, "qty": 1.5}}
    assert json.loads(files["commands.json"])[0]["idempotency_key"] == "key-0001"
    assert json.loads(json.loads(files["commands.json"])[0]["payload"])["symbol"] == "BTCUSDT"
    assert json.loads(files["fills.json"])[0]["px"] == 90_000.0
    assert json.loads(files["status.json"])["equity"] == 10_000.5
    assert json.loads(files["versions.json"])["duckdb"]


def test_it_holds_ten_minutes_either_way_and_what_was_still_open(store, tmp_path):
    files = unpacked(store, tmp_path)
    assert [row["client_id"] for row in json.loads(files["orders.json"])] == ["resting", "near"]
    assert [row["incident_id"] for row in json.loads(files["incidents.json"])] == [2, 3]
    assert json.loads(files["status.json"]) is None


def test_the_same_address_keeps_its_number(store, tmp_path):
    files = unpacked(store, tmp_path)
    assert "[address 1]" in files["incident.json"]
    near = next(row for row in json.loads(files["orders.json"]) if row["client_id"] == "near")
    assert near["reason"] == "wallet [address 1]"


def test_an_incident_that_is_not_there_is_refused(store, tmp_path):
    with pytest.raises(CommandRefused, match="There is no incident 99"):
        make_bundle(store, 99, tmp_path / "x.zip")
    assert not (tmp_path / "x.zip").exists()


@pytest.mark.parametrize(
    "text",
    ["qty=0.250 px=90000.5", "client a7Kq-2f9-000123 filled", "trend of BTCUSDT: weight 0.45", "hash 3fa9c1d2e4b5"],
)
def test_ordinary_text_is_left_alone(text):
    assert Redactor().text(text) == text


def test_the_command_line_writes_it_without_an_engine(store, tmp_path):
    store.close()
    (tmp_path / "engine.json").unlink()
    out = tmp_path / "by_hand.zip"
    done = CliRunner().invoke(app, ["bundle", "2", "--out", str(out), "--data-dir", str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.output) == {"path": str(out), "bytes": out.stat().st_size}
    with zipfile.ZipFile(out) as archive:
        assert PRIVATE not in archive.read("engine.log").decode()

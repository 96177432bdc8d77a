"""A certificate belongs to a version and to a key, and tells when either was exchanged or a letter of it changed."""

from __future__ import annotations

import json
import os
import stat

import pytest

from engine.errors import ConfigError
from engine.research import certificate
from engine.settings import SystemConfig
from engine.strategies.versions import keep

OUTCOME = {"status": "pass", "decisions": 82, "differences": 0, "ts": 1_900_000_000_000_000_000, "sentences": []}


def version(home, **changes):
    return certificate.version_now(home, SystemConfig(**changes))


def test_a_certificate_is_read_back_and_shown_in_short(tmp_path):
    made = certificate.issue(tmp_path, version(tmp_path) | OUTCOME)
    assert certificate.read(tmp_path, made["version"]) == made
    assert certificate.block(tmp_path, version(tmp_path)) == {
        "status": "pass", "strategy_version": made["version"], "ts": OUTCOME["ts"], "decisions": 82, "differences": 0,
        "signature": made["signature"],
    }  # fmt: skip
    key = tmp_path / certificate.FOLDER / certificate.KEY_FILE
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_of_two_processes_that_make_the_key_at_once_the_first_one_s_counts(tmp_path, monkeypatch):
    first = certificate.issue(tmp_path, version(tmp_path) | OUTCOME)
    key = tmp_path / certificate.FOLDER / certificate.KEY_FILE
    kept, link = key.read_bytes(), os.link
    key.unlink()

    def late(part, path):
        path.write_bytes(kept)
        link(part, path)

    monkeypatch.setattr(os, "link", late)
    assert certificate.issue(tmp_path, version(tmp_path) | OUTCOME)["public_key"] == first["public_key"]
    assert sorted(path.suffix for path in key.parent.iterdir()) == [".json", ".key"]


def test_without_one_the_status_is_none(tmp_path):
    assert certificate.block(tmp_path, version(tmp_path))["status"] == "none"


@pytest.mark.parametrize("change", [{"status": "pass"}, {"differences": 0}, {"decisions": 1_000_000}, {"note": "x"}])
def test_any_change_is_told(tmp_path, change):
    failed = OUTCOME | {"status": "fail", "differences": 3}
    made = certificate.issue(tmp_path, version(tmp_path) | failed)
    path = tmp_path / certificate.FOLDER / f"{made['version']}.json"
    path.write_text(json.dumps(made | change))
    with pytest.raises(ConfigError, match="was changed after it was issued"):
        certificate.read(tmp_path, made["version"])
    found = certificate.block(tmp_path, version(tmp_path))
    assert found["status"] == "none"
    assert "signature" in found["why"]


def test_one_that_another_installation_signed_is_not_believed(tmp_path):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    certificate.issue(ours, version(ours) | OUTCOME | {"status": "fail"})
    made = certificate.issue(theirs, version(theirs) | OUTCOME)
    (ours / certificate.FOLDER / f"{made['version']}.json").write_text(json.dumps(made))
    with pytest.raises(ConfigError, match="or issued elsewhere"):
        certificate.read(ours, made["version"])


def test_one_of_another_version_under_a_wrong_name_is_not_believed(tmp_path):
    made = certificate.issue(tmp_path, version(tmp_path) | OUTCOME)
    folder = tmp_path / certificate.FOLDER
    os.replace(folder / f"{made['version']}.json", folder / "0123456789abcdef.json")
    with pytest.raises(ConfigError, match="is the certificate of version"):
        certificate.read(tmp_path, "0123456789abcdef")


def test_a_version_is_source_and_own_parameters_and_nothing_else(tmp_path, monkeypatch):
    name = version(tmp_path)["version"]
    assert version(tmp_path, max_gross_weight=1.0, symbols=("BTCUSDT",), decision_interval="1h")["version"] == name
    assert version(tmp_path, trend_horizons_hours=(10.0,))["version"] != name
    assert version(tmp_path, strategy="ema-cross")["version"] != name
    monkeypatch.setattr(certificate, "code_fingerprint", lambda: "other code")
    assert version(tmp_path)["version"] != name


def test_a_file_s_version_is_its_content_and_parameters_in_a_backtest_as_in_the_engine(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("class Strategy:\n    def on_bar(self, past):\n        return None\n")
    kept = keep(tmp_path, str(path))
    in_engine = version(tmp_path, strategy=kept, strategy_params={"n": 48})["version"]
    listed = SystemConfig().model_dump()
    assert certificate.version_of_run(str(path), listed, {"n": 48.0})["version"] == in_engine
    assert certificate.version_of_run(str(path), listed, {"n": 49})["version"] != in_engine
    path.write_text(path.read_text() + "\n")
    assert certificate.version_of_run(str(path), listed, {"n": 48})["version"] != in_engine

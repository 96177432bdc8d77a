"""Settings, live trading: secrets reach the engine once and stay nowhere on the page."""

from __future__ import annotations

import pytest
from page_engine import PageEngine, page, texts

PASSPHRASE = "correct horse battery"
KEY = "0x" + "5ec2e7" * 10 + "abcd"
ADDRESS = "0x" + "12" * 20


@pytest.fixture
def engine(tmp_path, monkeypatch):
    monkeypatch.setenv("ASTROLABE_HOME", str(tmp_path))
    running = PageEngine(tmp_path).start()
    yield running
    running.stop()


def field(script, label):
    return next(item for item in script.text_input if item.label == label)


def press(script, label):
    next(item for item in script.button if item.label == label).click()
    return script.run()


def sent(engine, name):
    return [body for action, body in engine.calls if action == name]


def held(script):
    return (
        repr(script.session_state._state.filtered_state)
        + texts(script)
        + repr([item.value for item in script.text_input])
    )


def fill_agent(script, passphrase=PASSPHRASE, again=PASSPHRASE):
    field(script, "Agent's private key").set_value(KEY)
    field(script, "Account address").set_value(ADDRESS)
    label = "New passphrase, at least 10 characters"
    fields = {item.label for item in script.text_input}
    next(item for item in script.text_input if item.key == "live.store.passphrase").set_value(passphrase)
    if label in fields:
        next(item for item in script.text_input if item.key == "live.store.passphrase.again").set_value(again)
    return press(script, "Store in the vault")


def test_a_key_is_sent_once_and_wiped(engine):
    script = fill_agent(page("settings").run())
    assert not script.exception
    (body,) = sent(engine, "vault.store")
    assert body == {
        "name": "main", "kind": "agent", "values": {"signer_key": KEY, "user": ADDRESS}, "passphrase": PASSPHRASE,
        "actor": "settings page",
    }  # fmt: skip
    assert "Stored main in the vault." in [item.value for item in script.success]
    assert KEY not in held(script)
    assert PASSPHRASE not in held(script)
    assert "main: Agent key" in texts(script)
    script.run()
    assert len(sent(engine, "vault.store")) == 1


def test_a_refused_key_is_wiped_too(engine):
    engine.vault_kinds["old"] = "hmac"
    script = fill_agent(page("settings").run(), passphrase="another passphrase")
    assert "Nothing was changed. The passphrase does not open the vault" in script.error[0].value
    assert KEY not in held(script)
    assert "another passphrase" not in held(script)


def test_two_different_new_passphrases_send_nothing(engine):
    script = fill_agent(page("settings").run(), again="correct horse batter")
    assert sent(engine, "vault.store") == []
    assert "The two passphrases differ" in script.error[0].value
    assert KEY not in held(script)


def test_secret_fields_are_password_fields(engine):
    script = page("settings").run()
    for label in ("Agent's private key", "New passphrase, at least 10 characters", "The same again"):
        assert field(script, label).proto.type == field(script, label).proto.PASSWORD
    script.selectbox(key="live.kind").set_value("private_key").run()
    assert any("can always withdraw" in item.value for item in script.warning)


def test_the_second_factor_is_shown_once_and_confirmed(engine):
    script = press(page("settings").run(), "Show a QR code")
    assert not script.exception
    assert "JBSWY3DPEHPK3PXP" in [item.value for item in script.code]
    field(script, "First code").set_value("000000")
    script.text_input(key="live.confirm.passphrase").set_value(PASSPHRASE)
    script.text_input(key="live.confirm.passphrase.again").set_value(PASSPHRASE)
    script = press(script, "Confirm")
    assert "does not belong to this QR code" in script.error[0].value
    field(script, "First code").set_value("123456")
    script.text_input(key="live.confirm.passphrase").set_value(PASSPHRASE)
    script.text_input(key="live.confirm.passphrase.again").set_value(PASSPHRASE)
    script = press(script, "Confirm")
    assert not script.exception
    assert ":green[set up]" in texts(script)
    assert "JBSWY3DPEHPK3PXP" not in held(script)
    assert PASSPHRASE not in held(script)


def test_the_command_appears_only_when_all_is_green(engine):
    script = page("settings").run()
    assert "2 of 4 green" in texts(script)
    assert [item.value for item in script.code] == []
    engine.armed_items = True
    script.run()
    assert "4 of 4 green" in texts(script)
    assert "python -m engine live --data-dir /home/me" in [item.value for item in script.code]


def test_a_key_is_removed_with_the_passphrase(engine):
    engine.vault_kinds["main"] = "agent"
    script = page("settings").run()
    script.text_input(key="live.remove.passphrase").set_value(PASSPHRASE)
    script = press(script, "Remove")
    assert engine.vault_kinds == {}
    assert "Removed main" in script.success[0].value


def test_arming_sends_everything_once_and_shows_what_is_red(engine):
    engine.armed_items, engine.vault_kinds["main"] = True, "agent"
    script = page("settings").run()
    for code, armed in (("000000", False), ("123456", True)):
        script.text_input(key="live.arm.passphrase").set_value(PASSPHRASE)
        script.text_input(key="live.arm.phrase").set_value("TRADE LIVE")
        script.text_input(key="live.arm.code").set_value(code)
        script = press(script, "Check the account and trade live")
        assert not script.exception
        assert PASSPHRASE not in held(script)
        assert any("starts again in live mode" in item.value for item in script.success) is armed
        assert ("Found: a wrong code." in texts(script)) is not armed
    first, second = sent(engine, "arm")
    assert first == {
        "passphrase": PASSPHRASE, "code": "000000", "phrase": "TRADE LIVE", "key": "main", "accept_unverified": False,
        "actor": "settings page",
    }  # fmt: skip
    assert second["code"] == "123456"

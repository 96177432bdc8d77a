"""Codes: a fresh one is taken once, wrong ones lock, and the lock outlives the process."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pyotp
import pytest

from engine.controls import mfa
from engine.controls.mfa import LOCK_S, SecondFactorError
from engine.controls.vault import VaultError, create_vault, open_vault

PASSPHRASE = "correct horse battery"
NOW = 1_700_000_010.0
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"


def code(at_s: float = NOW, secret: str = SECRET) -> str:
    return pyotp.TOTP(secret).at(int(at_s))


def wrong(at_s: float = NOW) -> str:
    near = {code(at_s + shift) for shift in (-30, 0, 30)}
    return next(text for text in ("000000", "111111", "222222", "333333") if text not in near)


@pytest.fixture
def vault(tmp_path):
    vault = create_vault(tmp_path, PASSPHRASE, cost=2**10)
    mfa.confirm(vault, SECRET, code(NOW - 60), now_s=NOW - 60)
    return vault


def test_the_rfc_example_is_met():
    """RFC 6238, appendix B: SHA-1, time 59, last six digits of 94287082."""
    secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
    assert pyotp.TOTP(secret).at(59) == "287082"


def test_a_code_counts_once(vault):
    mfa.verify(vault, code(), now_s=NOW)
    with pytest.raises(SecondFactorError, match="used before"):
        mfa.verify(vault, code(), now_s=NOW + 1)
    mfa.verify(vault, code(NOW + 30), now_s=NOW + 30)


def test_a_code_counts_once_for_two_who_opened_the_vault_together(vault, tmp_path):
    first, second = open_vault(tmp_path, PASSPHRASE), open_vault(tmp_path, PASSPHRASE)
    mfa.verify(first, code(), now_s=NOW)
    with pytest.raises(VaultError, match="changed while it was open"):
        mfa.verify(second, code(), now_s=NOW)


def test_an_older_code_than_the_last_one_is_not_taken(vault):
    mfa.verify(vault, code(NOW), now_s=NOW)
    with pytest.raises(SecondFactorError, match="used before"):
        mfa.verify(vault, code(NOW - 30), now_s=NOW)


def test_the_code_that_confirmed_does_not_arm(vault):
    with pytest.raises(SecondFactorError, match="used before"):
        mfa.verify(vault, code(NOW - 60), now_s=NOW - 59)


def test_a_phone_half_a_minute_off_is_accepted_and_more_is_not(vault):
    with pytest.raises(SecondFactorError, match="Wrong code"):
        mfa.verify(vault, code(NOW + 90), now_s=NOW)
    mfa.verify(vault, code(NOW + 30), now_s=NOW)


def test_five_wrong_codes_lock_even_for_the_right_one_and_over_a_restart(vault, tmp_path):
    for left in (4, 3, 2, 1):
        with pytest.raises(SecondFactorError, match=f"{left} tries are left"):
            mfa.verify(vault, wrong(), now_s=NOW)
    with pytest.raises(SecondFactorError, match="locked for 15 min"):
        mfa.verify(vault, wrong(), now_s=NOW)
    reopened = open_vault(tmp_path, PASSPHRASE)
    with pytest.raises(SecondFactorError, match="Locked after 5"):
        mfa.verify(reopened, code(), now_s=NOW + 1)
    late = NOW + LOCK_S + 1
    mfa.verify(reopened, code(late), now_s=late)


def test_a_right_code_forgives_the_wrong_ones_before(vault):
    for _ in range(4):
        with pytest.raises(SecondFactorError):
            mfa.verify(vault, wrong(), now_s=NOW)
    mfa.verify(vault, code(), now_s=NOW)
    with pytest.raises(SecondFactorError, match="4 tries are left"):
        mfa.verify(vault, wrong(NOW + 60), now_s=NOW + 60)


@pytest.mark.parametrize("text", ["", "12345", "abcdef", "１２３４５６", "1" * 500])
def test_nonsense_is_a_wrong_code(vault, text):
    with pytest.raises(SecondFactorError, match="Wrong code"):
        mfa.verify(vault, text, now_s=NOW)


def test_without_set_up_nothing_is_accepted(tmp_path):
    with pytest.raises(SecondFactorError, match="No second factor"):
        mfa.verify(create_vault(tmp_path, PASSPHRASE, cost=2**10), code(), now_s=NOW)


def test_set_up_needs_a_code_of_the_new_secret_and_of_the_old_one(vault):
    fresh = mfa.new_secret()
    with pytest.raises(SecondFactorError, match="a code of the old one"):
        mfa.confirm(vault, fresh, code(secret=fresh), now_s=NOW)
    with pytest.raises(SecondFactorError, match="does not belong to this QR code"):
        mfa.confirm(vault, fresh, wrong(), current_code=code(), now_s=NOW)
    mfa.confirm(vault, fresh, code(NOW + 30, fresh), current_code=code(NOW + 30), now_s=NOW + 30)
    assert vault.second_factor()["secret"] == fresh


def test_the_qr_code_is_an_svg_of_the_uri():
    uri = mfa.provisioning_uri(SECRET)
    assert uri.startswith("otpauth://totp/Astrolabe:")
    assert f"secret={SECRET}" in uri
    assert "issuer=Astrolabe" in uri
    image = ElementTree.fromstring(mfa.qr_svg(uri))
    assert image.tag.endswith("svg")
    ground, modules = list(image)
    assert (ground.get("width"), ground.get("height"), ground.get("fill")) == ("100%", "100%", "white")
    assert modules.get("fill") == "#000000"  # dark on light: cameras do not read a code on a dark page
    assert SECRET not in mfa.qr_svg(uri)

"""The second factor: time-based codes (RFC 6238). A code counts once, and five wrong ones lock for a while.

Secret and state live in the vault, so neither deleting a file nor restarting resets the lock.
"""

from __future__ import annotations

import hmac
import io
import time
from typing import Any

import pyotp
import qrcode
from qrcode.image.svg import SvgPathFillImage

from engine.controls.vault import Vault
from engine.errors import WorkstationError

ISSUER = "Astrolabe"
PERIOD_S = 30
STEPS_EITHER_WAY = 1  # a phone's clock may be half a minute off
WRONG_CODES = 5
LOCK_S = 15 * 60


class SecondFactorError(WorkstationError):
    """A code that is not accepted; the sentence says why and what to do."""


def new_secret() -> str:
    """Return a fresh secret of 160 bits, base 32."""
    return pyotp.random_base32()


def provisioning_uri(secret: str, account: str = "live trading") -> str:
    """Return the ``otpauth://`` address that an authenticator app reads."""
    return pyotp.TOTP(secret).provisioning_uri(name=account, issuer_name=ISSUER)


def qr_svg(uri: str) -> str:
    """Return the address as an SVG image, text that starts with ``<svg``."""
    stream = io.BytesIO()
    qrcode.make(uri, image_factory=SvgPathFillImage, box_size=12, border=3).save(stream)
    text = stream.getvalue().decode()
    return text[text.index("<svg") :]


def confirm(vault: Vault, secret: str, code: str, *, current_code: str = "", now_s: float | None = None) -> None:
    """Put a new secret in force once a code shows that the app has it.

    Raises
    ------
    SecondFactorError
        The code does not fit; or one is in force already and ``current_code`` is not a code of it.
    """
    now_s = time.time() if now_s is None else now_s
    if vault.second_factor() is not None:
        if not current_code:
            raise SecondFactorError("A second factor is in force: enter a code of the old one as well to replace it.")
        verify(vault, current_code, now_s=now_s)
    step = _matching_step(secret, code, now_s)
    if step is None:
        raise SecondFactorError(
            "The code does not belong to this QR code: scan it again, check the phone's clock, enter the newest code."
        )
    vault.keep_second_factor({"secret": secret, "last_step": step, "wrong": 0, "locked_until_s": 0.0})


def verify(vault: Vault, code: str, *, now_s: float | None = None) -> None:
    """Accept a code, once.

    Raises
    ------
    SecondFactorError
        Not set up, wrong, used before, or locked after five wrong codes.
    """
    now_s = time.time() if now_s is None else now_s
    state = vault.second_factor()
    if state is None:
        raise SecondFactorError("No second factor is set up: scan the QR code on the Settings page first.")
    locked_s = min(state["locked_until_s"] - now_s, LOCK_S)
    if locked_s > 0:
        raise SecondFactorError(f"Locked after {WRONG_CODES} wrong codes: try again in {locked_s / 60:.0f} min.")
    step = _matching_step(state["secret"], code, now_s)
    if step is None:
        raise SecondFactorError(_note_wrong(vault, state, now_s))
    if step <= state["last_step"]:
        raise SecondFactorError("This code was used before: wait for the next one.")
    vault.keep_second_factor(state | {"last_step": step, "wrong": 0, "locked_until_s": 0.0})


def _note_wrong(vault: Vault, state: dict[str, Any], now_s: float) -> str:
    wrong = state["wrong"] + 1
    is_locked = wrong >= WRONG_CODES
    vault.keep_second_factor(
        state | {"wrong": 0 if is_locked else wrong, "locked_until_s": now_s + LOCK_S if is_locked else 0.0}
    )
    if is_locked:
        return f"Wrong code, the {WRONG_CODES}th in a row: locked for {LOCK_S // 60} min."
    return f"Wrong code: expected the newest six digits of the app. {WRONG_CODES - wrong} tries are left."


def _matching_step(secret: str, code: str, now_s: float) -> int | None:
    """Return the 30-second step that a code belongs to, None when it fits none near now."""
    digits = "".join(code.split())
    generator = pyotp.TOTP(secret, interval=PERIOD_S)
    newest = int(now_s // PERIOD_S)
    found = None
    for step in range(newest - STEPS_EITHER_WAY, newest + STEPS_EITHER_WAY + 1):
        if hmac.compare_digest(generator.at(step * PERIOD_S).encode(), digits.encode()):
            found = step
    return found

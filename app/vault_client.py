"""Calls about the vault and the second factor. What they carry is sent once and kept nowhere on this side."""

from __future__ import annotations

from typing import Any

TIMEOUT_S = 10.0  # the key derivation takes half a second, more on a busy machine
ARM_TIMEOUT_S = 45.0  # asks the venue a dozen things first


class VaultCalls:
    """Mixed into ``EngineClient``."""

    def vault(self) -> dict[str, Any]:
        """Return what is known without the passphrase: ``exists``, ``names``, ``kinds``, ``second_factor``."""
        return self._ask("vault", timeout_s=TIMEOUT_S)

    def store_credential(self, name: str, kind: str, values: dict[str, str], passphrase: str) -> dict[str, Any]:
        """Store a credential in the vault, making the vault when there is none."""
        return self._command(
            "vault.store", TIMEOUT_S, name=name, kind=kind, values=values, passphrase=passphrase, actor="settings page"
        )

    def remove_credential(self, name: str, passphrase: str) -> dict[str, Any]:
        """Forget a credential."""
        return self._command("vault.remove", TIMEOUT_S, name=name, passphrase=passphrase, actor="settings page")

    def totp_setup(self) -> dict[str, Any]:
        """Begin a second factor: ``uri`` and ``qr_svg``, shown this once."""
        return self._command("totp.setup", TIMEOUT_S)

    def totp_confirm(self, code: str, passphrase: str, current_code: str) -> dict[str, Any]:
        """Put the second factor in force with its first code."""
        return self._command(
            "totp.confirm",
            TIMEOUT_S,
            code=code,
            passphrase=passphrase,
            current_code=current_code,
            actor="settings page",
        )

    def arm(self, answers: dict[str, Any]) -> dict[str, Any]:
        """Check everything and, when all is green, have the engine go on in live mode: ``armed``, ``items``.

        Parameters
        ----------
        answers : dict
            ``passphrase``, ``code``, ``phrase``, ``key`` (name in the vault) and ``accept_unverified``.
        """
        return self._command("arm", ARM_TIMEOUT_S, **answers, actor="settings page")

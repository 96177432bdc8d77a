"""Who sent a request: EIP-712 signatures with nonces, and HMAC keys with timestamps.

The venue's signature covers the exact parameter string that was sent, so everything here works on that raw string and
never on parsed parameters.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import parse_qsl

import coincurve
from eth_utils.crypto import keccak

from engine.venues.sandbox import codes
from engine.venues.sandbox.codes import Refusal

NONCE_WINDOW_US = 60_000_000
NONCES_KEPT = 100
DEFAULT_RECV_WINDOW_MS = 5_000
MAX_RECV_WINDOW_MS = 60_000

_DOMAIN_TYPE = keccak(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
_MESSAGE_TYPE = keccak(b"Message(string msg)")
_APPROVE_BUILDER_FIELDS = ("Builder", "MaxFeeRate", "BuilderName", "AsterChain", "User")
_APPROVE_BUILDER_TYPE = keccak(
    b"ApproveBuilder(string Builder,string MaxFeeRate,string BuilderName,string AsterChain,string User,uint256 Nonce)"
)


class HmacKey(NamedTuple):
    """A legacy API key and the account that it opens."""

    secret: str
    account_id: str
    can_withdraw: bool


def domain_separator(chain_id: int) -> bytes:
    """Return the 32-byte EIP-712 domain hash of ``AsterSignTransaction`` version 1 with a zero contract address."""
    return keccak(
        _DOMAIN_TYPE + keccak(b"AsterSignTransaction") + keccak(b"1") + chain_id.to_bytes(32, "big") + bytes(32)
    )


def message_digest(separator: bytes, message: str) -> bytes:
    """Return the 32 bytes that are signed for a request whose parameter string is ``message``."""
    return keccak(b"\x19\x01" + separator + keccak(_MESSAGE_TYPE + keccak(message.encode())))


def builder_digest(separator: bytes, params: dict[str, str]) -> bytes:
    """Return the 32 bytes that are signed for ``approveBuilder``. ``params`` are the sent ones, lower camel case."""
    words = [keccak(params.get(name[0].lower() + name[1:], "").encode()) for name in _APPROVE_BUILDER_FIELDS]
    nonce = int(params.get("nonce", "0")).to_bytes(32, "big")
    return keccak(b"\x19\x01" + separator + keccak(_APPROVE_BUILDER_TYPE + b"".join(words) + nonce))


def recover_address(digest: bytes, signature: str) -> str | None:
    """Return the lower-case address that signed, or None when the 65 hex bytes are no signature."""
    try:
        raw = bytes.fromhex(signature.removeprefix("0x"))
    except ValueError:
        return None
    if len(raw) != 65:
        return None
    recovery = raw[64] - 27 if raw[64] >= 27 else raw[64]
    if recovery not in (0, 1):
        return None
    try:
        key = coincurve.PublicKey.from_signature_and_message(raw[:64] + bytes([recovery]), digest, hasher=None)
    except Exception:  # coincurve raises bare Exception for points that are not on the curve
        return None
    return address_of(key)


def address_of(key: coincurve.PublicKey) -> str:
    """Return the lower-case Ethereum address of a public key."""
    return "0x" + keccak(key.format(compressed=False)[1:])[-20:].hex()


def key_from_seed(seed: int, label: str = "trader") -> tuple[str, str]:
    """Return a test key and its address, both 0x-hex, fixed by the seed. Never for real money."""
    secret = hashlib.sha256(f"astrolabe practice exchange {label} {seed}".encode()).digest()
    return "0x" + secret.hex(), address_of(coincurve.PrivateKey(secret).public_key)


def hmac_pair_from_seed(seed: int, label: str = "trader") -> tuple[str, str]:
    """Return a test API key and secret, fixed by the seed."""
    stem = f"astrolabe practice exchange hmac {label} {seed}".encode()
    return hashlib.sha256(b"key " + stem).hexdigest(), hashlib.sha256(b"secret " + stem).hexdigest()


@dataclass(slots=True)
class _Nonces:
    recent: deque[int] = field(default_factory=lambda: deque(maxlen=NONCES_KEPT))

    def accept(self, nonce: int) -> bool:
        if nonce in self.recent or (len(self.recent) == NONCES_KEPT and nonce < min(self.recent)):
            return False
        if len(self.recent) == NONCES_KEPT:
            # the venue keeps the latest hundred by value: the smallest one leaves, whenever it came
            self.recent.remove(min(self.recent))
        self.recent.append(nonce)
        return True


class KeyRing:
    """Registered signers and keys, and the nonces they have used."""

    def __init__(self, chain_ids: tuple[int, ...]) -> None:
        self._separators = [domain_separator(chain_id) for chain_id in chain_ids]
        self._account_of_signer: dict[str, str] = {}
        self._withdrawing_agents: set[str] = set()
        self._hmac: dict[str, HmacKey] = {}
        self._nonces: dict[str, _Nonces] = {}

    def register_signer(self, signer: str, account_id: str, *, can_withdraw: bool = False) -> None:
        """Let an address sign for an account. A main wallet signs for itself; only an agent's right can be limited."""
        self._account_of_signer[signer.lower()] = account_id.lower()
        (self._withdrawing_agents.add if can_withdraw else self._withdrawing_agents.discard)(signer.lower())

    def remove_signer(self, signer: str) -> None:
        """Withdraw an address's right to sign."""
        self._account_of_signer.pop(signer.lower(), None)

    def register_hmac(self, key: str, secret: str, account_id: str, *, can_withdraw: bool = True) -> None:
        """Let a legacy API key act for an account."""
        self._hmac[key] = HmacKey(secret, account_id.lower(), can_withdraw)

    def can_withdraw(self, key_or_signer: str) -> bool:
        """Return whether an API key, an agent or a main wallet may move money out of its account."""
        entry = self._hmac.get(key_or_signer)
        if entry is not None:
            return entry.can_withdraw
        signer = key_or_signer.lower()
        return self._account_of_signer.get(signer) == signer or signer in self._withdrawing_agents

    def signers_of(self, account_id: str) -> list[str]:
        """Return the addresses that may sign for an account."""
        return [signer for signer, owner in self._account_of_signer.items() if owner == account_id]

    def verify_typed(self, raw: str, now_us: int) -> str:
        """Return the account behind an EIP-712 signed parameter string.

        Parameters
        ----------
        raw : str
            Exactly what was sent, signature included.
        now_us : int
            Wall clock, microseconds.

        Raises
        ------
        Refusal
            -1102 missing part, -1002 unknown signer, -1022 wrong signature, -1021 nonce outside +-60 s,
            -4225 nonce used before or older than the latest hundred.
        """
        message, params = _split(raw)
        signer = params.get("signer", "").lower()
        if not signer:
            raise codes.missing("signer")
        nonce = _integer(params, "nonce")
        account_id = self._account_of_signer.get(signer)
        if account_id is None or params.get("user", account_id).lower() != account_id:
            raise Refusal(codes.UNAUTHORIZED, "No agent found for this user and signer.")
        signature = params["signature"]
        if not any(recover_address(message_digest(part, message), signature) == signer for part in self._separators):
            raise Refusal(codes.BAD_SIGNATURE)
        self._spend(signer, nonce, now_us)
        return account_id

    def verify_builder(self, raw: str, now_us: int) -> str:
        """Return the account behind ``approveBuilder``, which the main wallet itself signs in another form."""
        _, params = _split(raw)
        user = params.get("user", "").lower()
        nonce = _integer(params, "nonce")
        if self._account_of_signer.get(user) != user:
            raise Refusal(codes.UNAUTHORIZED)
        digests = (builder_digest(part, params) for part in self._separators)
        if not any(recover_address(digest, params["signature"]) == user for digest in digests):
            raise Refusal(codes.BAD_SIGNATURE)
        self._spend(user, nonce, now_us)
        return user

    def verify_hmac(self, key: str, raw: str, now_ms: int) -> str:
        """Return the account behind an HMAC-SHA256 signed parameter string.

        Raises
        ------
        Refusal
            -2015 unknown key, -1102 missing part, -1021 outside recvWindow, -1022 wrong signature.
        """
        entry = self._hmac.get(key)
        if entry is None:
            raise Refusal(codes.KEY_REFUSED)
        message, params = _split(raw)
        stamp = _integer(params, "timestamp")
        window = int(params.get("recvWindow", DEFAULT_RECV_WINDOW_MS))
        if not (stamp < now_ms + 1000 and now_ms - stamp <= min(window, MAX_RECV_WINDOW_MS)):
            raise Refusal(codes.TIMESTAMP_OUTSIDE)
        expected = hmac.new(entry.secret.encode(), message.encode(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(expected, params["signature"].lower()):
            raise Refusal(codes.BAD_SIGNATURE)
        return entry.account_id

    def account_of_key(self, key: str) -> str:
        """Return the account of an API key, for listen-key calls that carry the key but no signature."""
        entry = self._hmac.get(key)
        if entry is None:
            raise Refusal(codes.KEY_REFUSED)
        return entry.account_id

    def _spend(self, signer: str, nonce: int, now_us: int) -> None:
        if abs(nonce - now_us) > NONCE_WINDOW_US:
            raise Refusal(codes.TIMESTAMP_OUTSIDE, "Nonce is outside of the allowed window of 60 seconds.")
        if not self._nonces.setdefault(signer, _Nonces()).accept(nonce):
            raise Refusal(codes.NONCE_EXPIRED)


def _split(raw: str) -> tuple[str, dict[str, str]]:
    message, found, signature = raw.rpartition("&signature=")
    if not found or not signature:
        raise codes.missing("signature")
    params = dict(parse_qsl(message, keep_blank_values=True))
    params["signature"] = signature.split("&", 1)[0]
    return message, params


def _integer(params: dict[str, str], name: str) -> int:
    try:
        return int(params[name])
    except (KeyError, ValueError):
        raise codes.missing(name) from None

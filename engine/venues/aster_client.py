"""ccxt.pro's aster with its known faults cured. Each cure names the fault; ``tests/contract`` holds a test for each.

ccxt is used for what it is good at: signing, throttling, sockets and subscriptions. Its parsing and caches are passed
by: raw messages go to ``on_event``, so one bad message cannot end a connection's receive loop in silence.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import ccxt.pro
from aiolimiter import AsyncLimiter
from eth_utils.crypto import keccak

LISTEN_KEY_REFRESH_MS = 25 * 60 * 1000
REQUEST_TIMEOUT_MS = 10_000
ORDERS_PER_10_S = 250  # the venue allows 300 an account
MESSAGE_TYPE = keccak(b"Message(string msg)")
DOMAIN_TYPE = keccak(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")


class AsterClient(ccxt.pro.aster):
    """One signer's connection to Aster or to anything that speaks its protocol.

    Parameters
    ----------
    config : dict
        ccxt configuration from ``client_config``.
    on_event : callable (event name, payload)
        Receives every stream message, in order.
    on_fault : callable (sentence)
        Receives what went wrong in ``on_event``.
    """

    def __init__(
        self,
        config: dict[str, Any],
        on_event: Callable[[str, dict[str, Any]], None],
        on_fault: Callable[[str], None],
    ) -> None:
        super().__init__(config)
        self._on_event = on_event
        self._on_fault = on_fault
        self._last_nonce = 0
        self._limiter = AsyncLimiter(ORDERS_PER_10_S, 10.0)
        self.balance["swap"] = {}  # absent in ccxt: the first ACCOUNT_UPDATE raises KeyError in its handler
        self.balance["spot"] = {}

    def sign(self, path, api="public", method="GET", params=None, headers=None, body=None):  # type: ignore[no-untyped-def]
        """Sign with a nonce that never repeats: ccxt's has millisecond resolution and collides under load."""
        params = dict(params or {})
        name = api[0] if isinstance(api, list) else api
        if name.endswith("Private"):
            self._last_nonce = max(self._last_nonce + 1, time.time_ns() // 1000)
            params.setdefault("nonce", str(self._last_nonce))
        return super().sign(path, api, method, params)

    async def throttle(self, cost: float | None = None) -> None:
        """Wait only when the venue's pace is used up: ccxt's own bucket delays even a lone order by 25 ms."""
        await self._limiter.acquire(cost or 1.0)

    @staticmethod
    def hash(request: bytes, algorithm: str = "md5", digest: str = "hex") -> Any:
        """Return a digest; keccak comes from a C library, ccxt's is pure Python and takes a millisecond."""
        if algorithm != "keccak":
            return ccxt.pro.aster.hash(request, algorithm, digest)
        binary = keccak(bytes(request))
        return binary.hex() if digest == "hex" else binary

    @staticmethod
    def eth_encode_structured_data(domain: dict[str, Any], types: dict[str, Any], message: dict[str, Any]) -> bytes:
        """Return what EIP-712 hashes for the venue's ``Message``; other types are left to ccxt."""
        if list(types) != ["Message"]:
            return bytes(ccxt.pro.aster.eth_encode_structured_data(domain, types, message))
        address = bytes.fromhex(domain["verifyingContract"].removeprefix("0x")).rjust(32, b"\0")
        name, version = keccak(domain["name"].encode()), keccak(domain["version"].encode())
        separator = keccak(DOMAIN_TYPE + name + version + int(domain["chainId"]).to_bytes(32, "big") + address)
        return b"\x19\x01" + separator + keccak(MESSAGE_TYPE + keccak(message["msg"].encode()))

    def handle_message(self, client: Any, message: Any) -> None:
        """Pass the raw event on. An exception here would end ccxt's receive loop without a word."""
        if not isinstance(message, dict):
            return
        payload = message.get("data", message)
        event = payload.get("e") if isinstance(payload, dict) else None
        if event is None:
            return
        if event == "listenKeyExpired":
            self.forget_listen_key()
            # the venue leaves the connection open, silent for ever: end it, so that a new key is fetched
            client.on_error(ccxt.pro.NetworkError("the listen key has expired"))
            return
        try:
            self._on_event(event, payload)
        except Exception as error:
            self._on_fault(f"{event}: {type(error).__name__}: {error}")

    def on_connected(self, client: Any, message: Any = None) -> None:
        """Say that a connection is up, which ccxt tells nobody."""
        super().on_connected(client, message)
        self._on_event("connected", {"private": not client.url.endswith("/stream")})

    def forget_listen_key(self) -> None:
        """Make the next ``authenticate`` fetch a new key; ccxt would go on listening to the dead one."""
        self.options["listenKey"]["swap"] = None
        self.options["lastAuthenticatedTime"]["swap"] = 0

    async def subscribe_and_wait(self, streams: list[str]) -> None:
        """Subscribe to public streams and return only by raising when the connection is lost."""
        url = self.urls["api"]["ws"]["public"]["swap"]
        message = {"method": "SUBSCRIBE", "params": streams, "id": 1}
        # Nothing ever resolves this hash: the future ends only when the connection does.
        await self.watch_multiple(url, ["connection-lost"], message, streams)

    async def listen_and_wait(self) -> None:
        """Open the user stream and return only by raising when the connection is lost."""
        await self.authenticate("swap")
        await self.watch_multiple(self.get_private_url("swap"), ["connection-lost"], None, ["swap"])


def client_config(
    *,
    private_key: str | None,
    base_url: str | None,
    ws_url: str | None,
    user: str | None = None,
    signer_key: str | None = None,
    chain_id: int | None = None,
) -> dict[str, Any]:
    """Return the ccxt configuration that cures the constructor's faults.

    Parameters
    ----------
    private_key : str or None
        The account's own key. With ``signer_key`` and ``user`` it is not needed: an agent signs for the user.
    base_url, ws_url : str or None
        Roots such as ``http://127.0.0.1:1234`` and ``ws://127.0.0.1:1234``; None means Aster itself.
    user : str or None
        Address of the account when an agent signs.
    signer_key : str or None
        The agent's private key.
    chain_id : int or None
        EIP-712 chain id when it is not the main network's 1666.
    """
    options: dict[str, Any] = {
        "builderFee": False,  # ccxt would approve its own builder and add its fee to every order
        "defaultType": "swap",
        "ws": {"cost": 8},
        "fetchOpenOrders": {"warnIfNoSymbol": False},
        # ccxt refreshes after 60 minutes, when the key has just died
        "listenKeyRefreshRate": {"swap": LISTEN_KEY_REFRESH_MS, "spot": LISTEN_KEY_REFRESH_MS},
        "listenKeyRefresh": {"listenKeyRefreshRate": LISTEN_KEY_REFRESH_MS},
    }
    if chain_id is not None:
        options["v3ChainId"] = chain_id
    config: dict[str, Any] = {"rateLimit": 25, "timeout": REQUEST_TIMEOUT_MS, "options": options}
    key = signer_key or private_key
    if key is not None:
        config["privateKey"] = key
    if signer_key is not None and user is not None:
        options |= _agent_options(signer_key, user)
    if base_url is not None and ws_url is not None:
        config["urls"] = {"api": _endpoints(base_url.rstrip("/"), ws_url.rstrip("/"))}
    return config


def _agent_options(signer_key: str, user: str) -> dict[str, str]:
    # ccxt has no agents: it takes the cached address as the user as long as the key's hash matches.
    exchange = ccxt.pro.aster
    digest = exchange.hash(exchange.encode(signer_key), "keccak", "hex")
    return {
        "cachedWalletAddress": user.lower(),
        "privateKeyHashForCachedWalletAddress": digest,
        "signerAddress": exchange.eth_get_address_from_private_key(signer_key).lower(),
    }


def _endpoints(base: str, ws: str) -> dict[str, Any]:
    # "fstream" must stay in the path: ccxt takes the market type from it.
    return {
        "fapiPublic": f"{base}/fapi",
        "fapiPrivate": f"{base}/fapi",
        "sapiPublic": f"{base}/sapi/api",
        "sapiPrivate": f"{base}/sapi/api",
        "ws": {
            "public": {"swap": f"{ws}/fstream/stream", "spot": f"{ws}/sstream/stream"},
            "private": {"swap": f"{ws}/fstream/ws", "spot": f"{ws}/sstream/ws"},
        },
    }

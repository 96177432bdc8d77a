"""ccxt.pro's aster with its known faults cured. Each cure names the fault; ``tests/contract`` holds a test for each.

ccxt is used for what it is good at: signing, throttling, sockets and subscriptions. Its parsing and caches are passed
by: raw messages go to ``on_event``, so one bad message cannot end a connection's receive loop in silence.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Any

import ccxt
import ccxt.pro
from eth_utils.crypto import keccak

from engine.errors import VenueError
from engine.venues.gate import Gate
from engine.venues.hmac_keys import hmac_request

LISTEN_KEY_REFRESH_S = 25 * 60.0  # the key lives for 60 minutes
LISTEN_KEY_RETRY_S = 60.0
REQUEST_TIMEOUT_MS = 10_000
PING_EVERY_MS = 5_000
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
    gate : Gate
        The door that every request passes, shared by the clients of one venue; a new one by default.
    """

    def __init__(
        self,
        config: dict[str, Any],
        on_event: Callable[[str, dict[str, Any]], None],
        on_fault: Callable[[str], None],
        gate: Gate | None = None,
    ) -> None:
        super().__init__(config)
        self._on_event = on_event
        self._on_fault = on_fault
        self._gate = gate or Gate(on_fault)
        self._last_nonce = 0
        self.balance["swap"] = {}  # absent in ccxt: the first ACCOUNT_UPDATE raises KeyError in its handler
        self.balance["spot"] = {}

    def sign(self, path, api="public", method="GET", params=None, headers=None, body=None):  # type: ignore[no-untyped-def]
        """Sign with a nonce that never repeats: ccxt's has millisecond resolution and collides under load."""
        params = dict(params or {})
        name = api[0] if isinstance(api, list) else api
        if name == "fapiPrivate" and self.apiKey and self.secret:
            root = self.urls["api"][name]
            return hmac_request(root, path, method, params, self.apiKey, self.secret, time.time_ns() // 1_000_000)
        if name.endswith("Private"):
            self._last_nonce = max(self._last_nonce + 1, time.time_ns() // 1000)
            params.setdefault("nonce", str(self._last_nonce))
        return super().sign(path, api, method, params)

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

    async def request(self, path, api="public", method="GET", params=None, config=None):  # type: ignore[no-untyped-def]
        """Send one REST request when the door lets it pass."""
        name = api[0] if isinstance(api, list) else api
        async with self._gate.passing(name, method, path, params or {}):
            return await super().request(path, api, method, params or {}, config or {})

    async def throttle(self, cost=None):  # type: ignore[no-untyped-def]
        """Do nothing: ccxt's own costs are wrong and its bucket knows one client only; the gate does this work."""

    def on_rest_response(self, code, reason, url, method, response_headers, response_body, *request):  # type: ignore[no-untyped-def]
        """Let the gate learn from every answer, whatever ccxt makes of it."""
        self._gate.answered(code, response_headers, response_body)
        return super().on_rest_response(code, reason, url, method, response_headers, response_body, *request)

    def handle_message(self, client: Any, message: Any) -> None:
        """Pass the raw event on. An exception here would end ccxt's receive loop without a word."""
        if not isinstance(message, dict):
            return
        payload = message.get("data", message)
        event = payload.get("e") if isinstance(payload, dict) else None
        if event is None:
            return
        if event == "listenKeyExpired":
            # the venue leaves the connection open, silent for ever: end it, so that a new key is fetched
            client.on_error(ccxt.pro.NetworkError("the listen key has expired"))
            return
        try:
            self._on_event(event, payload)
        except Exception as error:
            self._on_fault(
                f"A message {event} could not be read ({type(error).__name__}: {error}) and was left out. What it told "
                "of orders and fills is asked for at the next comparison of the books."
            )

    def on_connected(self, client: Any, message: Any = None) -> None:
        """Say that a connection is up, which ccxt tells nobody."""
        super().on_connected(client, message)
        self._on_event("connected", {"private": not client.url.endswith("/stream")})

    def end_connections(self, reason: str) -> None:
        """End every stream connection, so that whoever waits on one hears of it."""
        for client in list((self.clients or {}).values()):
            client.on_error(ccxt.pro.NetworkError(reason))

    async def drop_connections(self) -> None:
        """Make room for a new connection: ccxt would go on with a dead one that it still holds, in silence."""
        for client in list((self.clients or {}).values()):
            self.clients.pop(client.url, None)
            await client.aiohttp_close()
        # who reconnects decides how long to wait; ccxt's pause grows to 30 s
        self.ws_dial_backoff: dict[str, Any] = {}

    def pong_age_s(self) -> float:
        """Return the seconds since the other end last answered a ping; inf before the first."""
        pongs = [client.lastPong for client in (self.clients or {}).values() if client.lastPong]
        return (self.milliseconds() - max(pongs)) / 1e3 if pongs else math.inf

    async def subscribe_and_wait(self, streams: list[str]) -> None:
        """Subscribe to public streams and return only by raising when the connection is lost."""
        url = self.urls["api"]["ws"]["public"]["swap"]
        message = {"method": "SUBSCRIBE", "params": streams, "id": 1}
        # Nothing ever resolves this hash: the future ends only when the connection does.
        await self.watch_multiple(url, ["connection-lost"], message, streams)

    async def listen_and_wait(self) -> None:
        """Open the user stream and return only by raising when the connection is lost.

        The key is kept alive here and not by ccxt, which drops the connection when one renewal fails and starts
        another chain of renewals at each reconnection.
        """
        answer = await self.fapiPrivatePostV3ListenKey()  # the living key extended, or a new one
        self.options["listenKey"]["swap"] = answer["listenKey"]
        renewing = asyncio.create_task(self._renew_listen_key())
        try:
            await self.watch_multiple(self.get_private_url("swap"), ["connection-lost"], None, ["swap"])
        finally:
            renewing.cancel()

    async def _renew_listen_key(self) -> None:
        pause_s = LISTEN_KEY_REFRESH_S
        while True:
            await asyncio.sleep(pause_s)
            try:
                await self.fapiPrivatePutV3ListenKey()
                pause_s = LISTEN_KEY_REFRESH_S
            except ccxt.AuthenticationError:
                self.end_connections("the listen key has expired")  # the venue does not know it any more
                return
            except (ccxt.BaseError, VenueError) as trouble:
                self._on_fault(
                    f"the listen key was not renewed ({type(trouble).__name__}); it is tried again in "
                    f"{LISTEN_KEY_RETRY_S:.0f} s and lives for another half hour at least"
                )
                pause_s = LISTEN_KEY_RETRY_S


def client_config(
    *,
    private_key: str | None,
    base_url: str | None,
    ws_url: str | None,
    user: str | None = None,
    signer_key: str | None = None,
    api_key: str | None = None,
    api_secret: str | None = None,
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
    api_key, api_secret : str or None
        A legacy API key; then neither private key nor agent is needed.
    chain_id : int or None
        EIP-712 chain id when it is not the main network's 1666.
    """
    options: dict[str, Any] = {
        "builderFee": False,  # ccxt would approve its own builder and add its fee to every order
        "defaultType": "swap",
        "ws": {"cost": 8, "keepAlive": PING_EVERY_MS},
        "fetchOpenOrders": {"warnIfNoSymbol": False},
    }
    if chain_id is not None:
        options["v3ChainId"] = chain_id
    config: dict[str, Any] = {"rateLimit": 25, "timeout": REQUEST_TIMEOUT_MS, "options": options}
    key = signer_key or private_key
    if key is not None:
        config["privateKey"] = key
    elif api_key is not None and api_secret is not None:
        config |= {"apiKey": api_key, "secret": api_secret}
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

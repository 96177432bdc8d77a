"""One path for every REST request: weight, faults, signature, endpoint, answer."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from aiohttp import web

from engine.venues.sandbox import codes, rest_account, rest_orders, rest_public
from engine.venues.sandbox.clock import wall_ms, wall_us
from engine.venues.sandbox.codes import Refusal
from engine.venues.sandbox.endpoint import Call, Endpoint, Table
from engine.venues.sandbox.faults import FaultRule
from engine.venues.sandbox.model import VenueReject
from engine.venues.sandbox.params import Params
from engine.venues.sandbox.venue import PracticeVenue
from engine.venues.sandbox.wire import to_json

FUTURES: Table = rest_public.FUTURES | rest_orders.TABLE | rest_account.TABLE
SPOT: Table = rest_public.SPOT | rest_account.SPOT
ERROR_PAGE = "<html><head><title>Error</title></head><body><h1>{status} {reason}</h1></body></html>"
_OVERLOAD = "Internal error; unable to process your request. Please try again."


class Dispatcher:
    """Answers REST requests on behalf of a venue."""

    def __init__(self, venue: PracticeVenue) -> None:
        self._venue = venue

    async def futures(self, request: web.Request) -> web.StreamResponse:
        """Answer ``/fapi/<version>/<path>``."""
        return await self._answer(request, FUTURES)

    async def spot(self, request: web.Request) -> web.StreamResponse:
        """Answer ``/sapi/api/<version>/<path>``."""
        return await self._answer(request, SPOT)

    async def _answer(self, request: web.Request, table: Table) -> web.StreamResponse:
        path, method = request.match_info["path"], request.method
        raw = await _raw_params(request)
        params = Params.parse(raw)
        endpoint = table.get((method, path))
        headers: dict[str, str] = {}
        try:
            if endpoint is None:
                raise Refusal(-1000, f"No endpoint {method} {request.path}.", 404)
            address = request.remote or "127.0.0.1"
            used = self._venue.limits.use_weight(address, endpoint.cost(params), wall_ms())
            headers["X-MBX-USED-WEIGHT-1M"] = str(used)
            rule = self._venue.faults.for_request(method, path, params.get("symbol"), params.get("user"))
            if rule is not None:
                await self._before(rule, request, address)
            call = self._call(request, endpoint, raw, params)
            body = to_json(self._respond(endpoint, call))
            if call.orders_used is not None:
                headers["X-MBX-ORDER-COUNT-10S"] = str(call.orders_used[0])
                headers["X-MBX-ORDER-COUNT-1M"] = str(call.orders_used[1])
            if rule is not None:
                await self._after(rule, request)
        except Refusal as refusal:
            return _json(refusal.body(), refusal.status, headers | refusal.headers)
        except _Cut:
            # the connection is gone: what is returned here reaches nobody
            return web.Response(status=503)
        except _Page as page:
            text = ERROR_PAGE.format(status=page.status, reason=page.reason)
            return web.Response(text=text, status=page.status, content_type="text/html", headers=headers)
        return _json(body, 200, headers)

    def _call(self, request: web.Request, endpoint: Endpoint, raw: str, params: Params) -> Call:
        account_id = self._authenticate(request, raw) if endpoint.private else ""
        match = request.match_info
        who = request.headers.get("X-MBX-APIKEY") or params.get("signer") or account_id
        may_withdraw = endpoint.private and self._venue.keys.can_withdraw(who)
        wall_s = time.monotonic()
        return Call(self._venue, params, account_id, match["path"], match["version"], wall_s, can_withdraw=may_withdraw)

    def _authenticate(self, request: web.Request, raw: str) -> str:
        keys = self._venue.keys
        api_key = request.headers.get("X-MBX-APIKEY")
        path = request.match_info["path"]
        if api_key:
            if path == "listenKey" and "signature=" not in raw:
                return keys.account_of_key(api_key)
            return keys.verify_hmac(api_key, raw, wall_ms())
        if path == "approveBuilder":
            return keys.verify_builder(raw, wall_us())
        return keys.verify_typed(raw, wall_us())

    def _respond(self, endpoint: Endpoint, call: Call) -> Any:
        try:
            return endpoint.respond(call)
        except VenueReject as reject:
            raise Refusal(reject.code, reject.msg) from None
        finally:
            # what the request caused goes out now, not at the market's next step
            self._venue.pump(self._venue.market_ms)

    async def _before(self, rule: FaultRule, request: web.Request, address: str) -> None:
        action = rule.action
        if action == "delay":
            await asyncio.sleep(rule.delay_ms / 1000)
        elif action == "http_503_before":
            raise Refusal(-1001, _OVERLOAD, 503)
        elif action == "timeout_before":
            await _go_silent(rule, request)
        elif action == "disconnect_before":
            _cut(request)
        elif action == "reject":
            raise Refusal(rule.code)
        elif action == "html_500":
            raise _Page(500, "Internal Server Error")
        elif action == "403":
            raise _Page(403, "Forbidden")
        elif action == "429":
            raise Refusal(codes.TOO_MANY_REQUESTS, None, 429, {"Retry-After": "1"})
        elif action == "418":
            raise self._venue.limits.ban(address, wall_ms(), rule.delay_ms / 1000)

    async def _after(self, rule: FaultRule, request: web.Request) -> None:
        action = rule.action
        if action == "http_503_after":
            raise Refusal(codes.OUTCOME_UNKNOWN, None, 503)
        if action == "unknown_after":
            raise Refusal(rule.code, None, 503)
        if action == "timeout_after":
            await _go_silent(rule, request)
        elif action == "disconnect_after":
            _cut(request)


class _Page(Exception):
    """An answer in HTML, as proxies in front of the venue send it."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class _Cut(Exception):
    """The connection was cut by a fault rule."""


async def _go_silent(rule: FaultRule, request: web.Request) -> None:
    await asyncio.sleep(rule.delay_ms / 1000)
    _cut(request)


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
    raise _Cut


async def _raw_params(request: web.Request) -> str:
    # the raw target, not the parsed URL: a signature covers the bytes as they were sent
    _, _, query = request.raw_path.partition("?")
    body = await request.text() if request.can_read_body else ""
    return f"{query}&{body}" if query and body else query + body


def _json(body: str, status: int, headers: dict[str, str]) -> web.Response:
    return web.Response(text=body, status=status, content_type="application/json", headers=headers)

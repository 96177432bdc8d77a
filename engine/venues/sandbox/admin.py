"""The practice exchange's own endpoints under ``/sandbox``: its books, its clock, its faults, more accounts."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import web

from engine.errors import ConfigError
from engine.venues.sandbox.books import account_books, exchange_totals, grant
from engine.venues.sandbox.clock import wall_ms
from engine.venues.sandbox.codes import Refusal
from engine.venues.sandbox.faults import parse_rules
from engine.venues.sandbox.venue import PracticeVenue
from engine.venues.sandbox.wire import to_json

SLOWEST, FASTEST = 0.1, 3600.0


class Admin:
    """Answers ``/sandbox/...``. There is no signature here: the server listens on loopback only."""

    def __init__(self, venue: PracticeVenue) -> None:
        self._venue = venue

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/sandbox/books", self._books),
            web.get("/sandbox/totals", self._totals),
            web.get("/sandbox/state", self._state),
            web.get("/sandbox/clock", self._clock),
            web.post("/sandbox/clock", self._move_clock),
            web.get("/sandbox/faults", self._faults),
            web.post("/sandbox/faults", self._set_faults),
            web.delete("/sandbox/faults", self._clear_faults),
            web.post("/sandbox/deposit", self._deposit),
            web.post("/sandbox/funding", self._settle_funding),
        ]

    async def _books(self, request: web.Request) -> web.Response:
        account_id = (request.query.get("account") or self._venue.address).lower()
        try:
            return _answer(account_books(self._venue, account_id))
        except Refusal as refusal:
            return _refused(refusal)

    async def _totals(self, request: web.Request) -> web.Response:
        return _answer(exchange_totals(self._venue))

    async def _state(self, request: web.Request) -> web.Response:
        return _answer(self._venue.state())

    async def _clock(self, request: web.Request) -> web.Response:
        venue = self._venue
        return _answer({
            "wall_ms": wall_ms(), "market_ms": venue.market_ms, "due_ms": venue.clock.now_ms(),
            "start_ms": venue.clock.start_ms, "speed": venue.clock.speed,
        })  # fmt: skip

    async def _move_clock(self, request: web.Request) -> web.Response:
        """Move a manual clock by ``advance_ms``, minute by minute, or have a running one go on at ``speed``.

        The answer is the clock, when all of it has happened.
        """
        venue, body = self._venue, await _body(request)
        if isinstance(body, dict) and "speed" in body:
            return await self._pace(request, body["speed"])
        if not venue.options.manual:
            return _answer({"error": "market time runs by itself; only a manual clock can be moved"}, 409)
        try:
            target_ms = venue.market_ms + int(body["advance_ms"])
        except (KeyError, TypeError, ValueError) as error:
            return _answer({"error": f"advance_ms must be a number of milliseconds: {error}"}, 400)
        while not venue.step_to(target_ms) and not venue.market.finished:
            await asyncio.sleep(0)
        return await self._clock(request)

    async def _pace(self, request: web.Request, speed: Any) -> web.Response:
        venue = self._venue
        if venue.options.manual:
            return _answer({"error": "a manual clock has no speed; move it by advance_ms"}, 409)
        if isinstance(speed, bool) or not isinstance(speed, int | float) or not SLOWEST <= speed <= FASTEST:
            return _answer({"error": f"speed is a number from {SLOWEST} to {FASTEST:.0f}, not {speed!r}"}, 400)
        venue.clock.pace(float(speed), venue.market_ms)
        return await self._clock(request)

    async def _faults(self, request: web.Request) -> web.Response:
        return _answer({"rules": self._venue.faults.report()})

    async def _set_faults(self, request: web.Request) -> web.Response:
        """Put rules in force: a list adds, ``{"rules": [...], "replace": true}`` replaces."""
        try:
            body = await _body(request)
            rules = parse_rules(body)
        except (ConfigError, ValueError) as error:
            return _answer({"error": str(error)}, 400)
        if isinstance(body, dict) and body.get("replace"):
            self._venue.faults.clear()
        try:
            self._venue.set_faults(rules)
        except ConfigError as error:
            return _answer({"error": str(error)}, 400)
        return _answer({"rules": self._venue.faults.report()})

    async def _clear_faults(self, request: web.Request) -> web.Response:
        self._venue.faults.clear()
        self._venue.limits.lift_bans()
        return _answer({"rules": []})

    async def _settle_funding(self, request: web.Request) -> web.Response:
        """Settle funding of ``symbol`` now at ``rate``, or of every symbol."""
        venue = self._venue
        try:
            body = await _body(request)
            symbols = [str(body["symbol"]).upper()] if body.get("symbol") else list(venue.symbols)
            rate = float(body["rate"])
            if unknown := sorted(set(symbols) - set(venue.symbols)):
                raise ValueError(f"{', '.join(unknown)} is not listed")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            return _answer({"error": f"the body is {{'rate', 'symbol'}} with rate a number: {error}"}, 400)
        for symbol in symbols:
            venue.exchange.settle_funding(symbol, rate, venue.market_ms)
        venue.pump(venue.market_ms)
        return _answer({"symbols": symbols, "rate": rate})

    async def _deposit(self, request: web.Request) -> web.Response:
        try:
            body = await _body(request)
            if not isinstance(body, dict):
                raise ValueError("the body is a JSON object")
            return _answer(grant(self._venue, body))
        except Refusal as refusal:
            return _refused(refusal)
        except (TypeError, ValueError) as error:
            return _answer({"error": str(error)}, 400)


async def _body(request: web.Request) -> Any:
    return json.loads(await request.text())


def _answer(content: Any, status: int = 200) -> web.Response:
    return web.Response(text=to_json(content), status=status, content_type="application/json")


def _refused(refusal: Refusal) -> web.Response:
    return web.Response(text=refusal.body(), status=refusal.status, content_type="application/json")

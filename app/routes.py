"""Our own addresses beside Streamlit's: the live socket, candles and fills for the chart, health, metrics, JavaScript.

All are read-only and for this site's own pages: a foreign page may neither open the socket nor read a table, also not
through a host name that it points at this machine. Commands go through Streamlit, never through here.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import prometheus_client
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket
from streamlit import config

from app.client import EngineClient, EngineUnavailable
from app.live import Relay
from engine.domain import INTERVAL_S, NS_PER_S

FRONTEND = Path(__file__).with_name("components") / "frontend"
MAX_BARS = 5000
FILL_COLUMNS = ["symbol", "trade_id", "client_id", "decision_id", "qty", "px", "fee", "pnl_realized", "is_maker",
                "ts_filled"]  # fmt: skip
LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


class OwnScripts(StaticFiles):
    """Static files that the browser revalidates each time, so an upgrade never runs with yesterday's script."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """Return the file with a header that asks for revalidation (answered by 304 when unchanged)."""
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = "no-cache"
        return response


def routes(client: EngineClient, relay: Relay) -> list[BaseRoute]:
    """Return the routes to mount beside Streamlit."""

    async def live(websocket: WebSocket) -> None:
        if not is_own_page(websocket):
            await websocket.close(1008)
            return
        await relay.serve(websocket)

    def bars(request: Request) -> Response:
        return _bars(client, request)

    def fills(request: Request) -> Response:
        return _fills(client, request)

    def health(_: Request) -> Response:
        return _health(client)

    def metrics(_: Request) -> Response:
        return Response(
            prometheus_client.generate_latest(relay.registry), media_type=prometheus_client.CONTENT_TYPE_LATEST
        )

    return [
        WebSocketRoute("/live", live),
        Route("/market/bars", bars),
        Route("/market/fills", fills),
        Route("/healthz", health),
        Route("/metrics", metrics),
        Mount("/frontend", OwnScripts(directory=FRONTEND), name="frontend"),
    ]


def is_own_page(connection: HTTPConnection) -> bool:
    """Return whether a request comes from a page of this site, asked for under a name we know."""
    host = connection.headers.get("host", "")
    name = urlsplit(f"//{host}").hostname or ""
    address = config.get_option("server.address")
    allowed = {*LOCAL_HOSTS, *config.get_option("server.allowedHosts"), *([address] if address else [])}
    if name not in allowed and "*" not in allowed:
        return False
    origin = connection.headers.get("origin")
    if origin is not None:
        return urlsplit(origin).netloc == host
    return connection.headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")


def _bars(client: EngineClient, request: Request) -> Response:
    """Candles as ``[[ts_open_s, open, high, low, close, volume], …]``, oldest first."""
    query = request.query_params
    symbol, interval = query.get("symbol", ""), query.get("interval", "1m")
    if not is_own_page(request):
        return JSONResponse({"reason": "Only for pages of this site."}, 403)
    end_s, limit = query.get("end_s", ""), query.get("limit", "1500")
    if not symbol.isalnum() or interval not in INTERVAL_S or not limit.isdigit() or not (end_s or "0").isdigit():
        return JSONResponse({"reason": f"No candles of {interval[:10]!r} for {symbol[:20]!r}."}, 400)
    end_ns = int(end_s) * NS_PER_S if end_s else None
    try:
        table = client.bars(symbol, interval, limit=min(int(limit), MAX_BARS), end_ns=end_ns)
    except EngineUnavailable as error:
        return _unknown(error)
    columns = ("open_px", "high_px", "low_px", "close_px", "volume")
    rows = zip((table["ts_open"] // NS_PER_S).tolist(), *(table[name].tolist() for name in columns), strict=True)
    return JSONResponse([row for row in rows if all(map(math.isfinite, row))])


def _fills(client: EngineClient, request: Request) -> Response:
    """Our newest executions, of one symbol or of all, newest first."""
    symbol = request.query_params.get("symbol") or None
    if not is_own_page(request):
        return JSONResponse({"reason": "Only for pages of this site."}, 403)
    try:
        table = client.fills(symbol=symbol, limit=500)
    except EngineUnavailable as error:
        return _unknown(error)
    return Response(table[FILL_COLUMNS].to_json(orient="records"), media_type="application/json")


def _health(client: EngineClient) -> Response:
    """The screen is up if this answers; the engine's state is in the body."""
    try:
        engine = {"up": True, "phase": client.status()["phase"]}
    except EngineUnavailable as error:
        engine = {"up": False, "reason": error.reason, "since_ms": int(error.since * 1000)}
    return Response(json.dumps({"ui": "ok", "engine": engine}), media_type="application/json")


def _unknown(error: EngineUnavailable) -> Response:
    return JSONResponse({"reason": error.reason, "since_ms": int(error.since * 1000)}, 503)

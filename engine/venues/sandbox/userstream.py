"""The private stream: listen keys, and one account's own events."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from engine.venues.sandbox import codes
from engine.venues.sandbox.codes import Refusal
from engine.venues.sandbox.contracts import Contract
from engine.venues.sandbox.exchange import Exchange
from engine.venues.sandbox.model import (
    AccountEvent,
    AccountView,
    ConfigEvent,
    MarginCallEvent,
    Order,
    OrderEvent,
    PositionView,
)
from engine.venues.sandbox.sockets import Socket, broadcast
from engine.venues.sandbox.views import Json, average_px, side_name, signed_notional, signed_qty
from engine.venues.sandbox.wire import money, to_json, trimmed

USER_STREAM = "user"
"""The name under which fault rules know every private stream."""


@dataclass(slots=True)
class ListenKey:
    """A key that opens an account's private stream until ``expires_s`` (monotonic seconds)."""

    key: str
    account_id: str
    expires_s: float
    sockets: dict[Socket, None] = field(default_factory=dict)


class UserStreams:
    """All private streams.

    Parameters
    ----------
    exchange : Exchange
    contracts : dict of str to Contract
    life_s : float
        Life of a key since its last renewal, wall seconds.
    """

    def __init__(self, exchange: Exchange, contracts: dict[str, Contract], life_s: float) -> None:
        self._exchange = exchange
        self._contracts = contracts
        self._life_s = life_s
        self._keys: dict[str, ListenKey] = {}
        self._of_account: dict[str, ListenKey] = {}
        self._wallets: dict[str, float] = {}

    def open_key(self, account_id: str, now_s: float) -> str:
        """Return the account's key, a new one or the living one extended."""
        entry = self._of_account.get(account_id)
        if entry is None:
            entry = ListenKey(secrets.token_hex(32), account_id, 0.0)
            self._keys[entry.key] = self._of_account[account_id] = entry
        entry.expires_s = now_s + self._life_s
        return entry.key

    def renew(self, account_id: str, now_s: float) -> None:
        """Extend the account's key; -1125 when it has none."""
        entry = self._of_account.get(account_id)
        if entry is None:
            raise Refusal(codes.BAD_LISTEN_KEY)
        entry.expires_s = now_s + self._life_s

    def close_key(self, account_id: str) -> None:
        """Forget the account's key and detach its connections; -1125 when it has none."""
        entry = self._of_account.pop(account_id, None)
        if entry is None:
            raise Refusal(codes.BAD_LISTEN_KEY)
        del self._keys[entry.key]
        for socket in entry.sockets:
            socket.streams.pop(USER_STREAM, None)

    def attach(self, socket: Socket, key: str) -> bool:
        """Let a connection listen with a key. False when there is no such key."""
        entry = self._keys.get(key)
        if entry is None:
            return False
        entry.sockets[socket] = None
        socket.streams[USER_STREAM] = None
        self._wallets.setdefault(entry.account_id, self._exchange.account(entry.account_id).wallet_balance)
        return True

    def forget(self, socket: Socket) -> None:
        """Remove a connection."""
        for entry in self._keys.values():
            entry.sockets.pop(socket, None)

    def expire(self, now_s: float, now_ms: int) -> None:
        """End the keys whose time is up."""
        for entry in [e for e in self._keys.values() if now_s >= e.expires_s]:
            self._end(entry, now_ms)

    def expire_for(self, socket: Socket, now_ms: int) -> None:
        """End the key that a connection uses, as a fault rule asks."""
        for entry in [e for e in self._keys.values() if socket in e.sockets]:
            self._end(entry, now_ms)

    def on_event(self, event: OrderEvent | AccountEvent | MarginCallEvent | ConfigEvent, now_ms: int) -> None:
        """Send an event to its account's connections; costs nothing when there are none."""
        account_id = event.order.account_id if isinstance(event, OrderEvent) else event.account_id
        entry = self._of_account.get(account_id)
        if entry is None or not entry.sockets:
            return
        if isinstance(event, OrderEvent):
            payload = order_payload(event, self._contracts[event.order.symbol], now_ms)
        elif isinstance(event, AccountEvent):
            payload = self._account_payload(event, now_ms)
        elif isinstance(event, MarginCallEvent):
            payload = margin_call_payload(event, self._exchange.account(account_id), self._contracts, now_ms)
        else:
            payload = {
                "e": "ACCOUNT_CONFIG_UPDATE", "E": now_ms, "T": event.time_ms,
                "ac": {"s": event.symbol, "l": event.leverage},
            }  # fmt: skip
        broadcast(entry.sockets, USER_STREAM, to_json(payload))

    def _account_payload(self, event: AccountEvent, now_ms: int) -> Json:
        view = self._exchange.account(event.account_id)
        before = self._wallets.get(event.account_id, view.wallet_balance)
        self._wallets[event.account_id] = view.wallet_balance
        # "balance change except PnL and commission": an ORDER event has only those
        change = 0.0 if event.reason == "ORDER" else view.wallet_balance - before
        wallet = f"{view.wallet_balance:.8f}"
        positions: list[Json] = []
        if event.reason != "FUNDING_FEE":  # cross funding pushes the balance only
            positions = [
                position_payload(view.positions[symbol], self._contracts[symbol])
                for symbol in event.symbols
                if symbol in view.positions
            ]
        return {
            "e": "ACCOUNT_UPDATE",
            "E": now_ms,
            "T": event.time_ms,
            "a": {
                "m": event.reason,
                "B": [{"a": "USDT", "wb": wallet, "cw": wallet, "bc": f"{change:.8f}"}],
                "P": positions,
            },
        }

    def _end(self, entry: ListenKey, now_ms: int) -> None:
        broadcast(entry.sockets, USER_STREAM, to_json({"e": "listenKeyExpired", "E": now_ms, "listenKey": entry.key}))
        for socket in entry.sockets:
            socket.streams.pop(USER_STREAM, None)
        self._keys.pop(entry.key, None)
        self._of_account.pop(entry.account_id, None)


def position_payload(position: PositionView, contract: Contract) -> Json:
    """Return a position as ACCOUNT_UPDATE shows it."""
    return {
        "s": position.symbol,
        "pa": signed_qty(position, contract),
        "ep": trimmed(position.entry_px) if position.qty else "0",
        "up": f"{position.unrealized:.8f}",
        "mt": "isolated" if position.margin_type.upper() == "ISOLATED" else "cross",
        "iw": "0",
        "ps": "BOTH",
    }


def margin_call_payload(
    event: MarginCallEvent, account: AccountView, contracts: dict[str, Contract], now_ms: int
) -> Json:
    """Return a MARGIN_CALL."""
    rows = []
    for symbol in event.symbols:
        position = account.positions.get(symbol)
        if position is not None and position.qty:
            rows.append({
                "s": symbol, "ps": "BOTH", "pa": signed_qty(position, contracts[symbol]), "mt": "CROSSED", "iw": "0",
                "mp": trimmed(position.mark_px), "up": f"{position.unrealized:.8f}",
                "mm": f"{position.maint_margin:.8f}", "n": f"{signed_notional(position):.8f}",
            })  # fmt: skip
    return {"e": "MARGIN_CALL", "E": now_ms, "cw": f"{account.wallet_balance:.8f}", "p": rows}


def order_payload(event: OrderEvent, contract: Contract, now_ms: int) -> Json:
    """Return an ORDER_TRADE_UPDATE."""
    order: Order = event.order
    body: Json = {
        "s": order.symbol,
        "c": order.client_order_id,
        "S": side_name(order.side),
        "o": order.type,
        "f": order.tif,
        "q": contract.qty_text(order.orig_lots),
        "p": contract.price_text(order.price_tick),
        "ap": average_px(order, contract),
        "sp": contract.price_text(order.stop_tick),
        "x": event.execution_type,
        "X": order.status,
        "i": order.order_id,
        "l": contract.qty_text(event.last_lots),
        "z": contract.qty_text(order.executed_lots),
        "L": contract.price_text(event.last_tick),
        "N": "USDT",
        "n": money(event.commission_q),
        "T": event.time_ms,
        "t": event.trade_id,
        "b": "0",
        "a": "0",
        "m": event.is_maker,
        "R": order.reduce_only,
        "wt": order.working_type,
        "ot": order.orig_type,
        "ps": order.position_side,
        "cp": order.close_position,
        "rp": money(event.realized_q),
        "pP": order.price_protect,
    }
    if order.orig_type == "TRAILING_STOP_MARKET":
        body["AP"] = contract.price_text(order.activation_tick)
        body["cr"] = trimmed(order.callback_rate)
    return {"e": "ORDER_TRADE_UPDATE", "E": now_ms, "T": event.time_ms, "o": body}

"""Request weight per address and new orders per account, over the venue's fixed windows."""

from __future__ import annotations

from dataclasses import dataclass

from engine.venues.sandbox import codes
from engine.venues.sandbox.codes import Refusal
from engine.venues.sandbox.options import SandboxOptions

MINUTE_MS = 60_000
TEN_SECONDS_MS = 10_000
LONGEST_BAN_S = 3 * 86_400


@dataclass(slots=True)
class _Window:
    length_ms: int
    index: int = -1
    count: int = 0

    def add(self, now_ms: int, count: int) -> int:
        index = now_ms // self.length_ms
        if index != self.index:
            self.index, self.count = index, 0
        self.count += count
        return self.count


@dataclass(slots=True)
class _Address:
    weight: _Window
    refused: _Window
    banned_until_ms: int = 0
    bans: int = 0


class RateLimits:
    """Counts what clients use and refuses what is too much. Time is the wall clock in milliseconds."""

    def __init__(self, options: SandboxOptions) -> None:
        self._options = options
        self._addresses: dict[str, _Address] = {}
        self._orders: dict[str, tuple[_Window, _Window]] = {}

    def use_weight(self, address: str, weight: int, now_ms: int) -> int:
        """Count a request and return the weight used in this minute.

        Raises
        ------
        Refusal
            HTTP 429 above the limit; HTTP 418 while the address is banned. Both carry code -1003.
        """
        entry = self._addresses.get(address)
        if entry is None:
            entry = self._addresses[address] = _Address(_Window(MINUTE_MS), _Window(MINUTE_MS))
        if now_ms < entry.banned_until_ms:
            raise banned(entry.banned_until_ms, now_ms)
        used = entry.weight.add(now_ms, weight)
        if used <= self._options.weight_limit:
            return used
        if entry.refused.add(now_ms, 1) > self._options.refusals_to_ban:
            length_s = min(self._options.ban_s * 2**entry.bans, LONGEST_BAN_S)
            entry.bans += 1
            entry.banned_until_ms = now_ms + int(length_s * 1000)
            raise banned(entry.banned_until_ms, now_ms)
        raise too_many(self._options.weight_limit, now_ms)

    def ban(self, address: str, now_ms: int, length_s: float) -> Refusal:
        """Ban an address and return the refusal to send, as a fault rule asks."""
        entry = self._addresses.setdefault(address, _Address(_Window(MINUTE_MS), _Window(MINUTE_MS)))
        entry.banned_until_ms = now_ms + int(length_s * 1000)
        return banned(entry.banned_until_ms, now_ms)

    def weight_used(self, address: str, now_ms: int) -> int:
        """Return the weight that an address has used in this minute."""
        entry = self._addresses.get(address)
        return entry.weight.add(now_ms, 0) if entry else 0

    def use_orders(self, account_id: str, count: int, now_ms: int) -> tuple[int, int]:
        """Count new orders and return how many the account has sent in this 10 s and in this minute.

        Raises
        ------
        Refusal
            Code -1015 above a limit.
        """
        windows = self._orders.get(account_id)
        if windows is None:
            windows = self._orders[account_id] = (_Window(TEN_SECONDS_MS), _Window(MINUTE_MS))
        in_10s, in_1m = windows[0].add(now_ms, count), windows[1].add(now_ms, count)
        options = self._options
        if in_10s > options.order_limit_10s:
            raise Refusal(codes.TOO_MANY_ORDERS, _too_many_orders(options.order_limit_10s, "10 SECOND"))
        if in_1m > options.order_limit_1m:
            raise Refusal(codes.TOO_MANY_ORDERS, _too_many_orders(options.order_limit_1m, "1 MINUTE"))
        return in_10s, in_1m

    def lift_bans(self) -> None:
        """Forget all bans and counts."""
        self._addresses.clear()
        self._orders.clear()


def banned(until_ms: int, now_ms: int) -> Refusal:
    """Return the HTTP 418 refusal of a banned address."""
    text = (
        f"Way too many requests; IP banned until {until_ms}. Please use the websocket for live updates to avoid bans."
    )
    seconds = max(1, -(-(until_ms - now_ms) // 1000))
    return Refusal(codes.TOO_MANY_REQUESTS, text, 418, {"Retry-After": str(seconds)})


def too_many(limit: int, now_ms: int) -> Refusal:
    """Return the HTTP 429 refusal of an address that has used up its minute."""
    text = f"Too many requests; current limit is {limit} request weight per 1 MINUTE."
    seconds = max(1, -(-(MINUTE_MS - now_ms % MINUTE_MS) // 1000))
    return Refusal(codes.TOO_MANY_REQUESTS, text, 429, {"Retry-After": str(seconds)})


def _too_many_orders(limit: int, window: str) -> str:
    return f"Too many new orders; current limit is {limit} orders per {window}."

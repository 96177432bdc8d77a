"""The checks before live trading: what was found, what is expected, what to do. Unknown is never green."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from engine.controls.credentials import KIND_WORDS
from engine.domain import Instrument
from engine.settings import SystemConfig

CLOCK_LIMIT_MS = 2_000.0
FREE_DISK_BYTES = 1 << 30
NO_LIMITS = " (ema-cross, the yardstick, has no limits on the book)"


class Item(NamedTuple):
    """One line of the checklist."""

    name: str
    ok: bool
    found: str
    expected: str
    remedy: str

    @property
    def row(self) -> dict[str, Any]:
        """The line as screens and programs take it; ``detail`` is its sentence."""
        detail = self.found if self.ok else f"Found: {self.found}. Expected: {self.expected}. {self.remedy}"
        return {
            "name": self.name, "ok": self.ok, "detail": detail, "found": self.found, "expected": self.expected,
            "remedy": "" if self.ok else self.remedy,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class LocalFacts:
    """What this machine and its record show.

    Parameters
    ----------
    free_disk_bytes : int or None
    write_trouble : str or None
        Why a durable write failed; None when one has just worked.
    drill_ok : bool
        Whether the drills on record allow live trading.
    drill_detail : str
        The sentence that says why.
    rung : str
        Title of the capital ladder's rung that the record reaches.
    capital_share : float
        Fraction of the configured limits that this rung allows, 0 to 1.
    kill_level : int
        Kill switch level kept on record.
    missing : tuple of str
        Conditions that the next rung still lacks, by name.
    """

    free_disk_bytes: int | None
    write_trouble: str | None
    drill_ok: bool
    drill_detail: str
    rung: str
    capital_share: float
    kill_level: int
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VenueFacts:
    """What the venue answered for the account that is to trade; None where it did not.

    Parameters
    ----------
    clock_skew_ms : float or None
        Venue minus here.
    instruments : dict or None
    equity : float or None
        USDT, unrealised profit included.
    n_orders, n_positions : int or None
        Open at the venue now.
    kind : str
        Kind of the credential.
    can_trade, can_withdraw, is_hedge_mode, is_multi_asset : bool or None
    leverage : dict or None
        Leverage set at the venue, by symbol.
    mark_px : dict or None
    troubles : tuple of str
        What could not be read.
    """

    clock_skew_ms: float | None
    instruments: dict[str, Instrument] | None
    equity: float | None
    n_orders: int | None
    n_positions: int | None
    kind: str
    can_trade: bool | None
    can_withdraw: bool | None
    is_hedge_mode: bool | None
    is_multi_asset: bool | None
    leverage: dict[str, int] | None
    mark_px: dict[str, float] | None
    troubles: tuple[str, ...] = ()


def local_items(facts: LocalFacts, config: SystemConfig) -> list[Item]:
    """Judge this machine, its record and the settings."""
    lacking = f"; the next rung lacks {', '.join(facts.missing)}" if facts.missing else ""
    return [
        _disk(facts.free_disk_bytes),
        Item(
            "Record writable", facts.write_trouble is None, facts.write_trouble or "a write that reached the disk",
            "a write that reaches the disk", "Free disk space, or choose another folder with --data-dir.",
        ),
        Item(
            "Kill switch rehearsed", facts.drill_ok, facts.drill_detail.rstrip("."),
            "a drill of flatten that passed lately",
            "Drills run on the Health page.",
        ),
        Item(
            "Capital ladder", facts.capital_share > 0,
            f"rung {facts.rung}: {facts.capital_share:.0%} of the configured limits{lacking}",
            "a rung that allows live trading",
            "Meet the rung's conditions on the Health page, or override there with a reason.",
        ),
        _kill_switch(facts.kill_level),
        Item(
            "Loss limits on", config.every_gate_on,
            f"daily loss {_on(config.use_gate_daily_loss)}, drawdown {_on(config.use_gate_drawdown)}, "
            f"book {_on(config.book_limits_on)}" + (NO_LIMITS if config.strategy == "ema-cross" else ""), "all on",
            "Switch them on on the Settings page, and choose a strategy other than ema-cross.",
        ),
        Item(
            "Protective stops on", config.use_protective_stops, _on(config.use_protective_stops), "on",
            "Switch them on on the Settings page.",
        ),
    ]  # fmt: skip


def venue_items(facts: VenueFacts, config: SystemConfig) -> list[Item]:
    """Judge the account, the key and the contracts."""
    return [
        _clock(facts.clock_skew_ms),
        _withdrawal(facts),
        _flag("May trade", facts.can_trade, True, "the right to trade", "no right to trade",
              "Give the key the right to trade perpetual futures.", facts),
        _flag("One-way position mode", facts.is_hedge_mode, False, "one-way mode", "hedge mode",
              "Close all positions at the venue and switch to one-way mode.", facts),
        _flag("Single-asset margin", facts.is_multi_asset, False, "single-asset mode", "multi-asset mode",
              "Switch the account to single-asset mode: other collateral is not modelled.", facts),
        _filters(facts, config),
        _leverage(facts, config),
        _balance(facts, config),
        _readable(facts),
    ]  # fmt: skip


def _disk(free: int | None) -> Item:
    found = "unknown" if free is None else f"{free / 1e9:.1f} GB free"
    return Item(
        "Disk", free is not None and free >= FREE_DISK_BYTES, found, f"at least {FREE_DISK_BYTES / 1e9:.1f} GB free",
        "Free space on the data folder's disk.",
    )  # fmt: skip


def _kill_switch(level: int) -> Item:
    # green at every level: the engine starts with the level on record, and only a running engine can be resumed
    found = "released" if level == 0 else f"level {level} on record: the engine starts with it and opens nothing"
    return Item("Kill switch", True, found, "known", "")


def _clock(skew_ms: float | None) -> Item:
    found = "no answer" if skew_ms is None else f"{skew_ms:+.0f} ms against the venue"
    ok = skew_ms is not None and abs(skew_ms) <= CLOCK_LIMIT_MS
    return Item("Clock", ok, found, f"within {CLOCK_LIMIT_MS:.0f} ms", "Synchronise this machine's clock (NTP).")


def _withdrawal(facts: VenueFacts) -> Item:
    words = KIND_WORDS.get(facts.kind, facts.kind)
    expected = "a key that cannot move money out"
    if facts.can_withdraw is None:
        return Item("No withdrawal right", False, f"{words} whose rights are unknown{_because(facts)}", expected,
                    "Check at the venue that the agent is approved, then try again.")  # fmt: skip
    if facts.can_withdraw:
        found = f"{words}, which can withdraw"
        return Item("No withdrawal right", False, found, expected,
                    "Create an agent without withdrawal right at the venue and store its key instead.")  # fmt: skip
    return Item("No withdrawal right", True, f"{words} that cannot withdraw", expected, "")


def _flag(
    name: str, value: bool | None, wanted: bool, good: str, bad: str, remedy: str, facts: VenueFacts
) -> Item:  # fmt: skip
    found = f"no answer{_because(facts)}" if value is None else good if value is wanted else bad
    return Item(name, value is wanted, found, good, remedy)


def _filters(facts: VenueFacts, config: SystemConfig) -> Item:
    expected = "every configured symbol listed with its filters"
    if facts.instruments is None:
        return Item("Contract rules", False, f"no answer{_because(facts)}", expected, "Try again.")
    bad = [
        symbol for symbol in config.symbols
        if (rules := facts.instruments.get(symbol)) is None
        or not all(value > 0 for value in (rules.tick_size, rules.lot_size, rules.min_qty, rules.min_notional))
    ]  # fmt: skip
    found = f"{len(config.symbols)} symbols with filters" if not bad else f"not usable: {', '.join(bad)}"
    return Item("Contract rules", not bad, found, expected, f"Take {', '.join(bad)} off the symbols in Settings.")


def _leverage(facts: VenueFacts, config: SystemConfig) -> Item:
    expected = f"room for {config.max_leverage:g}× equity in every symbol"
    if facts.instruments is None or facts.leverage is None:
        return Item("Leverage", False, f"no answer{_because(facts)}", expected, "Try again.")
    known = [symbol for symbol in config.symbols if symbol in facts.instruments]
    over = [s for s in known if facts.instruments[s].max_leverage < config.max_leverage]
    low = [s for s in known if facts.leverage.get(s, 0) < config.max_leverage and s not in over]
    parts = [f"the venue allows less in {', '.join(over)}"] if over else []
    parts += [f"set too low at the venue for {', '.join(low)}"] if low else []
    remedy = f"Lower the leverage limit in Settings, or set at least {math.ceil(config.max_leverage)}× at the venue."
    return Item("Leverage", not parts and bool(known), "; ".join(parts) or expected, expected, remedy)


def smallest_useful_equity(
    config: SystemConfig, instruments: dict[str, Instrument], mark_px: dict[str, float]
) -> float | None:  # fmt: skip
    """Return the equity, USDT, at which each symbol's cap buys its smallest order; None when a price is missing."""
    needed = 0.0
    for symbol in config.symbols:
        rules, px = instruments.get(symbol), mark_px.get(symbol)
        if rules is None:
            continue
        if px is None or not px > 0:
            return None
        needed = max(needed, rules.min_notional, rules.min_qty * px)
    return needed / config.max_symbol_weight


def _balance(facts: VenueFacts, config: SystemConfig) -> Item:
    needed = None
    if facts.instruments is not None and facts.mark_px is not None:
        needed = smallest_useful_equity(config, facts.instruments, facts.mark_px)
    expected = "equity for each symbol's smallest order" + ("" if needed is None else f": {needed:,.2f} USDT")
    if facts.equity is None or needed is None:
        return Item("Balance", False, f"no answer{_because(facts)}", expected, "Try again.")
    ok = facts.equity >= needed and facts.equity > 0
    return Item("Balance", ok, f"{facts.equity:,.2f} USDT", expected, "Deposit, or trade fewer or cheaper symbols.")


def _readable(facts: VenueFacts) -> Item:
    if facts.n_orders is None or facts.n_positions is None:
        return Item("Account readable", False, f"no answer{_because(facts)}", "open orders and positions", "Try again.")
    found = (
        f"{facts.n_orders} open orders, {facts.n_positions} positions; compared with our record at start, "
        "and nothing is opened before they agree"
    )
    return Item("Account readable", True, found, "open orders and positions", "")


def _because(facts: VenueFacts) -> str:
    return f" ({'; '.join(facts.troubles)})" if facts.troubles else ""


def _on(value: bool) -> str:
    return "on" if value else "off"

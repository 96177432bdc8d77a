"""Faults on demand: rules that make the exchange late, deaf, forgetful or rude, so that a client can prove itself.

A rule is ``{"action", "match", "probability", "count", "skip", "delay_ms", "after_s", "every_s"}``, of a crash also
``{"move", "over_s", "depth"}``; only ``action`` is needed. ``docs/sandbox.md`` lists the actions. The dice are seeded.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from engine.errors import ConfigError

REQUEST_ACTIONS = frozenset({
    "delay", "http_503_before", "http_503_after", "timeout_before", "timeout_after", "disconnect_before",
    "disconnect_after", "html_500", "403", "418", "429",
})  # fmt: skip
CODE_ACTIONS = frozenset({"reject", "unknown_after"})
SOCKET_ACTIONS = frozenset({"drop_ws", "close_ws", "mute_ws", "expire_listen_key"})
MESSAGE_ACTIONS = frozenset({"duplicate_ws", "lose_ws", "swap_ws"})
MARKET_ACTIONS = frozenset({"crash"})
FOREVER = -1

_FIELDS = frozenset({"action", "match", "probability", "count", "skip", "delay_ms", "after_s", "every_s"})
CRASH = {"move": -0.3, "over_s": 300.0, "depth": 0.25}
"""What a crash is when its rule does not say: three tenths of the price in five minutes, a quarter of the book left."""

_MATCHES = frozenset({"method", "path", "symbol", "account", "stream"})


@dataclass(slots=True)
class FaultRule:
    """One rule.

    Parameters
    ----------
    action : str
        What happens, without its code.
    code : int
        Venue error code of ``reject:<code>`` and ``unknown_after:<code>``, else 0.
    match : dict of str to str
        Shell patterns on ``method``, ``path``, ``symbol``, ``account`` (requests) or ``stream`` (sockets; a user stream
        is called ``user``). An absent key matches everything.
    probability : float
        Chance per match.
    count : int
        How often the rule may still act; -1 for ever.
    skip : int
        Matches that are let through first.
    delay_ms : float
        Length of ``delay`` and of the silence of the timeouts.
    after_s, every_s : float
        Socket rules only: first and further moments, in wall seconds since the rule was set. Of a crash, ``after_s``
        counts market seconds.
    move, over_s, depth : float
        Crash only: change of the fair values as a fraction, the market seconds it takes, and what is left of the
        makers' quantities meanwhile.
    """

    action: str
    code: int = 0
    match: dict[str, str] = field(default_factory=dict)
    probability: float = 1.0
    count: int = FOREVER
    skip: int = 0
    delay_ms: float = 0.0
    after_s: float = 0.0
    every_s: float = 1.0
    move: float = 0.0
    over_s: float = 0.0
    depth: float = 1.0
    next_s: float = 0.0
    acted: int = 0

    def matches(self, facts: Mapping[str, str | None]) -> bool:
        """Whether the rule still has work to do and its patterns fit."""
        if self.count == 0:
            return False
        return all(fnmatchcase(str(facts.get(key) or ""), pattern) for key, pattern in self.match.items())


def parse_rule(entry: Any) -> FaultRule:
    """Return the rule that a JSON object describes.

    Raises
    ------
    ConfigError
        Unknown field, unknown action or a number out of range.
    """
    if not isinstance(entry, dict) or "action" not in entry:
        raise ConfigError(f"a fault rule is an object with an action, not {entry!r}")
    name, _, suffix = str(entry["action"]).partition(":")
    code = _parse_action(name, suffix)
    known = _FIELDS | set(CRASH) if name in MARKET_ACTIONS else _FIELDS
    if unknown := set(entry) - known:
        raise ConfigError(f"fault rule has unknown fields {sorted(unknown)}; known are {sorted(known)}")
    match = entry.get("match") or {}
    if not isinstance(match, dict) or set(match) - _MATCHES:
        raise ConfigError(f"fault rule matches on {match!r}; known keys are {sorted(_MATCHES)}")
    probability = float(entry.get("probability", 1.0))
    if not 0.0 <= probability <= 1.0:
        raise ConfigError(f"fault probability {probability} is not within 0 and 1")
    # a socket rule without a count would close every new connection for ever, which is rarely meant
    default_count = 1 if name in SOCKET_ACTIONS | MARKET_ACTIONS else FOREVER
    default_delay = 30_000.0 if name.startswith("timeout") else 1_000.0
    rule = FaultRule(
        action=name,
        code=code,
        match={key: str(pattern) for key, pattern in match.items()},
        probability=probability,
        count=int(entry.get("count", default_count)),
        skip=int(entry.get("skip", 0)),
        delay_ms=float(entry.get("delay_ms", default_delay)),
        after_s=float(entry.get("after_s", 0.0)),
        every_s=float(entry.get("every_s", 1.0)),
    )
    return _crash(rule, entry) if name in MARKET_ACTIONS else rule


def _crash(rule: FaultRule, entry: dict[str, Any]) -> FaultRule:
    found = {name: float(entry.get(name, usual)) for name, usual in CRASH.items()}
    if not (-0.95 <= found["move"] <= 5.0 and 0.1 <= found["over_s"] <= 86_400.0 and 0.01 <= found["depth"] <= 1.0):
        raise ConfigError(
            f"a crash has a move from -0.95 to 5, over_s from 0.1 to 86400 and depth from 0.01 to 1, not {found}"
        )
    return replace(rule, move=found["move"], over_s=found["over_s"], depth=found["depth"])


def _parse_action(name: str, suffix: str) -> int:
    if name in CODE_ACTIONS:
        try:
            code = int(suffix)
        except ValueError:
            raise ConfigError(f"fault action {name!r} needs a venue code, as in {name}:-2010") from None
        if code >= 0:
            raise ConfigError(f"venue codes are negative, not {code}")
        return code
    plain = REQUEST_ACTIONS | SOCKET_ACTIONS | MESSAGE_ACTIONS | MARKET_ACTIONS
    if name not in plain or suffix:
        known = sorted(plain | CODE_ACTIONS)
        raise ConfigError(f"fault action {name!r} is not one of {known}")
    return 0


def load_rules(path: str | Path) -> list[FaultRule]:
    """Read a faults file: a JSON list of rules, or an object with the list under ``rules``."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"faults file {path} cannot be read: {error}") from error
    return parse_rules(content)


def parse_rules(content: Any) -> list[FaultRule]:
    """Return the rules of a decoded faults file."""
    entries = content.get("rules") if isinstance(content, dict) else content
    if not isinstance(entries, list):
        raise ConfigError("faults are a JSON list of rules, or an object with the list under 'rules'")
    return [parse_rule(entry) for entry in entries]


class FaultPlan:
    """The rules in force and the dice that decide.

    Parameters
    ----------
    seed : int
        Fixes the dice.
    """

    def __init__(self, rules: Iterable[FaultRule] = (), seed: int = 0) -> None:
        self.rules: list[FaultRule] = []
        self._dice = random.Random(seed)
        self.add(rules, 0.0)

    def add(self, rules: Iterable[FaultRule], now_s: float) -> None:
        """Put more rules in force. ``now_s`` is any monotonic clock, the one that ``for_socket`` gets."""
        for rule in rules:
            rule.next_s = now_s + rule.after_s
            self.rules.append(rule)

    def clear(self) -> None:
        """Forget all rules."""
        self.rules.clear()

    def for_request(self, method: str, path: str, symbol: str | None, account: str | None) -> FaultRule | None:
        """Return the rule that acts on this request, if any. The first one wins."""
        if not self.rules:
            return None
        facts = {"method": method, "path": path, "symbol": symbol, "account": account}
        return self._first(REQUEST_ACTIONS | CODE_ACTIONS, facts)

    def for_message(self, stream: str) -> FaultRule | None:
        """Return the rule that acts on an outgoing stream message, if any."""
        if not self.rules:
            return None
        return self._first(MESSAGE_ACTIONS, {"stream": stream})

    def for_socket(self, streams: Iterable[str], now_s: float) -> FaultRule | None:
        """Return the rule that now acts on a connection that carries ``streams``, if any."""
        for rule in self.rules:
            if rule.action not in SOCKET_ACTIONS or now_s < rule.next_s:
                continue
            if any(rule.matches({"stream": stream}) for stream in streams):
                rule.next_s = now_s + rule.every_s
                if self._acts(rule):
                    return rule
        return None

    def for_market(self, symbols: Iterable[str]) -> list[tuple[FaultRule, list[str]]]:
        """Return the crashes that have not begun, each with the symbols it is meant for, and count them as acted."""
        found = []
        for rule in self.rules:
            if rule.action in MARKET_ACTIONS and rule.count != 0:
                hit = [symbol for symbol in symbols if rule.matches({"symbol": symbol})]
                rule.count = 0
                rule.acted += bool(hit)
                found.append((rule, hit))
        return found

    def report(self) -> list[dict[str, Any]]:
        """Return each rule with how often it has acted."""
        return [
            {
                "action": f"{rule.action}:{rule.code}" if rule.code else rule.action,
                "match": rule.match,
                "probability": rule.probability,
                "left": rule.count,
                "acted": rule.acted,
            }
            for rule in self.rules
        ]

    def _first(self, actions: frozenset[str], facts: Mapping[str, str | None]) -> FaultRule | None:
        for rule in self.rules:
            if rule.action in actions and rule.matches(facts) and self._acts(rule):
                return rule
        return None

    def _acts(self, rule: FaultRule) -> bool:
        if rule.skip > 0:
            rule.skip -= 1
            return False
        if rule.probability < 1.0 and self._dice.random() >= rule.probability:
            return False
        if rule.count > 0:
            rule.count -= 1
        rule.acted += 1
        return True

"""What the gate clipped and refused today, counted from the decision records; only new records are read each time."""

from __future__ import annotations

import threading
from typing import Any

import orjson

from engine.domain import NS_PER_DAY, RULE_SENTENCE, Rule, Verdict
from storage.database import Database

ECONOMY = frozenset({"REBALANCE_BAND", "VENUE_FILTER"})
"""Rules that spare costs or round to lots: they are counted apart, because they keep nobody from a risk."""

MOST_RECORDS = 5_000  # read at a time: a day of minutes has 1,440


class Objections:
    """Today's objections (UTC, by the bars' close) of one account.

    Parameters
    ----------
    store : Database
    began_ns : int
        Decisions made before belong to an earlier account.
    """

    def __init__(self, store: Database, began_ns: int) -> None:
        self._store, self.began_ns = store, began_ns
        self._lock = threading.Lock()
        self._day = self._last_id = -1
        self._counted: dict[tuple[str, str, int], dict[str, Any]] = {}
        self._decisions = self._economy = 0
        self.newest: dict[str, Any] | None = None  # the newest decision's row, its detail parsed

    def today(self) -> dict[str, Any]:
        """Return today's objections: ``day`` ns, ``decisions``, ``economy`` (too small to trade) and ``rows``.

        A row is one rule on one symbol: ``rule, symbol, verdict, count, measured, limit, ts, sentence``, the newest
        numbers, refusals before clips, then by count.
        """
        with self._lock:
            self._read_on()
            rows = sorted(self._counted.values(), key=lambda row: (-row["verdict"], -row["count"], row["symbol"]))
            return {
                "day": None if self._day < 0 else self._day * NS_PER_DAY, "decisions": self._decisions,
                "economy": self._economy, "rows": [dict(row) for row in rows],
            }  # fmt: skip

    def _read_on(self) -> None:
        if self._day < 0:  # the newest decision says which day it is
            newest = self._store.rows(
                "SELECT max(ts_close) AS ts FROM decisions WHERE ts_decided >= ?", [self.began_ns]
            )
            if newest[0]["ts"] is None:
                return
            self._day = newest[0]["ts"] // NS_PER_DAY
        while True:
            rows = self._store.rows(
                "SELECT decision_id, ts_close, ts_decided, summary, detail FROM decisions WHERE ts_decided >= ? AND "
                "ts_close >= ? AND decision_id > ? ORDER BY decision_id LIMIT ?",
                [self.began_ns, self._day * NS_PER_DAY, self._last_id, MOST_RECORDS],
            )
            for row in rows:
                self._count(row)
            if len(rows) < MOST_RECORDS:
                return

    def _count(self, row: dict[str, Any]) -> None:
        detail = orjson.loads(row["detail"])
        day = row["ts_close"] // NS_PER_DAY
        if day > self._day:
            self._day, self._decisions, self._economy = day, 0, 0
            self._counted.clear()
        self._last_id = row["decision_id"]
        self._decisions += 1
        self.newest = row | {"detail": detail}
        for index, symbol in enumerate(detail["symbols"]):
            for rule in Rule:
                verdict = _of(detail["verdict"][index], rule) or 0
                if verdict == Verdict.PASS:
                    continue
                if rule.name in ECONOMY:
                    self._economy += 1
                    continue
                found = self._counted.setdefault(
                    (rule.name, symbol, verdict),
                    {"rule": rule.name, "symbol": symbol, "verdict": verdict, "count": 0,
                     "sentence": RULE_SENTENCE[rule]},
                )  # fmt: skip
                found["count"] += 1
                found["ts"] = row["ts_close"]
                found["measured"] = _of(detail["measured"][index], rule)
                found["limit"] = _of(detail["limit"][index], rule)


def _of(values: list[Any], rule: Rule) -> Any:
    """Return a rule's entry; None in the record of a version that did not know the rule."""
    return values[rule] if len(values) > rule else None

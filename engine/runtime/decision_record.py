"""The record of a decision: what it saw, what each rule said, and why not where nothing was done. Pure.

It is written before anything is sent, so it is on the way of every order: whole arrays go into the JSON as they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from engine.domain import F8, RULE_ORDER, RULE_SENTENCE, AccountView, Decision, MarketSlice, Rule, Verdict
from engine.settings import SystemConfig

_SENTENCES = [RULE_SENTENCE[rule] for rule in Rule]


def decision_detail(
    decision: Decision,
    market: MarketSlice,
    view: AccountView,
    symbols: Sequence[str],
    config: SystemConfig,
    held: Mapping[str, str],
    extra: Mapping[str, Any] | None = None,
) -> str:
    """Return the JSON record of a decision: inputs, weights, verdicts and why nothing was done where nothing was.

    ``held`` gives the reason for symbols that something besides the gate keeps where they are, ``extra`` what
    else belongs on the record. NaN is null.
    """
    sentences = reasons(decision)
    idle = {
        symbol: held.get(symbol) or sentences[index]
        for index, symbol in enumerate(symbols)
        if not decision.act[index]
    }  # fmt: skip
    return orjson.dumps(
        {
            "symbols": list(symbols),
            "close_px": _plain(market.close_px),
            "raw_weight": _plain(decision.raw_weight),
            "sized_weight": _plain(decision.sized_weight),
            "approved_weight": _plain(decision.approved_weight),
            "position_qty": _plain(view.position_qty),
            "in_flight_qty": _plain(view.in_flight_qty),
            "target_qty": _plain(decision.target_qty),
            "act": np.asarray(decision.act).astype(np.int64),
            "verdict": np.asarray(decision.verdict).astype(np.int64),
            "measured": _plain(decision.measured),
            "limit": _plain(decision.limit),
            "inputs": {
                "ts_close": int(market.ts_close),
                "open_px": _plain(market.open_px),
                "high_px": _plain(market.high_px),
                "low_px": _plain(market.low_px),
                "volume": _plain(market.volume),
                "age_s": _plain(market.age_s),
                "hour_notional": _plain(market.hour_notional),
                "mark_px": _plain(view.mark_px),
                "entry_px": _plain(view.entry_px),
                "cash": float(view.cash),
                "trading_state": int(view.trading_state),
            },
            "params": orjson.Fragment(config.model_dump_json()),
            "why_not": idle,
            **(extra or {}),
        },
        option=orjson.OPT_SERIALIZE_NUMPY,
    ).decode()


def reasons(decision: Decision) -> list[str]:
    """Return for each symbol the sentence of the first rule that kept it from being traded."""
    verdict = np.asarray(decision.verdict)
    objects = verdict != Verdict.PASS
    # rounding to the venue's lots is no reason by itself
    objects[:, Rule.VENUE_FILTER] = verdict[:, Rule.VENUE_FILTER] == Verdict.REFUSE
    first = np.array(RULE_ORDER)[objects[:, RULE_ORDER].argmax(axis=1)].tolist()
    any_objects = objects.any(axis=1).tolist()
    no_opinion = np.isnan(decision.raw_weight).tolist()
    found = []
    for index, rule in enumerate(first):
        if any_objects[index]:
            measured, limit = float(decision.measured[index, rule]), float(decision.limit[index, rule])
            numbers = f" Measured {measured:.4g}, limit {limit:.4g}." if math.isfinite(measured + limit) else ""
            found.append(_SENTENCES[rule] + numbers)
        elif no_opinion[index]:
            found.append("The sleeve has no opinion yet.")
        else:
            found.append("The position already is what the decision wants.")
    return found


def summary(decision: Decision, symbols: Sequence[str]) -> str:
    """Return one line for lists: what is to change, or the commonest reason why nothing is."""
    moves = [
        f"{symbol} {decision.approved_weight[index]:+.3f}"
        for index, symbol in enumerate(symbols)
        if decision.act[index]
    ]
    if moves:
        return "→ " + ", ".join(moves)
    sentences = reasons(decision)
    commonest = max(sorted(set(sentences)), key=sentences.count)
    return f"No trade. {commonest.split(' Measured')[0]}"


def _plain(values: F8) -> F8:
    return np.ascontiguousarray(values, dtype=np.float64)

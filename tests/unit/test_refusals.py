"""What the order path says: no refusal is a bare "no", and those that matter most name found, expected and to do."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from engine.runtime import sentences

ROOT = Path(__file__).resolve().parents[2]
ORDER_PATH = (
    *("engine/runtime/" + name for name in (
        "executor", "commands", "kill", "reconcile", "engine", "loop", "guards", "doubts", "drills", "rehearsal",
        "live_desk", "upkeep", "vault_desk", "arming", "remote", "worker",
    )),
    *("engine/venues/" + name for name in (
        "aster", "aster_client", "gate", "budget", "breakers", "account_rules", "streams", "health", "wire",
    )),
    "engine/execution/ids", "engine/execution/ticket", "engine/execution/planner",
)  # fmt: skip
REFUSALS = ("CommandRefused", "ConfigError", "Unreachable", "StateUnknown", "DrillFailed")
SHORTEST = 30  # characters of fixed text: less than this names no more than what failed


def written(node: ast.expr) -> str | None:
    """Return the fixed text of a message written in place; None for one that comes from elsewhere."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "{…}" for part in node.values)
    return None


def refusals() -> list[tuple[str, str]]:
    found = []
    for name in ORDER_PATH:
        for node in ast.walk(ast.parse((ROOT / f"{name}.py").read_text())):
            if not (isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args):
                continue
            text = written(node.exc.args[0])
            if getattr(node.exc.func, "id", "") in REFUSALS and text is not None:
                found.append((f"{name}:{node.lineno}", text))
    return found


def test_every_refusal_of_the_order_path_says_more_than_no():
    found = refusals()
    assert len(found) > 15
    bare = [
        (place, text) for place, text in found
        if len(text.replace("{…}", "")) < SHORTEST or not any(mark in text for mark in (". ", ": ", "; ", ", "))
    ]  # fmt: skip
    assert bare == []


@pytest.mark.parametrize(
    ("sentence", "found", "expected", "to_do"),
    [
        (sentences.not_recorded("BTCUSDT", "No space left"), "No space left", "on disk", "Free disk space"),
        (sentences.halted("BTCUSDT", "drawdown 16 %"), "drawdown 16 %", "halted", "--confirm RESUME"),
        (sentences.only_reducing("BTCUSDT", -0.5, "the books do not agree"), "-0.5", "reduce", "do not agree"),
        (sentences.no_stop("BTCUSDT", "-2021", 2.0), "-2021", "no stop", "close the position"),
        (sentences.in_doubt("BTCUSDT", "as1", "503"), "503", "trustworthy", "looked up"),
        (sentences.bad_key("kill", "abc"), "'abc'", "8 to 64", "new for each"),
        (sentences.no_decision(9, 4), "9", "4", "Journal"),
        (sentences.not_open("as1", "FILLED"), "FILLED", "not open", "blotter"),
        (sentences.not_traded("XUSDT", ["BTCUSDT"]), "XUSDT", "BTCUSDT", "trades"),
        (sentences.cannot_size("XUSDT", has_price=False), "price for XUSDT", "sized", "Wait"),
        (sentences.cannot_size("XUSDT", has_price=True), "balance", "sized", "Wait"),
        (sentences.nothing_to_close("XUSDT", []), "XUSDT", "Open positions", "none"),
        (sentences.unreachable("timed out", 2.0), "timed out", "answers", "check the network"),
        (sentences.unprotected(["ETHUSDT"]), "ETHUSDT", "must have one", "close the position"),
        (sentences.drawdown_reached(0.146, 0.006, 0.15), "14.60%", "15.00%", "RESUME"),
        (sentences.day_loss_reached(0.047, 0.004, 0.05), "4.70%", "5.00%", "next UTC day"),
        (sentences.stream_down("account", "closed"), "closed", "reconnects", "Check the network"),
        (sentences.not_writable("disk full"), "disk full", "Only reducing", "Free disk space"),
    ],
)
def test_what_was_found_what_was_expected_and_what_to_do(sentence, found, expected, to_do):
    for part in (found, expected, to_do):
        assert part in sentence

"""How the Health page writes what the engine says of itself: rows and sentences from its answers. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

import pandas as pd

from app.formats import UNKNOWN, age, clock, is_known, moment, money, number, percent
from app.tables import Column, Figure
from engine.domain import NS_PER_S

GOOD, BAD, IDLE, WAIT = "✓", "✕", "○", "…"
LEVELS: dict[int, tuple[str, str]] = {
    1: ("Pause", "New entries are refused; positions, stops and working orders stay."),
    2: ("Cancel all", "Every working order goes; positions and their stops stay."),
    3: ("Flatten", "Every order and every position goes."),
    4: ("Halt", "As flatten, and nothing is released without the typed word."),
}
RUNG_TITLES = {"paper": "Paper", "minimum": "Minimum size", "tenth": percent(0.1, 0), "full": "Full"}
STALE_S = {"market": 5.0}

STREAM_COLUMNS = (
    Column("state", "State", "verdict", "", 80),
    Column("name", "Stream", "text", "", 85),
    Column("age", "Last event", "figure", "How long ago the last event or heartbeat came", 90),
    Column("reconnects", "Reconnects", "count", "Since the engine started", 90),
    Column("gaps", "Gaps", "count", "Sequence gaps found and backfilled", 60),
    Column("last_reason", "Last trouble", "text", "Why it was last down", 165),
)
BREAKER_COLUMNS = (
    Column("state", "State", "verdict", "", 85),
    Column("endpoint", "Endpoint", "text", "", 80),
    Column("failures", "Failures", "count", "In a row", 80),
    Column("retry", "Next probe", "figure", "", 100),
)
LEDGER_COLUMNS = (
    Column("verdict", "Verdict", "verdict", "", 100),
    Column("name", "Line", "text", "", 230),
    Column("ours", "Ours", "number", "", 105),
    Column("venue", "Venue", "number", "", 105),
    Column("difference", "Difference", "number", "Ours minus the venue's; must be zero", 95),
)
DRILL_COLUMNS = (
    Column("outcome", "Outcome", "verdict", "", 100),
    Column("ts", "Started, UTC", "time", "", 160),
    Column("level", "Level", "text", "", 110),
    Column("cancels_ms", "Cancels, ms", "count", "Press to the last acknowledged cancel", 95),
    Column("time_to_flat_s", "To flat, s", "number", "Press to a book without position and order", 90),
    Column("flaky_s", "Flaky venue, s", "number", "Press to the same while the exchange failed requests", 105),
    Column("failures", "Failed", "count", "Requests that the exchange failed meanwhile", 70),
    Column("message", "What was seen", "text", "", "large"),
)
INCIDENT_COLUMNS = (
    Column("severity", "Severity", "verdict", "", 100),
    Column("ts", "When, UTC", "time", "", 160),
    Column("source", "Source", "text", "", 100),
    Column("message", "What happened", "text", "", "large"),
    Column("incident_id", "Number", "text", "", 70),
)
CHECK_COLUMNS = (
    Column("verdict", "Verdict", "verdict", "", 90),
    Column("name", "Check", "text", "", 170),
    Column("detail", "Found, and what to do", "text", "", 780),
)
OVERRIDE_COLUMNS = (
    Column("ts", "When, UTC", "time", "", 160),
    Column("actor", "Who", "text", "", 110),
    Column("rung", "Up to", "text", "", 120),
    Column("reason", "Reason", "text", "", "large"),
)


class Meter(NamedTuple):
    """A filled bar: how full (0 to 1) and what it says."""

    fraction: float
    text: str


def headline(
    status: dict[str, Any], health: dict[str, Any] | None, ledger: dict[str, Any] | None, drills: list[dict[str, Any]]
) -> list[Figure]:
    """Return the page's headline numbers; what was not answered is a dash."""
    check = status.get("last_reconcile")
    reconciled = UNKNOWN if check is None else age((status["now_ns"] - check["ts"]) / NS_PER_S) + " ago"
    skew = ((health or {}).get("clock") or {}).get("skew_ms", status.get("clock_skew_ms"))
    flat = next((row for row in drills if row.get("time_to_flat_s") is not None and row.get("ok")), None)
    streams = (health or {}).get("streams")
    up = UNKNOWN if streams is None else f"{sum(bool(row['up']) for row in streams)} of {len(streams)}"
    unexplained = (ledger or {}).get("unexplained", status.get("unexplained"))
    return [
        Figure("Unexplained, USDT", number(unexplained, 2), "Cash that our books cannot derive; must be zero"),
        Figure("Books compared", reconciled, "" if check is None else check["message"]),
        Figure("Orders in doubt", number(status.get("unknown_orders"), 0), "Sent without a trustworthy answer"),
        Figure("Streams up", up, "Market data and account"),
        Figure("Clock skew", number(skew, 0, "ms"), "Ours against the venue's"),
        Figure("Last time to flat", number(flat and flat["time_to_flat_s"], 2, "s"), "Of the newest drill that passed"),
    ]


def stream_rows(health: dict[str, Any]) -> pd.DataFrame:
    """Return a row a stream, the one in trouble visibly so."""
    rows = []
    for stream in health["streams"]:
        seconds = stream.get("age_s")
        late = is_known(seconds) and seconds > STALE_S.get(stream["name"], float("inf"))
        state = "▼ down" if not stream["up"] else "▼ stale" if late else "▲ up"
        rows.append({
            "state": state, "name": stream["name"], "age": age(seconds), "reconnects": stream.get("reconnects"),
            "gaps": stream.get("gaps"), "last_reason": stream.get("last_reason") or "none",
        })  # fmt: skip
    return pd.DataFrame(rows, columns=[column.name for column in STREAM_COLUMNS])


def weight_meter(weight: dict[str, Any]) -> Meter:
    """Return the minute's request weight against the venue's limit."""
    used, limit = weight.get("used"), weight.get("limit")
    if not is_known(used) or not is_known(limit) or limit <= 0:
        return Meter(0.0, f"Request weight {UNKNOWN}")
    shares = ", ".join(f"{name} {number(part, 0)}" for name, part in (weight.get("by") or {}).items())
    text = f"{number(used, 0)} of {number(limit, 0)} this minute"
    return Meter(min(max(used / limit, 0.0), 1.0), f"{text} ({shares})" if shares else text)


def breaker_rows(health: dict[str, Any]) -> pd.DataFrame:
    """Return a row a circuit breaker. Closed lets requests through."""
    words = {"closed": "▲ closed", "half_open": "▼ half-open", "half-open": "▼ half-open", "open": "▼ open"}
    rows = [
        {
            "state": words.get(item["state"], item["state"]), "endpoint": item["endpoint"],
            "failures": item.get("failures"), "retry": _probe(item),
        }
        for item in health["breakers"]
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=[column.name for column in BREAKER_COLUMNS])


def _probe(item: dict[str, Any]) -> str:
    if item["state"] == "closed":
        return "not needed"
    return age(item["retry_in_s"]) if item.get("retry_in_s") else "now"


def warnings(health: dict[str, Any], now_ns: int) -> list[str]:
    """Return what of the connection must not be overlooked: a ban, a wrong clock, suspended trading."""
    found = []
    until = health.get("ban_until_ns")
    if until and until > now_ns:
        found.append(
            f"The venue refuses our requests until {clock(until)} UTC, in {age((until - now_ns) / NS_PER_S)}. Nothing "
            "is sent until then; protective stops stay at the exchange."
        )
    skew = health.get("clock") or {}
    if skew.get("ok") is False:
        found.append(
            f"This clock is off by {number(skew.get('skew_ms'), 0, 'ms')}. Orders would be refused, so trading is "
            "suspended: synchronise the clock (NTP)."
        )
    if health.get("suspended"):
        found.append(str(health["suspended"]))
    return found


def ledger_rows(ledger: dict[str, Any]) -> pd.DataFrame:
    """Return a row a line of the books, ours beside the venue's."""
    rows = []
    for line in ledger["lines"]:
        difference = line.get("difference")
        even = line.get("ok", is_known(difference) and abs(difference) < 0.005)
        verdict = UNKNOWN if not is_known(difference) else "▲ equal" if even else "▼ differs"
        rows.append({"verdict": verdict, **line})
    return pd.DataFrame(rows, columns=[column.name for column in LEDGER_COLUMNS])


def no_line_text(ledger: dict[str, Any]) -> str:
    """Say why there is no line of the books: not measured yet, or nothing to compare."""
    if ledger.get("as_of_ns") is None:
        return "Not yet measured. The books are added up at the first comparison with the venue, soon after the start."
    return "No line to compare yet."


def ledger_sentence(status: dict[str, Any], ledger: dict[str, Any] | None) -> str:
    """Say when the books were last compared and what the comparison found."""
    check = status.get("last_reconcile")
    said = (
        "Not compared yet."
        if check is None
        else f"Compared at {clock(check['ts'])} UTC: {str(check['message']).rstrip('.')}."
    )
    if ledger is not None and is_known(ledger.get("unexplained")):
        said += f" Unexplained {money(ledger['unexplained'])}."
    return said


def drill_rows(drills: list[dict[str, Any]]) -> pd.DataFrame:
    """Return a row a drill, newest first."""
    words = {True: "▲ passed", False: "▼ failed", None: f"{WAIT} going on"}
    rows = [
        {**row, "outcome": words[row["ok"]], "level": f"{row['level']} {LEVELS[row['level']][0]}"} for row in drills
    ]
    return pd.DataFrame(rows, columns=[column.name for column in DRILL_COLUMNS])


def last_drill_text(drills: list[dict[str, Any]], level: int, now_ns: int) -> str:
    """Say how a level's newest drill went, in one short line."""
    row = next((row for row in drills if row["level"] == level), None)
    if row is None:
        return "Never rehearsed"
    if row["ok"] is None:
        return f"{WAIT} going on"
    when = age((now_ns - row["ts"]) / NS_PER_S) + " ago"
    if not row["ok"]:
        return f":red[{BAD} failed] {when}"
    took = row.get("time_to_flat_s")
    return f":green[{GOOD} passed] {when}, " + (
        f"flat in {number(took, 2, 's')}" if took is not None else f"{number(row.get('cancels_ms'), 0, 'ms')}"
    )


def rung_title(rung: dict[str, Any]) -> str:
    """Return a rung's name with what it allows."""
    title, share = RUNG_TITLES.get(rung["name"], rung["name"]), percent(rung["share"], 0)
    allowed = f"{share} of the limits" if rung["share"] else "no real money"
    return f"**{title}** · {allowed.removeprefix(title).strip()}"


def rung_lines(rung: dict[str, Any], below: dict[str, Any] | None = None) -> list[str]:
    """Return a rung's conditions as lines of Markdown. What is missing is written out, unless told by ``below``."""
    told = {} if below is None else {item["name"]: item["detail"] for item in below["conditions"]}
    lines = []
    for item in rung["conditions"]:
        if item["ok"]:
            lines.append(f":green[{GOOD}] {item['name']}")
        elif told.get(item["name"]) == item["detail"]:
            lines.append(f":red[{BAD}] **{item['name']}**, as for the rung before")
        else:
            lines.append(f":red[{BAD}] **{item['name']}**: {item['detail']}")
    return lines or ["No condition: nothing real is at stake."]


def rung_state(rung: dict[str, Any], current: str) -> str:
    """Return a rung's state in one word or two."""
    if rung["name"] == current:
        return ":orange[● here, by override]" if rung.get("by_override") else ":blue[● here]"
    if rung["reached"]:
        return f":orange[{GOOD} by override]" if rung.get("by_override") else f":green[{GOOD} reached]"
    missing = sum(not item["ok"] for item in rung["conditions"])
    return f":gray[{IDLE} {missing} missing]" if missing else f":gray[{IDLE} after the rung before]"


def override_rows(ladder: dict[str, Any]) -> pd.DataFrame:
    """Return the overrides, newest first; one up to paper is a withdrawal."""
    rows = [
        {**row, "rung": "withdrawn" if row["rung"] == "paper" else RUNG_TITLES.get(row["rung"], row["rung"])}
        for row in ladder["overrides"]
    ]
    return pd.DataFrame(rows, columns=[column.name for column in OVERRIDE_COLUMNS])


def incident_rows(incidents: pd.DataFrame) -> pd.DataFrame:
    """Return the incidents with a severity that reads without its colour; ids become text."""
    marks = {"critical": "▼ critical", "error": "▼ error"}
    severity = [marks.get(word, word) for word in incidents["severity"]]
    return incidents.assign(severity=severity, incident_id=[str(number) for number in incidents["incident_id"]])


def incident_label(rows: pd.DataFrame, incident_id: str) -> str:
    """Return one incident in a line, for the button that exports it."""
    row = rows[rows["incident_id"] == incident_id].iloc[0]
    return f"Incident {incident_id}, {moment(int(row['ts']))} UTC, {row['source']}: {row['message']}"


def check_rows(doctor: dict[str, Any]) -> pd.DataFrame:
    """Return the self-checks, those that failed first."""
    checks = sorted(doctor["checks"], key=lambda item: bool(item["ok"]))
    rows = [{**item, "verdict": "▲ ok" if item["ok"] else "▼ not ok"} for item in checks]
    return pd.DataFrame(rows, columns=[column.name for column in CHECK_COLUMNS])

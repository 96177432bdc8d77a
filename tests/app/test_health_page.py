"""The Health page: each part stands alone, drills and overrides leave once a click, a bundle can be taken away."""

from __future__ import annotations

import io
import zipfile

import pytest
from page_engine import PageEngine, page, texts

from app import health
from app.client import CommandRefused, EngineClient
from engine.domain import NS_PER_S

NOW = 1_900_000_000 * NS_PER_S


@pytest.fixture
def engine(tmp_path, monkeypatch):
    monkeypatch.setenv("ASTROLABE_HOME", str(tmp_path))
    running = PageEngine(tmp_path).start()
    yield running
    running.stop()


def sent(engine, name):
    return [body for action, body in engine.calls if action == name]


def test_every_part_is_shown(engine):
    script = page("health").run()
    assert not script.exception
    said = texts(script)
    for words in ("Streams up 2 of 2", "Unexplained, USDT 0.00", "Books against the venue", "flat in 0.91", "● here",
                  "Parity", "Incident 3"):  # fmt: skip
        assert words in said
    assert "unknown since" not in said


@pytest.mark.parametrize("absent", ["health", "ledger", "drills", "ladder", "doctor", "drift"])
def test_an_answer_that_is_missing_is_unknown_and_leaves_the_rest(engine, absent):
    engine.absent = frozenset({absent})
    script = page("health").run()
    assert not script.exception
    said = texts(script)
    assert f"There is no action '{absent}'." in said
    assert "unknown since" in said
    assert "Incident 3" in said
    if absent != "drills":
        assert "flat in 0.91" in said


def test_books_of_a_young_engine_are_not_yet_measured_and_not_unknown(engine, monkeypatch):
    monkeypatch.setattr(engine, "act_ledger", lambda body: {"lines": [], "unexplained": None, "as_of_ns": None})
    said = texts(page("health").run())
    assert "Not yet measured. The books are added up" in said
    assert "Unexplained, USDT —" in said
    assert "unknown since" not in said
    assert "No line to compare yet" not in said


def test_a_drill_starts_once_and_blocks_the_next_one(engine):
    script = page("health").run()
    next(b for b in script.button if b.key == "health.drill.3").click()
    script.run()
    assert "Drill of level 3 has begun." in texts(script)
    assert [body["level"] for body in sent(engine, "drill.start")] == [3]
    script.run()
    assert len(sent(engine, "drill.start")) == 1  # a rerun starts nothing
    next(b for b in script.button if b.key == "health.drill.4").click()
    script.run()
    assert "is going on" in texts(script)


def test_an_override_without_a_reason_is_refused_and_with_one_is_shown(engine):
    script = page("health").run()
    script.selectbox(key="health.override_rung").set_value("minimum")
    script.text_input(key="health.override_reason").set_value("because")
    script.button(key="health.override").click().run()
    assert "at least 20 characters" in texts(script)
    assert "by override" not in texts(script)
    script.text_input(key="health.override_reason").set_value("parity tests pass on this commit")
    script.button(key="health.override").click().run()
    assert "here, by override" in texts(script)
    assert sent(engine, "ladder.override")[-1]["rung"] == "minimum"


def test_compare_now_asks_the_engine(engine):
    script = page("health").run()
    script.button(key="health.compare").click().run()
    assert len(sent(engine, "reconcile")) == 1


def test_the_bundle_is_the_engines_file(engine):
    packed = EngineClient(engine.home).incident_bundle(2)
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert archive.namelist() == ["incident.json"]
    with pytest.raises(CommandRefused, match="no incident 77"):
        EngineClient(engine.home).incident_bundle(77)


def test_a_stale_market_stream_and_a_lost_one_do_not_look_up():
    rows = health.stream_rows({"streams": [
        {"name": "market", "up": True, "age_s": 7.0}, {"name": "account", "up": True, "age_s": 90.0},
        {"name": "user", "up": False, "age_s": None},
    ]})  # fmt: skip
    assert list(rows["state"]) == ["▼ stale", "▲ up", "▼ down"]


def test_what_must_not_be_overlooked_is_said():
    found = health.warnings(
        {"ban_until_ns": NOW + 90 * NS_PER_S, "clock": {"skew_ms": 11_000.0, "ok": False}}, NOW
    )  # fmt: skip
    assert "in 1 min 30 s" in found[0]
    assert "NTP" in found[1]
    assert health.warnings({"ban_until_ns": NOW - 1, "clock": {"skew_ms": 3.0, "ok": True}}, NOW) == []


def test_a_cent_of_difference_is_a_difference():
    rows = health.ledger_rows({"lines": [
        {"name": "Wallet", "ours": 1.0, "venue": 1.0, "difference": 0.0},
        {"name": "Fees", "ours": 1.01, "venue": 1.0, "difference": 0.01},
        {"name": "Funding", "ours": 0.0, "venue": None, "difference": None},
    ]})  # fmt: skip
    assert list(rows["verdict"]) == ["▲ equal", "▼ differs", "—"]


def test_unknown_numbers_are_dashes_and_not_zero():
    figures = health.headline({"last_reconcile": None, "now_ns": NOW}, None, None, [])
    assert [figure.value for figure in figures] == ["—"] * 6
    assert health.weight_meter({"used": None, "limit": 2400}).text == "Request weight —"


def test_a_rung_repeats_no_detail_of_the_rung_below():
    missing = {"name": "Parity", "ok": False, "detail": "There is no certificate."}
    days = {"name": "Paper days", "ok": False, "detail": "1 of 14 days."}
    below = {"conditions": [missing, days | {"detail": "1 of 7 days."}]}
    assert health.rung_lines({"conditions": [missing, days]}, below) == [
        ":red[✕] **Parity**, as for the rung before",
        ":red[✕] **Paper days**: 1 of 14 days.",
    ]


def test_the_certificate_and_the_drift_are_shown_with_their_parts(engine):
    script = page("health").run()
    said = texts(script)
    assert "82 decisions alike to the bit" in said
    assert "2026-02-02: within the limit of 25 bp a day" in said
    engine.certificate_status = "fail"
    assert "3 differences in 82 decisions: paper, decision 4: act does not follow" in texts(page("health").run())


def test_a_certificate_is_asked_for_once_a_click(engine):
    script = page("health").run()
    script.button(key="health.certify").click().run()
    script.run()
    assert len(sent(engine, "certificate.start")) == 1
    assert script.button(key="health.certify").disabled
    assert script.button(key="health.certify").label.startswith("Certifying … ")


def test_without_evidence_the_page_says_so_and_unknown_is_not_none(engine):
    engine.drift_days, engine.certificate_status = [], "none"
    said = texts(page("health").run())
    assert "No day measured yet" in said
    assert "it has not been shown that it decides live as it does in a backtest" in said
    engine.absent = frozenset({"certificate.get"})
    said = texts(page("health").run())
    assert "it has not been shown" not in said
    assert "unknown since" in said


def test_parts_of_a_day_are_written_with_their_verdict():
    from fake_health import drift_day

    from app import evidence

    table = evidence.drift_table([drift_day("2026-02-02", 3.0), drift_day("2026-02-01", 40.0)])
    assert table["state"].tolist() == ["▲ within", "▼ beyond"]
    parts = table[[name for name, _, _ in evidence.PARTS]].iloc[0].sum()
    assert parts == pytest.approx(table["pnl_recorded"][0] - table["pnl_replayed"][0])

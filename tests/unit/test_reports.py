"""Reports: one document, told in plain words, on a page that stands alone and on paper; old results too."""

import json
import re

import pytest
from report_example import EQUITY, START_MS, full_result, old_result
from typer.testing import CliRunner

from engine.__main__ import app
from engine.errors import DataError
from engine.research import wording
from engine.research.critique import CANARY_SENTENCES
from engine.research.report_document import document, for_risk
from engine.research.report_figures import thinned
from engine.research.report_files import PAGE_FILE, RESULT_FILE, RISK_FILE, read_result, write_reports
from engine.research.report_honesty import CANARY_MEANING
from engine.research.report_html import html_page
from engine.research.report_parts import Chart, Line, cell
from engine.research.report_pdf import pdf_bytes
from engine.research.report_plot import log_ticks, nice_ticks, shapes, time_ticks


def rows_of(name, result=None):
    section = document(result or full_result()).section(name)
    return [[cell(item) for item in row] for table in section.tables for row in table.rows]


def words_of(name, result=None):
    return " ".join(document(result or full_result()).section(name).words)


def test_red_canary_comes_first_and_is_red():
    doc = document(full_result())
    assert doc.section("summary").words[0] == "Do not believe this result: future shift failed."
    assert ("future shift: FAIL", "loss") in [(badge.text, badge.tone) for badge in doc.badges]
    assert ("not to be promoted", "loss") in [(badge.text, badge.tone) for badge in doc.badges]


def test_reasons_that_the_ladder_does_not_enforce_are_no_refusal():
    result = full_result()
    result["honesty"] |= {"barred": [], "blockers": ["Skill is not established.", "The record is too short."]}
    assert ("2 reasons against real money", "warn") in [(badge.text, badge.tone) for badge in document(result).badges]


def test_measures_carry_their_interval_and_out_of_sample():
    row = next(row for row in rows_of("measures") if row[0][0].startswith("Sharpe"))
    assert [text for text, _ in row[1:5]] == ["1.10", "2.00", "-0.30", "-0.40 to 2.50"]


def test_months_compound_to_the_year():
    # opening cash 10,000; 2020 has 366 days: the last value in it is of day 366 (midnight ends the day)
    table = dict((row[0][0], row) for row in rows_of("months"))
    end = 10_000 * (1 + 0.366) * 0.9
    assert table["2020"][13][0] == f"+{100 * (end / 10_000 - 1):.1f}"
    january = 10_000 * (1 + 0.031)
    assert table["2020"][1] == (f"+{100 * (january / 10_000 - 1):.1f}", "g2")
    assert table["2021"][12][0] == ""  # the run ends in February


def test_luck_is_told_in_words_and_judged():
    assert "12 trials on this data" in words_of("luck")
    assert "41 %; 95 % would be needed: skill is not shown" in words_of("luck")
    tones = {row[0][0]: row[1] for row in rows_of("luck")}
    assert tones["Probability of overfitting"] == ("60 %", "loss")
    assert tones["Probability that Sharpe is above zero"] == ("97 %", "gain")


def test_good_whole_run_with_a_losing_end_is_not_called_skill():
    result = full_result()
    result["honesty"]["deflated_sharpe"]["value"] = 0.99
    assert "but out of sample nothing is left of it: skill is not shown" in words_of("summary", result)


def test_stress_that_ends_the_profit_is_said():
    assert "Nothing is left of it with costs x 2: Sharpe -0.10." in words_of("summary")


def test_rule_that_never_earned_has_nothing_to_lose_under_stress():
    result = full_result()
    result["metrics"]["sharpe"] = -0.2
    assert "Nothing is left" not in words_of("summary", result)


def test_sensitivity_shows_the_worst_first_and_the_move():
    rows = rows_of("sensitivity")
    assert [row[0][0] for row in rows] == ["slippage", "taker fee"]
    assert [row[3] for row in rows] == [("-0.50", "loss"), ("+0.30", "gain")]


def test_costs_are_held_against_what_was_earned():
    # gained 2,591 after 125 of costs: 125 / 2,716 = 4.6 %
    assert "Costs took 5 % of what was earned" in words_of("costs")
    assert "Funding was not charged" in words_of("costs")


def test_critique_and_blockers():
    section = document(full_result()).section("critique")
    assert list(section.words) == ["Costs x 2 end the profit."]
    assert rows_of("critique") == [[("Canary future_shift is red.", "loss")]]


def test_what_the_ladder_enforces_stands_apart_from_what_is_left_to_a_person():
    result = full_result()
    result["canaries"]["shuffled"] = "not tested"
    enforced, left = "Canary shuffled was not tested: too short.", "Skill is not established."
    result["honesty"] |= {"barred": [enforced], "blockers": [enforced, left]}
    doc = document(result)
    assert [(table.columns[0], [cell(row[0]) for row in table.rows]) for table in doc.section("critique").tables] == [
        ("The capital ladder asks for this", [(enforced, "loss")]),
        ("Speaks against it, and is left to you", [(left, "loss")]),
    ]
    assert "Not tested, so unknown: shuffled." in words_of("summary", result)
    assert ("shuffled: not tested", "warn") in [(badge.text, badge.tone) for badge in doc.badges]


def test_every_canary_has_its_meaning_on_screen():
    assert set(CANARY_MEANING) == set(CANARY_SENTENCES)


def test_old_result_says_what_was_not_computed():
    doc = document(old_result())
    for name in ("critique", "drawdown", "stress", "comparison", "walk_forward", "sensitivity"):
        assert not doc.section(name).computed
        assert "Not computed for this run" in " ".join(doc.section(name).words)
    assert "12 trials on this data" in words_of("luck", old_result())
    page = html_page(doc)
    assert page.count("Not computed for this run") == 2  # once for luck, once for all the others together
    assert "Harsher conditions" in page


@pytest.mark.parametrize("result", [{}, {"metrics": {}}, {"metrics": {"sharpe": None}, "equity": [[START_MS, None]]}])
def test_result_with_next_to_nothing_still_makes_a_report(result):
    doc = document(result)
    assert "no canary was run" in [badge.text for badge in doc.badges]
    assert "<h1>" in html_page(doc)
    assert pdf_bytes(for_risk(doc)).startswith(b"%PDF")


def test_page_stands_alone_and_escapes():
    page = html_page(document(full_result()))
    assert not re.findall(r"(https?:)?//[a-z]", page)
    assert not re.findall(r"<(script|link|img|iframe)", page)
    assert "ETH&lt;USDT" in page
    assert "ETH<USDT" not in page
    assert page.count("<svg") == 3  # equity, drawdown, exposure


def test_paper_holds_the_risk_and_is_the_same_each_time():
    doc = for_risk(document(full_result()))
    paper = pdf_bytes(doc)
    assert paper == pdf_bytes(doc)
    for text in (b"CVaR 95 %", b"How deep it might have fallen", b"Harsher conditions", b"What would make me doubt"):
        assert text in paper
    assert doc.section("trades") is None


def test_files_are_written_and_read_back(tmp_path):
    paths = write_reports(full_result(), tmp_path / "reports")
    assert sorted(path.name for path in paths) == sorted([RESULT_FILE, PAGE_FILE, RISK_FILE])
    assert read_result(tmp_path / "reports" / RESULT_FILE) == json.loads(json.dumps(full_result()))
    assert not list(tmp_path.rglob("*.part"))


def test_command_writes_the_files_and_refuses_what_is_no_result(tmp_path):
    source = tmp_path / "result.json"
    source.write_text(json.dumps(old_result()))
    done = CliRunner().invoke(app, ["report", str(source), "--out", str(tmp_path / "out"), "--json"])
    assert done.exit_code == 0, done.output
    assert len(json.loads(done.output)["files"]) == 3
    source.write_text('{"a": 1}')
    with pytest.raises(DataError, match="is not a backtest's result"):
        CliRunner().invoke(app, ["report", str(source)], catch_exceptions=False)


def test_goal_command_reads_a_result(tmp_path):
    source = tmp_path / "result.json"
    source.write_text(json.dumps(old_result()))
    done = CliRunner().invoke(app, ["goal", "--json-file", str(source), "--target", "20000", "--json", "--by",
                                    "2099-01-01", "--whole"])  # fmt: skip
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["goal"]["equity"] == 10_000.0


def test_axis_ticks_are_round():
    assert nice_ticks(9_800.0, 34_500.0) == [5_000.0, 10_000.0, 15_000.0, 20_000.0, 25_000.0, 30_000.0, 35_000.0]
    assert nice_ticks(-0.083, 0.0) == pytest.approx([-0.1, -0.08, -0.06, -0.04, -0.02, 0.0])
    assert log_ticks(9_000.0, 300_000.0) == [10_000.0, 20_000.0, 50_000.0, 100_000.0, 200_000.0]
    years = [label for _, label in time_ticks(START_MS, START_MS + 5 * 365 * 86_400_000)]
    assert years == ["2020", "2021", "2022", "2023", "2024"]


def test_flat_curve_is_drawn_inside_its_box():
    chart = Chart("Equity", "USDT", [Line("equity", "#000000", [[0.0, 5.0], [1.0, 5.0]])])
    for shape in shapes(chart, 300.0, 100.0):
        assert all(0 <= x <= 300 and 0 <= y <= 100 for x, y in shape.points)


def test_thinned_curve_keeps_its_extremes():
    import numpy as np

    table = np.array(EQUITY)
    kept = [value for _, value in thinned(table, 20)]
    assert (max(kept), min(kept), kept[0], kept[-1]) == (
        table[:, 1].max(), table[:, 1].min(), table[0, 1], table[-1, 1],
    )  # fmt: skip
    assert len(kept) <= 22


def test_unknown_is_a_dash_and_zero_has_no_sign():
    assert wording.percent(None) == wording.UNKNOWN == wording.between(None, 1.0, "ratio")
    assert wording.number(-0.0004) == "0.00"
    assert wording.signed_percent(0.123) == "+12.3 %"

"""The sleeves on the Portfolio page: a value, nothing yet, and unknown."""

import pytest
from fake_portfolio import RECORD, report, sharing_now
from page_engine import PageEngine, page, texts

from app import portfolio, sharing
from app.formats import percent
from app.run_config import PARAMETERS
from engine.strategies.portfolio import SHARINGS


@pytest.fixture
def running(tmp_path, monkeypatch):
    monkeypatch.setenv("ASTROLABE_HOME", str(tmp_path))

    def start(**kwargs):
        engines.append(PageEngine(tmp_path, **kwargs).start())
        return engines[-1]

    engines = []
    yield start
    for engine in engines:
        engine.stop()


def button(script, label="Compare now"):
    return next(each for each in script.button if each.label == label)


def test_sleeves_and_the_comparison_are_shown(running):
    engine = running()
    script = page("portfolio").run()
    assert not script.exception
    said = texts(script)
    assert "No comparison yet" in said
    assert "newest 40 decisions" in said
    button(script).click().run()
    assert "No comparison yet" in texts(script)
    assert "Compare now" not in [each.label for each in script.button]
    engine.finish_comparison()
    script.run()
    assert not script.exception
    said = texts(script)
    assert "none is shown to be better than equal weight" in said
    assert "adaptive sharing is not shown to be better than equal weight" in said
    assert "adaptive sharing lost 3.5 units more than the best fixed sleeve (trend)" in said
    assert "Most came from trend" in said
    assert [action for action, _ in engine.calls].count("portfolio.compare") == 1
    engine.portfolio_refusal = "There are no hourly candles of the traded symbols on the record yet."
    button(script).click().run()
    assert "There are no hourly candles" in " ".join(each.value for each in script.error)


def test_a_comparison_goes_on_without_its_page_and_can_be_cancelled(running):
    engine = running()
    button(page("portfolio").run()).click().run()
    script = page("portfolio").run()  # another visit: the engine knows how far it is
    assert not script.exception
    button(script, "Cancel").click().run()
    assert "was cancelled" in " ".join(each.value for each in script.warning)
    assert button(script)
    keys = [body["idempotency_key"] for action, body in engine.calls if action.startswith("portfolio.")]
    assert len(set(keys)) == 2
    engine.comparison |= {"status": "failed", "error": "the run's process ended without a result"}
    failed = " ".join(each.value for each in page("portfolio").run().warning)
    assert "failed: the run's process ended" in failed
    assert (
        portfolio.progress_line("portfolio-1", {"progress": 0.4}, 2)
        == f"portfolio-1 · {percent(0.4, 0)} done · asked every 2 s"
    )


def test_without_a_decision_of_the_portfolio_the_page_says_what_is_in_force():
    answer = {"sleeves": [], "through_time": [], "decisions": 0}
    assert portfolio.now_rows(answer).empty
    nothing = report() | {"optimisers": None, "why": "30 days since the last sleeve woke; 120 are needed"}
    assert portfolio.optimiser_rows(nothing).empty
    assert "120 are needed" in portfolio.optimiser_sentence(nothing)
    alone = report()
    alone["optimisers"] |= {"beats_control": True, "learned": {"names": ["trend"], "adaptive_beats_equal": None}}
    assert portfolio.optimiser_sentence(alone).endswith("see above.")
    assert "at equal volatility risk parity earned more than equal weight" in portfolio.optimiser_sentence(alone)
    nothing["evidence"]["learning"] = None
    assert "Too few days" in portfolio.learning_sentence(nothing)


def test_the_figures_hold_every_sleeve():
    made = report()
    figure = portfolio.contributions_figure(made)
    assert [trace.name for trace in figure.data] == [row["name"] for row in made["evidence"]["sleeves"]]
    steps = portfolio.shares_figure(*portfolio.monthly(made, "shares"))
    assert steps.data[0].line.shape == "hv"


def test_a_period_without_equity_hides_neither_sleeves_nor_the_comparison(running):
    engine = running(empty=True)
    script = page("portfolio").run()
    assert not script.exception
    said = texts(script)
    assert "No equity recorded in this period yet" in said
    assert "No open position" in said
    assert "has made no decision" in said
    button(script).click().run()
    assert [action for action, _ in engine.calls].count("portfolio.compare") == 1


def test_an_engine_that_is_down_is_unknown_and_not_empty(running):
    engine = running()
    engine.stop()
    script = page("portfolio").run()
    assert not script.exception
    said = texts(script)
    assert "unknown" in said.lower()
    assert "has made no decision" not in said


def test_who_shares_the_risk_out_is_shown_with_its_evidence_and_can_be_chosen(running):
    engine = running()
    engine.sharing = sharing_now("evidence", rule="risk-parity")
    script = page("portfolio").run()
    assert not script.exception
    said = texts(script)
    assert "In force: **Risk parity**, by evidence, since 2024-02-02 — plan of 2024-03-01 from 365 days" in said
    assert "Shifting was charged with 6.0 bp." in said
    assert "trend 60 %, momentum 40 %" in said.replace("\u202f", " ").replace("\xa0", " ")
    way = next(each for each in script.selectbox if each.label == "Share the risk out by")
    assert way.value == "adaptive"  # what the settings say; the engine is told of a change
    way.set_value("minimum-cvar")
    button(script, "Use this").click().run()
    assert not script.exception
    assert [body["values"] for action, body in engine.calls if action == "settings.set"] == [
        {"strategy_params": {"tail_budget": 0.2, "sharing": "minimum-cvar"}}
    ]
    assert "Minimum CVaR was chosen." in texts(script)


def test_a_plan_that_failed_or_waits_is_said_and_no_number_is_made_up():
    answer = {
        "now": sharing_now("minimum-cvar", rule="equal-weight", made=None, owed=[19_783]),
        "wanted": "minimum-cvar",
    }
    assert "60 days of the sleeves' own returns, and 31 are known" in sharing.in_force_sentence(answer)
    assert "is due: it is made after the next decision" in sharing.trouble_sentence(answer)
    answer["now"] |= {"trouble": "no answer within 600 s"}
    assert sharing.is_trouble(answer)
    assert "could not be made: no answer within 600 s. The last shares go on" in sharing.trouble_sentence(answer)
    answer["now"] |= {"is_making": True}
    assert not sharing.is_trouble(answer)
    assert "is being made" in sharing.trouble_sentence(answer)
    assert sharing.on_its_way_sentence(answer) == ""
    assert "comes into force when" in sharing.on_its_way_sentence(answer | {"wanted": "risk-parity"})
    assert "nothing shares" in sharing.in_force_sentence({"now": None})
    for wanted, words in (("adaptive", "learns every UTC day"), ("equal-weight", "as chosen")):
        assert words in sharing.in_force_sentence({"now": sharing_now(wanted, rule=wanted)})
    rows = sharing.record_rows(RECORD, 2.0, 180, "risk-parity")
    assert [verdict.split(":")[0] for verdict in rows["verdict"]] == [
        "better, in force", "not shown to be better", "too short", "not shown to be better",
    ]  # fmt: skip
    assert "too few for a plan" in sharing.report_sentence({"rule": None, "days": 12, "changes": []})


def test_the_words_are_those_of_every_way_there_is():
    assert set(sharing.LABELS) == set(sharing.MEANINGS) == set(SHARINGS)
    listed = next(spec for spec in PARAMETERS["portfolio"] if spec.name == "sharing")
    assert listed.choices == SHARINGS

"""The AI Insights page: every claim with its doubt, models without skill in the table, commands once a click."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from fake_actions import refuse
from fake_models import HOUR_NS, OFFER, FakeModels, estimate, figures
from page_engine import PageEngine, page, texts

from app import challenges, insights, insights_charts, insights_news, insights_shares
from app.formats import GROUP

SAID_AT = 5


class Books(FakeModels):
    """The fake's answers without an engine around them."""

    def __init__(self) -> None:
        self.market = type("Market", (), {"px": {"BTCUSDT": 60_000.0}})()
        self.begin_models(empty=False)


@pytest.fixture(scope="module")
def books():
    return Books()


@pytest.fixture(scope="module")
def overview(books):
    return books.act_models({})


@pytest.fixture(scope="module")
def said(books):
    return books.act_models_forecast({"symbol": "BTCUSDT"})


def test_a_vote_says_how_far_its_seeds_lie_apart(said):
    assert insights.agent_rows(said)["vote"].tolist() == ["+0.21 ± 0.12"]
    alone = said | {"agents": [{name: value for name, value in said["agents"][0].items() if name != "spread"}]}
    assert insights.agent_rows(alone)["vote"].tolist() == ["+0.21"]


@pytest.fixture
def engine(tmp_path, monkeypatch):
    monkeypatch.setenv("ASTROLABE_HOME", str(tmp_path))
    running = PageEngine(tmp_path).start()
    yield running
    running.stop()


def sent(engine, name):
    return [body for action, body in engine.calls if action == name]


@pytest.mark.parametrize(("view", "words"), [
    ("Why", "the middle forecast is +12.5 bp"),
    ("Scoreboard", "a model that earns less than that has no reason to be there"),
    ("Calibration", "a stated 55 % came 55 times in 100"),
    ("Regimes", "1 alarm that the market's behaviour changed"),
    ("Agents", "one without evidence has no weight"),
    ("News", "Headlines count nothing: 12 of at least 200"),
    ("Drift", "The last 7 days against the bars of the training."),
])  # fmt: skip
def test_every_view_is_shown_from_a_link(engine, view, words):
    script = page("insights", view=view).run()
    assert not script.exception
    assert words in texts(script)


def test_one_model_can_be_asked_anew(engine):
    script = page("insights", view="Why").run()
    assert not sent(engine, "models.explain")
    script.selectbox(key="insights.model").set_value("linear").run()
    assert "the 80 % interval includes zero" in texts(script)
    assert [body["model"] for body in sent(engine, "models.explain")] == ["linear"]


def test_first_training_is_offered_with_its_time_runs_and_is_cancelled(engine):
    engine.models_ready = False
    script = page("insights").run()
    assert "takes about 12 minutes" in texts(script)
    script.button(key="insights.train").click().run()
    script.run()
    assert len(sent(engine, "models.train")) == 1  # a rerun starts nothing
    assert len(script.get("plotly_chart")) == 1
    assert sent(engine, "models.training")  # asked every other second, and nothing else with it
    script.button(key="insights.cancel.train-1").click().run()
    assert [body["run_id"] for body in sent(engine, "models.cancel")] == ["train-1"]
    assert "cancelled by a person" in texts(script)


def test_promotion_and_rollback_need_a_reason(engine):
    script = page("insights", view="Training").run()
    script.text_input(key="insights.promote_reason").set_value("because")
    script.button(key="insights.promote").click().run()
    assert "at least 20 characters" in texts(script)
    script.text_input(key="insights.rollback_reason").set_value("its intervals are far too narrow")
    script.button(key="insights.rollback").click().run()
    assert [body["reason"] for body in sent(engine, "models.rollback")] == ["its intervals are far too narrow"]
    assert "The models before are in force." in texts(script)
    script.selectbox(key="insights.retired").set_value("lstm")
    script.text_input(key="insights.retire_reason").set_value("it was never right, in any month")
    script.button(key="insights.retire").click().run()
    assert [body["name"] for body in sent(engine, "models.retire")] == ["lstm"]
    assert "lstm is retired." in texts(script)


def test_evidence_so_far_is_shown_with_what_decides_and_what_was_changed(engine, overview):
    script = page("insights", view="Training").run()
    assert "Not enough evidence yet" in texts(script)
    assert "By the calendar: in 3.0 days." in texts(script)
    assert "With differences like these a verdict takes about 64 more days." in texts(script).replace(GROUP, " ")
    assert "in 41 days: by then 22 % of such challenges have one, 9 % for the chall" in texts(script).replace(
        GROUP, " "
    )
    earned = "would have earned +4.0 bp of the equity over 12 days, those of the set in force −1.5 bp, after costs"
    assert f"{earned} of 6 bp a trade: +5.5 bp apart, give or take 16." in texts(script).replace(GROUP, " ")
    assert len(script.get("plotly_chart")) == 1
    with_one = {**overview, "challenges": [overview["challenges"][0] | {"path": [[0, 1.0, 1.0]]}]}
    engine.act_models = lambda body: with_one
    assert not page("insights", view="Training").run().get("plotly_chart")  # a single block is no line
    (row,) = challenges.challenge_rows(overview).to_dict("records")
    assert (row["evidence"], row["against"]) == ("1.7 of 20", "1.2 of 20")
    (change,) = challenges.change_rows(overview).to_dict("records")
    assert (change["what"], change["reason"]) == ("challenges", "schedule: every 7 days")
    drawn = insights_charts.evidence_figure(overview["challenges"][0])
    assert [list(line.y) for line in drawn.data] == [[1.0, 1.7], [1.0, 0.8]]
    assert [note.y for note in drawn.layout.annotations] == [pytest.approx(math.log10(20))]  # not 10 to the 20
    early = overview["challenges"][0]["ahead"] | {"days": None, "share": None, "for_it": None}
    assert "after five blocks of two days" in challenges.ahead_sentence(early)
    assert "takes more than half a year" in challenges.ahead_sentence(
        overview["challenges"][0]["ahead"] | {"days": None}
    )
    assert "not known yet" in challenges.money_sentence(None)
    unknown = overview["challenges"][0] | {"evidence": None, "needed": None}
    assert challenges.challenge_rows({"challenges": [unknown]})["evidence"].tolist() == ["none yet"]


def test_refusal_is_shown_in_words_and_the_rest_stays(engine):
    def behind(body):
        raise refuse("The models have not answered since 12:00:01.")

    engine.act_models_forecast = behind
    script = page("insights").run()
    assert not script.exception
    said = texts(script)
    assert "have not answered since 12:00:01" in said
    assert "Models in the forecast 1 of 3" in said


def test_scoreboard_says_what_positions_earned_of_a_decision_and_why(engine, overview):
    said = texts(page("insights", view="Scoreboard").run())
    assert "Of a decision, models have 25" in said
    assert "**ensemble**, in force: trading skill: +9.0 % a year (+2.0 to +16.0)" in said
    told = overview | {"why": f"Forecasters: {overview['models'][-1]['why_weight']}."}
    assert len(insights_shares.share_lines(told)) == 1  # nothing is said twice
    (row,) = insights_shares.share_rows(overview).to_dict("records")
    assert (row["name"], row["days"], row["share"]) == ("ensemble", 420, "25\u202f%")
    assert row["excess"].endswith("9.0 (2.0 … 16.0)")
    unknown = {"models": [overview["models"][-1] | {"traded": None, "role": "challenger"}]}
    (row,) = insights_shares.share_rows(unknown).to_dict("records")  # trained before shares were earned
    assert (row["name"], row["share"]) == ("ensemble, challenger", "0\u202f%")
    assert "ensemble" not in insights.explainable(overview)


def test_an_ended_training_has_no_stage_and_ten_learners_ten_colours():
    run = {"status": "done", "message": "", "seconds_left": None, "reason": "a person asked for it"}
    assert insights.training_line(run) == "Done · because a person asked for it"
    assert insights.training_line(run | {"status": "running"}).startswith("Running · starting · because")
    curves = [{"name": str(k), "seed": 0, "points": [[1, 0.5, 0.5]]} for k in range(10)]
    assert len({line.line.color for line in insights_charts.curves_figure(curves).data}) == 10


def test_scoreboard_keeps_those_without_skill_and_those_that_failed(overview):
    rows = insights.model_rows(overview, SAID_AT).set_index("name")
    assert rows.loc["lstm", "weight"].startswith("0")
    lines = insights.weight_lines(overview, SAID_AT)
    assert "counts 0\u202f% of the forecast: no skill shown: its loss is not below the base rate's." in lines[1]
    assert lines[3].endswith("failed, seed 1: its loss became infinite.")
    assert rows.loc["linear", "accuracy"] == "52.4 (51.4 … 53.4)"
    assert rows.loc["transformer", ["accuracy", "role"]].tolist() == ["—", "failed"]
    # only what its interval separates from zero gets a sign's arrow
    assert rows.loc["lstm", "sharpe"] == "−0.40 (−1.30 … 0.50)"
    assert rows.loc["linear", "ic"].startswith("▲ +0.048 (0.028")


def test_headline_is_of_the_model_that_counts_most_and_dashes_without_one(overview):
    figures = insights.headline(overview, SAID_AT, overview["models"][0]["ts_expires"] - 2 * HOUR_NS)
    assert [figure.value.replace("\u202f", " ") for figure in figures] == [
        "25 %",
        "1 of 3",
        "52.4 %",
        "78.0 %",
        "2 h 0 min",
    ]
    assert figures[2].change.replace("\u202f", " ") == "51.4 % to 53.4 %, of 2 400"
    bare = insights.headline(overview | {"models": [], "share": None}, SAID_AT, 0)
    assert [figure.value for figure in bare] == ["—", "0 of 0", "—", "—", "—"]
    expired = insights.headline(overview, SAID_AT, overview["models"][0]["ts_expires"] + 1)
    assert expired[-1].value == "expired"
    for row in overview["models"]:
        row["weight"] = [0.0] * len(overview["horizons"])
    unweighted = insights.headline(overview, SAID_AT, overview["models"][0]["ts_expires"] - 2 * HOUR_NS)
    assert unweighted[-1].value == figures[-1].value  # a set expires whether or not it counts
    assert "though none counts" in unweighted[2].meaning


def test_fan_is_the_engines_quantiles_in_prices(overview, said):
    bars = pd.DataFrame({"ts_open": [said["ts_close"] - HOUR_NS], "open_px": [1.0], "high_px": [2.0], "low_px": [0.5],
                         "close_px": [1.5]})  # fmt: skip
    traces = {trace.name: trace for trace in insights_charts.fan_figure(bars, said, overview).data}
    # 24 bars ahead, 97.5 %: (1.96 + 0.05) sigmas of 0.6 % times the root of 24
    assert traces["95\u202f% of outcomes"].y[-1] == pytest.approx(60_000 * math.exp(2.01 * 0.006 * math.sqrt(24)))
    assert traces["middle"].y[0] == 60_000
    assert traces["no change"].y[1] == 60_000
    assert (traces["middle"].x[-1] - traces["middle"].x[0]).total_seconds() == 24 * 3600


def test_fan_is_told_in_words_with_how_such_fans_fared(overview, said):
    told = insights.fan_caption(overview, said, SAID_AT, False).replace("\u202f", " ")
    # 80 %: (-1.2816 + 0.05) and (1.2816 + 0.05) sigmas of 0.6 % times the root of 24, as simple returns
    assert "80 % interval −3.56 % to +3.99 %. In the past 78.0 % of outcomes lay inside (75.0 % to 81.0 %" in told
    rows = [row if row["name"] == "ensemble" else row | {"figures": figures(0.9)} for row in overview["models"]]
    for row in rows[:-1]:  # the first member's interval is not the fan's
        row["figures"]["issued_80"] = [estimate(0.6, 0.01, count=10)] * 6
    challenger = rows[-1] | {"role": "challenger", "figures": rows[0]["figures"]}
    of_ensemble = insights.fan_caption(overview | {"models": [*rows[:-1], challenger, rows[-1]]}, said, SAID_AT, False)
    assert of_ensemble.replace("\u202f", " ") == told
    unknown = insights.fan_caption(overview | {"models": rows[:-1]}, said, SAID_AT, True)
    assert "is not known yet" in unknown
    assert "candles are not stored yet" in unknown


def test_disagreement_is_held_against_the_lean(said):
    assert "less than they are" in insights.disagreement(said, SAID_AT)
    close = said | {"prob_up": [0.51] * 6}
    assert "there is no agreement" in insights.disagreement(close, SAID_AT)
    assert "unknown" in insights.disagreement(said | {"prob_spread": [None] * 6}, SAID_AT)


def test_regime_behind_the_price_changes_where_the_likeliest_does(said):
    regimes = {"names": ["calm", "stormy"], "changes": [],
               "points": [[k, p, 1 - p] for k, p in enumerate((0.9, 0.8, 0.3, 0.2, 0.6))]}  # fmt: skip
    assert insights_charts._stretches(regimes["points"]) == [(0, 2, 0), (2, 4, 1)]
    assert insights.regime_sentence(regimes).startswith("Now calm with 60")


def test_drivers_and_attention_are_drawn_with_their_uncertainty():
    rows = [{"topic": "a", "points": -0.02, "error": 0.004}, {"topic": "b", "points": 0.01, "error": None}]
    bars = insights_charts.drivers_figure(rows).data[0]
    assert (list(bars.y), list(bars.x)) == (["b", "a"], [1.0, -2.0])
    assert list(bars.error_x.array) == [0.0, pytest.approx(0.8)]
    looked = insights_charts.attention_figure([0.0, 0.0, 0.25, 0.75], 3600).data[0]
    assert (list(looked.x), list(looked.y)) == ([-1.0, 0.0], [0.25, 0.75])


def test_similar_bars_say_how_alike_they_are():
    answer = {
        "ordinary_distance": 1.0,
        "cases": [{"path": [0, 1.0], "distance": 0.9}, {"path": [0, -1.0], "distance": 1.0}],
    }
    said = insights.case_sentence(answer, 1)
    assert "rose 1 times and fell 1 times" in said
    assert "not very alike" in said
    assert "No past bar" in insights.case_sentence({"cases": []}, 1)


def test_calibration_is_drawn_with_the_doubt_that_the_engine_states():
    bins = [{"stated": 0.5, "came": 0.52, "low": 0.40, "high": 0.62, "count": 1_000, "days": 9}]
    drawn = insights_charts.reliability_figure(bins).data[1]
    assert drawn.error_y.array[0] == pytest.approx(0.10)
    assert drawn.error_y.arrayminus[0] == pytest.approx(0.12)
    coverage = {"levels": [0.8, 0.5], "points": [[1, [0.7, 0.6, 0.8], None], [2, [0.8, 0.7, 0.9], [0.5, 0.4, 0.6]]]}
    low, high, held, *_, half = insights_charts.coverage_figure(coverage).data
    assert [list(line.y) for line in (low, high, held)] == [[0.6, 0.7], [0.8, 0.9], [0.7, 0.8]]
    assert list(half.y) == [None, 0.5]


def test_headlines_show_their_score_and_what_is_unknown_stays_so(books):
    said = books.act_models_news({})
    rows = insights_news.headline_rows(said)
    assert rows["score"].tolist() == ["—", "+0.72"]
    assert rows["about"].tolist() == ["the market", "BTC"]
    assert insights_news.mood_rows(said)["mood"].tolist() == ["+0.41", "—"]


def test_without_a_feed_the_page_says_where_one_is_entered(engine):
    engine.act_models_news = lambda body: {"feeds": [], "headlines": [], "moods": [], "why": "", "share": 0.0}
    script = page("insights", view="News").run()
    assert "No feed of headlines is set" in texts(script)


def test_drift_and_intervals_of_the_training_are_said_in_words(engine, overview):
    rows = [{"verdict": "unlike"}] * 3 + [{"verdict": "shifted"}] + [{"verdict": "steady"}] * 6
    assert "Of 10 inputs 3 are unlike anything in the training and 1 are shifted" in insights.drift_sentence(
        {"drift": rows}
    )
    assert "which starts a training" in insights.drift_sentence({"drift": rows})
    assert "; 2 start a training." in insights.drift_sentence({"drift": rows[2:]})
    judged = insights.judged_rows(overview, SAID_AT)
    assert judged["stated"].tolist() == ["50", "80", "90", "95"]
    assert judged["held"].tolist()[1] == "78.0 (75.0 … 81.0)"
    assert judged["verdict"].tolist()[1] == "as stated, as far as can be told"
    assert "When they were trained" in texts(page("insights", view="Calibration").run())


def test_only_the_set_in_force_is_counted_in_the_headline(overview):
    rival = [row | {"role": "challenger"} for row in overview["models"] if row["role"] == "champion"]
    both = overview | {"models": overview["models"] + rival}
    assert insights.headline(both, SAID_AT, 0)[1].value == insights.headline(overview, SAID_AT, 0)[1].value
    assert insights.headline(both, SAID_AT, 0)[1].value.endswith("of 3")


def test_what_is_solved_at_once_has_no_curve_of_learning():
    curves = [{"name": "linear", "seed": 0, "points": [[1, None, 0.9], [2, None, 0.9]]},
              {"name": "lstm", "seed": 0, "points": [[1, 1.0, 1.0], [2, 0.9, 0.9], [3, 0.8, 0.9]]}]  # fmt: skip
    taught = insights_charts.in_rounds(curves)
    assert [line.name for line in insights_charts.curves_figure(taught).data] == [
        "lstm, learned from",
        "lstm, held back",
    ]


def test_offer_and_bar_to_clear_in_words():
    assert "10 symbols and 20\u202f000 bars takes about 12 minutes" in insights.offer_sentence(OFFER)
    assert "1.60 a year" in insights.bar_to_clear({"trend_sharpe": estimate(1.6, 0.6)})
    assert "has not been measured" in insights.bar_to_clear({"trend_sharpe": None})

"""Who shares the risk out between the sleeves: plans known before their day, a record that is true, restarts."""

import json

import numpy as np
import pytest

from engine.errors import ConfigError
from engine.research.optimiser_evidence import better
from engine.runtime.plan_process import PlanMaker, answer_to, question_of
from engine.strategies import sharing
from engine.strategies.optimisers import OPTIMISERS
from engine.strategies.portfolio import EQUAL, EVIDENCE, OPTIMISED, SHARINGS, PortfolioParams
from engine.strategies.sharer import KEPT_DAYS, Sharer
from engine.strategies.sharing import BAR, MIN_DAYS, MIN_SCORED, Days, Score, caught_up, lead_of, plan_for, shares_in

K = 3
FIRST = 18_262  # 2020-01-01


def days(n=500, seed=1, mean=(0.001, 0.0, 0.0), sd=(0.002, 0.01, 0.02)):
    """K sleeves; the last one wakes after a hundred days."""
    rng = np.random.default_rng(seed)
    awake = np.ones((n, K), dtype=bool)
    awake[:100, 2] = False
    net = np.where(awake, rng.normal(mean, sd, (n, K)), 0.0)
    return Days(np.arange(FIRST, FIRST + n), net, awake)


def shared(table, wanted, at_once=True):
    """The shares of every day of a table, each asked for when the day before had ended."""
    sharer = Sharer(wanted, K, at_once=at_once)
    said = []
    for at, day in enumerate(table.day.tolist()):
        said.append(sharer.share(day, table.awake[at]))
        sharer.end_day(day, table.net[at], table.awake[at])
    return np.array(said), sharer


def test_every_way_is_a_parameter_and_every_optimiser_but_the_annealed_one_is_a_way():
    assert {PortfolioParams(sharing=each).sharing for each in SHARINGS} == set(SHARINGS)
    assert [name.lower().replace(" ", "-") for name in OPTIMISERS][:-1] == [EQUAL, *OPTIMISED]
    with pytest.raises(ValueError, match="sharing"):
        PortfolioParams(sharing="magic")


@pytest.mark.parametrize("wanted", ["minimum-cvar", EVIDENCE])
def test_the_future_changes_no_share_of_the_past_and_a_plan_begins_the_day_after_it_was_made(wanted):
    table, cut = days(320), 270
    other = table._replace(net=np.where(np.arange(320)[:, None] >= cut, -3.0 * table.net, table.net))
    (one, sharer), (two, _) = shared(table, wanted), shared(other, wanted)
    assert np.array_equal(one[: cut + 1], two[: cut + 1])  # the share of day `cut` knows the days before it
    assert sharer.plan.begins == sharer.plan.made + 1
    assert one.sum(axis=1) == pytest.approx(1.0)
    if wanted != EVIDENCE:
        assert not np.array_equal(one, two)
        changes = np.flatnonzero(np.abs(np.diff(one[:, :2], axis=0)).sum(axis=1) > 1e-9) + 1
        begun = (FIRST + changes).astype("datetime64[D]")
        second = (begun - begun.astype("datetime64[M]")).astype(int) == 1  # the second day of a month
        woke = changes == 100
        assert (second | woke | (changes == MIN_DAYS + 1)).all()
        assert second.sum() > 5


def test_equal_shares_until_enough_days_are_known_and_adaptive_says_nothing():
    table = days()
    said, _ = shared(table, "risk-parity")
    assert said[: MIN_DAYS + 1] == pytest.approx(np.where(table.awake, 0.5, 0.0)[: MIN_DAYS + 1])
    assert said[MIN_DAYS + 1, 0] > 0.7  # the sleeve that moves least
    assert shared(table, EQUAL)[0] == pytest.approx(table.awake / table.awake.sum(axis=1, keepdims=True))
    assert Sharer("adaptive", K).share(FIRST, table.awake[0]) is None


def test_a_young_sleeve_has_the_share_of_equal_weight_and_a_sleeping_one_none():
    plan = np.array([0.8, 0.2, np.nan])
    assert shares_in(plan, np.array([True, True, True])) == pytest.approx([0.8 * 2 / 3, 0.2 * 2 / 3, 1 / 3])
    assert shares_in(plan, np.array([True, False, False])) == pytest.approx([1.0, 0.0, 0.0])
    assert shares_in(np.array([1.0, 0.0, 0.0]), np.array([False, True, True])) == pytest.approx([0.0, 0.5, 0.5])
    assert shares_in(plan, np.zeros(3, dtype=bool)).tolist() == [0.0] * 3


def test_a_record_is_what_the_months_earned_with_every_shift_paid():
    table = days(200)
    first = plan_for("risk-parity", None, table, FIRST + 100)
    assert first.score["risk-parity"] == Score()
    second = plan_for("risk-parity", first, table, FIRST + 130)
    since = slice(101, 130)
    share = np.array([shares_in(first.share["risk-parity"], awake) for awake in table.awake[since]])
    own = (share * table.net[since]).sum(axis=1)
    shifted = np.abs(shares_in(second.share["risk-parity"], table.awake[129]) - share[-1]).sum()
    control = table.net[since].mean(axis=1)
    score = second.score["risk-parity"]
    assert score.n == 29
    assert score.x == pytest.approx(own.sum() - sharing.COST * shifted)
    assert score.c == pytest.approx(control.sum())
    assert shifted > 0.0


def test_the_standard_error_is_that_of_redrawn_pairs():
    rng = np.random.default_rng(4)
    pairs = rng.multivariate_normal([0.1, 0.05], [[1.0, 0.6], [0.6, 1.0]], (2_000, 250))
    own, control = pairs[..., 0], pairs[..., 1]
    ratio = own.mean(axis=1) / own.std(axis=1) - control.mean(axis=1) / control.std(axis=1)
    errors = [lead_of(Score().plus(own[at], control[at])).error for at in range(200)]
    assert np.mean(errors) == pytest.approx(ratio.std(), rel=0.05)
    lead = lead_of(Score().plus(own[0], control[0]))
    assert lead.own - lead.control == pytest.approx(ratio[0])
    assert np.isnan(lead_of(Score()).errors)


def test_evidence_uses_an_optimiser_only_when_its_record_is_far_enough_ahead():
    calm = days(420, mean=(0.0012, 0.0, 0.0), sd=(0.001, 0.012, 0.03))  # equal weight drowns the first one's profit
    said, sharer = shared(calm, EVIDENCE)
    assert sharer.plan.rule in OPTIMISED
    told = sharer.told(("a", "b", "c"))
    ahead = {row["rule"]: row["errors"] for row in told["record"]}
    assert ahead[told["rule"]] == max(ahead.values()) > BAR
    used = said[:, 0] > 0.6
    assert int(np.argmax(used)) > MIN_DAYS + MIN_SCORED  # not before there was a record
    alike = days(420, mean=(0.0005,) * 3, sd=(0.01,) * 3)
    assert shared(alike, EVIDENCE)[1].told(("a", "b", "c"))["rule"] == EQUAL
    assert not better(alike.net[:, 0], alike.net.mean(axis=1), len(OPTIMISED))


def test_plans_made_beside_the_engine_are_those_of_a_backtest_and_late_ones_leave_the_last_in_force():
    table, wanted = days(300), "minimum-cvar"
    whole, _ = shared(table, wanted)
    sharer, said, slow = Sharer(wanted, K, at_once=False), [], 0
    for at, day in enumerate(table.day.tolist()):
        work = sharer.owed_work()
        slow = slow + 1 if work is not None else 0
        if work is not None and (at < 200 or slow > 9):  # later plans take nine days
            sharer.accept(
                sharing.plan_from_json(json.loads(json.dumps(answer_to(question_of(work, sharing.COST))))["plan"])
            )
        said.append(sharer.share(day, table.awake[at]))
        sharer.end_day(day, table.net[at], table.awake[at])
    said = np.array(said)
    assert np.array_equal(said[:200], whole[:200])
    late = np.flatnonzero((said != whole).any(axis=1))
    assert 5 < len(late) < 40
    assert np.array_equal(said[late[0]], said[late[0] - 1])  # the shares of the month before
    assert np.array_equal(said[-1], whole[-1])


def test_a_restart_goes_on_as_if_it_had_not_been_and_another_way_takes_the_days():
    table, cut = days(520), 470
    whole, _ = shared(table, EVIDENCE)
    _, before = shared(Days(*(column[:cut] for column in table)), EVIDENCE)
    kept = json.loads(json.dumps(before.kept()))
    again, fresh = Sharer(EVIDENCE, K), Sharer("risk-parity", K, at_once=False)
    again.take_up(kept)
    fresh.take_up(kept)
    for at in range(cut, 520):
        assert np.array_equal(again.share(int(table.day[at]), table.awake[at]), whole[at])
        again.end_day(int(table.day[at]), table.net[at], table.awake[at])
    assert len(kept["days"]) < 32_000
    assert len(fresh.days.day) == KEPT_DAYS
    assert fresh.plan is None
    assert len(fresh.owed) > 10  # its plans of the months before are made at once, and scored
    plan = caught_up(*fresh.owed_work())
    assert plan.score["risk-parity"].n > MIN_SCORED
    for damage in ({"days": "!"}, {"days": kept["days"][:40]}, {"plan": {"made": 1}}, {"owed": None}):
        other = Sharer(EVIDENCE, K)
        other.take_up(kept | damage)
        assert other.plan is None
        assert len(other.days.day) == 0
    other.take_up(None)


def test_a_process_makes_the_plan_and_one_that_fails_says_why():
    _, sharer = shared(days(150), "risk-parity", at_once=False)
    maker = PlanMaker()
    maker.begin(sharer.owed_work(), lambda: sharing.COST)
    assert maker.is_busy
    maker._thread.join(30)
    made = maker.taken()
    expected = caught_up(*sharer.owed_work())
    assert np.array_equal(made.share["risk-parity"], expected.share["risk-parity"], equal_nan=True)
    assert maker.taken() is None
    assert maker.cost == sharing.COST
    maker.begin(("risk-parity", None, days(10), []), lambda: 0.002)
    maker._thread.join(30)
    assert maker.taken() is None
    assert "no plan is owed" in maker.trouble
    assert maker.cost == 0.002


def test_the_command_line_and_the_settings_refuse_an_unknown_way():
    from engine.settings import SystemConfig
    from engine.strategies.portfolio_runner import PortfolioRunner

    with pytest.raises(ConfigError, match="sharing"):
        PortfolioRunner(SystemConfig().params(), {"sharing": "none"}, ("A",))
    with pytest.raises(ValueError, match="sharing"):
        SystemConfig(strategy="portfolio", strategy_params={"sharing": "none"})
    long = PortfolioRunner(SystemConfig(decision_interval="1h").params(), {"sharing": EVIDENCE}, ("A",)).history
    short = PortfolioRunner(SystemConfig(decision_interval="1h").params(), {"sharing": "adaptive"}, ("A",)).history
    assert long - short == 365 * 24

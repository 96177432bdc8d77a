"""The whole evaluation on a made-up market: signals are found, failures stay in the table, a kill costs little."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from learnables import HOUR, made_up
from test_trading import PARAMS  # the trend sleeve of a small book

from engine.core.costs import Costs
from engine.core.decide import no_limits
from engine.core.simulate import SimBars
from models import catalogue
from models.agents import shares_of
from models.catalogue import BASE, Entry
from models.evaluate import ENSEMBLE, Plan, _skills_before, cpu_s_of, judge_all, learn_all, prepared, unfinished
from models.evidence import evidence, shares_by_month, trading_figures
from models.evidence_report import (
    BEGIN,
    END,
    aligned,
    printed,
    section_of,
    summary_rows,
    write_section,
)
from models.evidence_words import goal_sentence, plain_words
from models.forecast import HORIZONS, Learnable
from models.panel import made_up_panel
from models.tallies import drawn_days
from models.trading import Terms, Traded
from models.walkforward import gathered, months, run_task

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))

NAMES = ("linear", "persistence", "broken", "holder", "both")
N_BARS = 24 * 270


@pytest.fixture(scope="module")
def market() -> Learnable:
    return made_up(N_BARS, n_symbols=2, drift=0.2)


@pytest.fixture(scope="module")
def plan(market: Learnable, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    catalogue.ENTRIES["broken"] = Entry("learnables", "Broken", "always raises", sources=("tabular",))
    catalogue.ENTRIES["holder"] = Entry("learnables", "Holder", "always long", True, False, sources=("tabular",))
    for name in ("winner", "loser"):
        catalogue.ENTRIES[name] = Entry("learnables", name, "says the same", True, sources=("tabular",))
    catalogue.ENTRIES["both"] = Entry(
        "learnables", "winner", "blends two", True, retrain_months=2, sources=("tabular",), members=("winner", "loser")
    )
    steps = months(market, 0, N_BARS * HOUR)
    yield prepared(market, NAMES, 2, steps, tmp_path_factory.mktemp("cache"), 1)
    for name in ("broken", "holder", "winner", "loser", "both"):
        del catalogue.ENTRIES[name]


@pytest.fixture(scope="module")
def result(plan: Plan, market: Learnable) -> dict:
    failed = learn_all(plan)
    panel = market.panel
    bars = SimBars(
        panel.ts_close, panel.open_px, panel.close_px, np.zeros((0, 2)), panel.high_px, panel.low_px, panel.volume
    )
    terms = Terms(bars, no_limits(2), Costs(0.0, 0.0), PARAMS, None, 10_000.0)
    found = evidence(plan, judge_all(plan, failed), failed, terms)
    found["config"] = {
        "from": "1970-07-01", "to": "1970-09-28", "symbols": list(panel.symbols), "months": len(plan.steps), "seeds": 2,
        "costs": "free", "funding": True,
    }  # fmt: skip
    found |= {"cpu": {"kept_s": 120.0, "now_s": 60.0}, "elapsed_s": 90.0}
    return found


def row(result: dict, name: str) -> dict:
    return next(each for each in result["models"] if each["name"] == name)


def test_months_are_judged_by_what_came_before_them(market: Learnable, plan: Plan) -> None:
    assert [step.name for step in plan.steps] == ["1970-07", "1970-08", "1970-09"]
    for step in plan.steps:
        assert step.train.stop + 24 <= step.valid.start
        assert step.valid.stop + 24 <= step.test.start
    part = months(market, 24 * HOUR * 200, 24 * HOUR * 220)  # from and to need not be months
    assert [step.name for step in part] == ["1970-07", "1970-08"]
    assert market.panel.ts_close[part[0].test.start] == 24 * HOUR * 200 + HOUR
    assert market.panel.ts_close[part[-1].test.stop - 1] == 24 * HOUR * 220


def test_planted_signal_is_found_and_earns_weight_once_shown(result: dict) -> None:
    linear, base = row(result, "linear"), row(result, BASE)
    assert linear["figures"]["accuracy"][0]["low"] > 0.55
    assert linear["figures"]["log_loss_gain"][0]["low"] > 0.0
    assert base["figures"]["log_loss_gain"][0]["value"] == 0.0
    assert linear["figures"]["issued_80"][0]["value"] == pytest.approx(0.8, abs=0.03)
    weight = result["ensemble_weights"]["share"]
    assert [sum(share[k][0] for share in weight.values()) for k in range(3)] == pytest.approx([1.0] * 3)
    assert weight[BASE][0][0] == 1.0  # nobody has a record in the first month
    assert linear["weight"]["latest"][0] > 0.3
    assert linear["trading"]["sharpe"]["value"] > 2.0


def test_every_name_stays_in_the_table_with_seeds_and_spread(result: dict) -> None:
    broken = row(result, "broken")
    assert "on purpose" in broken["failed"]
    assert broken["weight"]["latest"] == [0.0] * len(HORIZONS)
    assert row(result, "linear")["seeds"] == 1  # nothing random in it
    holder = row(result, "holder")
    assert "figures" not in holder
    assert holder["trading"]["exposure"] > 0.1
    text = aligned(*summary_rows(result))
    assert all(name in text for name in (*NAMES, BASE, ENSEMBLE, "trend, the bar"))
    assert "The goal" in goal_sentence(result["goal"])
    assert "20 % of the bars (taken as met from 19 % on" in goal_sentence(result["goal"])


def test_the_share_of_a_month_is_what_the_days_before_it_earned(result: dict) -> None:
    by_evidence, half = result["blends"]
    assert by_evidence["share"]["by_month"] == [0.0] * 3  # fewer days than can tell anything
    assert by_evidence["sharpe"]["value"] == pytest.approx(result["trend"]["sharpe"]["value"])
    assert half["sharpe"]["value"] != by_evidence["sharpe"]["value"]
    assert 0.0 <= row(result, "linear")["earned"]["share"] <= 0.5
    assert row(result, "linear")["earned"]["excess"]["low"] > 0.0
    rng = np.random.default_rng(1)
    hold, trend = 0.01 * rng.standard_normal((2, 299))
    daily = 0.006 + 0.01 * rng.standard_normal(299)
    plan = SimpleNamespace(steps=[SimpleNamespace(test=slice(720 * k, 720 * k + 720)) for k in range(10)])
    court = SimpleNamespace(hold=hold, trend=SimpleNamespace(daily=trend))
    ts_close = HOUR * np.arange(1, 7201)
    shares = shares_by_month(plan, ts_close, daily, court)
    assert (shares[:4] == 0.0).all()
    assert (shares[4:] > 0.2).all()
    later = daily.copy()
    later[150:] = -0.01  # from the sixth month on: what was given by then stays
    np.testing.assert_array_equal(shares_by_month(plan, ts_close, later, court)[:6], shares[:6])
    assert shares_by_month(plan, ts_close, later, court)[9] == 0.0


def test_who_lost_to_what_is_said_in_words() -> None:
    def model(name: str, sharpe: float, *gain: float) -> dict:
        figures = {"log_loss_gain": [{"value": each} for each in gain]}
        return {"name": name, "trading": {"sharpe": {"value": sharpe}}, "figures": figures}

    models = [model("linear", 0.6, 0.004, 0.001), model("lstm", -0.2, 0.003, -0.002), {"name": "sac", "failed": "x"}]
    bar = {"sharpe": {"value": 1.8, "low": 1.0, "high": 2.6}}
    blends = [{"name": "trend + ensemble, half each", "sharpe": {"value": 1.9}}]
    text = plain_words({"models": models, "trend": bar, "blends": blends, "horizons": [1, 24]})
    assert "Every model alone lost to it; the best of them is linear with 0.60." in text
    assert "Lost money after costs: lstm (-0.20)." in text
    assert "1.00 to 2.60, no proof that models change" in text
    assert "lstm lost to the base rate at 24 and to linear at 1, 24 bars" in text
    assert "linear lost" not in text
    assert "EWMA" not in text  # nothing was found out about it
    for row, low in zip(models[:2], (0.6, -0.1), strict=True):
        row["figures"] |= {name: [{"low": low}] for name in ("volatility_gain", "barrier_gain", "barrier_right")}
    models[0]["figures"]["barrier_right"] = [{"low": 0.49}]
    text = plain_words({"models": models, "trend": bar, "blends": blends, "horizons": [1, 24]})
    assert "surely better than by the EWMA by: linear." in text
    assert "base rate's calls for: linear; surely oftener than not for: nobody." in text
    models[1]["trading"]["sharpe"]["value"] = 2.0
    assert "Above it: lstm (2.00)" in plain_words({"models": models, "trend": bar, "blends": [], "horizons": [1, 24]})


def test_a_sharpe_ratio_lies_inside_its_interval_however_seeds_differ() -> None:
    """A seed that hardly moves and wins, one that moves much and loses: their mean returns are the loser's alone."""
    rng = np.random.default_rng(5)
    quiet, loud = 1e-4 * (0.15 + rng.standard_normal(700)), 1e-2 * (-0.1 + rng.standard_normal(700))
    seeds = [Traded(each, np.sqrt(365.0) * each.mean() / each.std(ddof=1), 0.0, 0.0, 0.0, 0.0, 0.0)
             for each in (quiet, loud)]  # fmt: skip
    found = trading_figures(seeds, drawn_days(700))["sharpe"]
    assert found["value"] == pytest.approx((seeds[0].sharpe + seeds[1].sharpe) / 2.0)
    assert found["low"] < found["value"] < found["high"]
    assert 0.5 < found["high"] - found["low"] < 4.0
    loser = trading_figures(seeds[1:], drawn_days(700))["sharpe"]
    assert loser["high"] < found["value"]  # what the interval used to be about
    never = trading_figures([seeds[0], seeds[1]._replace(daily=np.zeros(700), sharpe=np.nan)], drawn_days(700))
    assert all(np.isnan(never["sharpe"][name]) for name in ("value", "low", "high"))


def test_the_terminal_gets_every_figure_at_every_horizon(result: dict) -> None:
    text = printed(result)
    parts = {part.split("\n")[0]: part for part in text.split("\n\n")}
    assert {"Net of costs", "Earned of a decision", "Right direction", "Information coefficient"} <= set(parts)
    log_loss = next(part for title, part in parts.items() if title.startswith("Log-loss"))
    for name in ("linear", "persistence", BASE, ENSEMBLE):
        assert name in log_loss
    assert all(f"{horizon} bars" in log_loss.split("\n")[1] for horizon in HORIZONS)
    coverage = next(part for title, part in parts.items() if title.startswith("Share of outcomes"))
    assert all(f"{level} %, as issued" in coverage for level in (50, 80, 90, 95))
    figure = row(result, "linear")["figures"]["ic"][5]
    assert f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})" in parts["Information coefficient"]
    assert "3 months in 3 minutes of one processor" in text
    volatility = next(part for title, part in parts.items() if title.startswith("Volatility over 24 bars"))
    gain = row(result, "linear")["figures"]["volatility_gain"][0]
    assert f"{gain['value']:.4f} ({gain['low']:.4f} to {gain['high']:.4f})" in volatility
    barriers = next(part for title, part in parts.items() if title.startswith("Barriers at one sigma"))
    assert 0.0 < row(result, "linear")["figures"]["barrier_decided"][0]["value"] < 1.0
    assert all(name in part for part in (volatility, barriers) for name in ("linear", BASE, ENSEMBLE))


def test_the_script_judges_a_folder_of_candles_and_writes_what_it_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import evaluate_models  # as the README names it

    panel = made_up_panel(3, 24 * 230, 2, memory=0.3)
    data = tmp_path / "data"
    data.mkdir()
    for i, symbol in enumerate(panel.symbols):
        columns = {name: getattr(panel, f"{name}_px")[:, i] for name in ("open", "high", "low", "close")}
        opened = (panel.ts_close - HOUR).astype("datetime64[ns]")
        table = pa.table({"timestamp": opened, **columns, "volume": panel.volume[:, i]})
        pq.write_table(table, data / f"{symbol}.parquet")
    first, last = (str(np.datetime64(int(panel.ts_close[t]), "ns"))[:10] for t in (24 * 190, -1))
    out = tmp_path / "found.json"
    asked = ["evaluate_models.py", "--data", data, "--from", first, "--to", last, "--models", "persistence,linear",
             "--seeds", "1", "--jobs", "1", "--cache", tmp_path / "cache", "--json", out]  # fmt: skip
    monkeypatch.setattr("sys.argv", [str(part) for part in asked])
    monkeypatch.setattr(evaluate_models, "CANARY_BARS", 1_500)
    assert evaluate_models.main() == 0
    told = capsys.readouterr().out
    assert "Right direction" in told
    assert "The goal" in told
    found = json.loads(out.read_text())
    assert [each["name"] for each in found["models"]] == [BASE, "persistence", "linear", ENSEMBLE]
    assert set(found["canaries"].values()) == {"pass"}
    assert found["config"]["costs"].startswith("fee ")
    monkeypatch.setattr("sys.argv", [str(part) for part in [*asked[:3], "--from", last, "--to", last]])
    assert evaluate_models.main() == 2
    assert "no month can be judged" in capsys.readouterr().err


def test_section_is_written_once(result: dict, tmp_path: Path) -> None:
    document = tmp_path / "results.md"
    document.write_text("# Results\n\nkept\n")
    for _ in range(2):
        write_section(result, document)
    text = document.read_text()
    assert text.startswith("# Results\n\nkept\n")
    assert "3 months in 3 minutes of one processor (2 of them for months that an earlier stretch had kept)" in text
    assert "| both | blends two | 2 | every 2 months |" in text
    assert text.count(BEGIN) == text.count(END) == text.count("### Net of costs") == 1
    assert text.count("### How far prices move") == text.count("### Which barrier comes first") == 1
    assert text.rstrip().endswith(section_of(document))
    assert section_of(tmp_path / "absent.md") == ""


def test_a_killed_run_goes_on_and_says_the_same(plan: Plan, result: dict) -> None:
    task = plan.task("linear", 0)
    whole = gathered(task.folder, list(plan.steps))
    last = task.folder / f"{plan.steps[-1].name}.npz"
    kept = {path: path.stat().st_mtime_ns for path in task.folder.glob("*.npz") if path != last}
    last.unlink()
    assert unfinished(plan)["linear"] == "not finished, 2 of 3 months were done"
    assert "linear" not in judge_all(plan, unfinished(plan))
    assert run_task(task, plan.folder / "dataset", list(plan.steps)) == ""
    np.testing.assert_array_equal(gathered(task.folder, list(plan.steps)).prob_up, whole.prob_up)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_policies_are_blended_by_what_they_earned_without_learning_again(plan: Plan, result: dict) -> None:
    assert not any(path.name.startswith("both") for path in plan.folder.iterdir())
    assert [task.seed for task in plan.tasks] == sorted(task.seed for task in plan.tasks)
    assert row(result, "both")["seeds"] == 2
    shares = row(result, "both")["member_weights"]["by_month"]
    first = shares_of(np.array([[60.0, 0.048, 0.006], [60.0, -0.024, 0.006]]))  # what the first validation showed
    assert [shares["winner"][0], shares["loser"][0]] == pytest.approx(list(first))
    assert shares["winner"][1] == shares["winner"][0]  # weighed again only when they are trained again
    assert shares["winner"][2] > shares["winner"][1]
    assert row(result, "both")["seconds_a_month"] >= row(result, "winner")["seconds_a_month"] > 0.0
    assert cpu_s_of(plan) > 0.0


def test_weights_look_only_at_outcomes_that_are_known(plan: Plan, market: Learnable, result: dict) -> None:
    first, row_of = plan.rows.start, plan.steps[1].test.start
    n_days = -(-(plan.rows.stop - first) // 24) + 1
    sums, counts = np.full((n_days, len(HORIZONS)), 1.0), np.ones((n_days, len(HORIZONS)))
    ts_close = market.panel.ts_close
    day = int(ts_close[row_of] // (24 * HOUR) - ts_close[first] // (24 * HOUR))
    sums[day - 1 :] = 1e9  # a day whose last forecasts have no outcome yet, and those after it
    found = _skills_before({"a": (sums, counts)}, ts_close, first, row_of)["a"]
    assert found.gain.tolist() == [1.0] * len(HORIZONS)
    assert found.n_days[0] == day - 1

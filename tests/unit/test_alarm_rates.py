"""The benchmark of alarms counts by span, by reason and by nearness to known breaks."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

from alarms import day_of, kind_of, told

DAY = 86_400 * 10**9
SIZE = "the size of moves changed"


def test_rates_are_a_year_and_only_what_follows_a_break_is_near_it():
    span = day_of("2020-01-01"), day_of("2021-01-01")
    broke = day_of("2020-03-12")
    changes = [(broke - DAY, SIZE), (broke + 2 * DAY, SIZE), (broke + 4 * DAY, SIZE), (span[1], SIZE),
               (broke + DAY, "wild for two days, which the training hardly knew")]  # fmt: skip
    trainings = [(broke + 2 * DAY, f"regime: {SIZE}"), (broke + 9 * DAY, "drift: 20 of 50 inputs are unlike any week"),
                 (broke + 20 * DAY, "schedule: every 7 days"), (broke + 30 * DAY, "expiry: it has")]  # fmt: skip
    found = told(changes, trainings, span)
    assert (found["alarms_a_year"], found["alarms_near_a_break"]) == (3.0, 1)
    assert (found["breaks"], found["breaks_with_an_alarm"], found["rare_regimes_a_year"]) == (1, 1, 1.0)
    assert (found["trainings_beyond_schedule_a_year"], found["trainings_beyond_schedule_near_a_break"]) == (2.0, 1)
    assert found["by_reason_a_year"] == {"regime": 1.0, "drift of inputs": 1.0}
    assert kind_of("drift: forecasts of the newest 30 days were surely worse") == "drift of forecasts"

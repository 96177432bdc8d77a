"""Months of trainings by the calendar: somebody is always in force, and challengers get the time their test needs."""

from __future__ import annotations

import pytest
from learnables import made_up

from engine.domain import NS_PER_DAY
from models import champion
from models.book import ModelBook
from models.fit import store_set, train_set
from models.retraining import Facts, why_train
from models.roles import read_roles, why_unusable
from models.sets import BASE
from models.train import TrainRequest, _give_role

PAUSE_DAYS = 3


@pytest.fixture(scope="module")
def data():
    return made_up(n_bars=24 * 161, n_symbols=1)


@pytest.fixture(scope="module")
def base(data):
    return train_set(data, (BASE,), 0, lambda *_: True)


@pytest.mark.parametrize(("every_days", "blocks", "trainings"), [(7, 25, 6), (28, 16, 5), (60, 1, 3)])
def test_models_are_never_silent_and_a_challenger_is_judged_for_weeks(
    tmp_path, data, base, every_days, blocks, trainings
):
    book, challenged, tried = ModelBook(tmp_path), {}, 0
    for day in range(1, 125):
        now = day * NS_PER_DAY
        found = book.succession(now)
        if found is not None:
            book.promote(found[1], "the one before has expired, and so", "expiry", now)
        facts = book.standing(now)
        why = why_train(Facts(
            ts_now=now, ts_tried=tried, ts_last=now, ts_expires=facts["ts_expires"], ts_heir=facts["ts_heir"], drift=[],
            change=None, skill=None, every_days=every_days, pause_days=PAUSE_DAYS,
        ))  # fmt: skip
        if day == 1 or why is not None:
            store_set(tmp_path, data, base, f"v{day}", "1h", 0, now)
            _give_role(tmp_path, f"v{day}", now, TrainRequest(tmp_path, (), reason=why or "first", actor="calendar"))
            tried = now
        roles = read_roles(tmp_path)
        assert why_unusable(tmp_path, roles.champion, now) is None, day
        if roles.challenger:
            challenged[roles.challenger] = challenged.get(roles.challenger, 0) + 1
    assert max(challenged.values()) * NS_PER_DAY // champion.BLOCK_NS == blocks
    assert len(challenged) + 1 == trainings

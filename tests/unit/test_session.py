"""Whose account this is, over restarts."""

import pytest

from engine.domain import Mode
from engine.execution.ids import client_order_id
from engine.runtime.session import open_session
from storage.database import Database


@pytest.fixture
def store(tmp_path):
    database = Database(tmp_path / "t.duckdb")
    yield database
    database.close()


def opened(store, account="0xabc@1", mode=Mode.PAPER):
    return open_session(store, mode, "simulated", 1.0, account, 5)


def keep(store, *client_ids):
    store.append_durable("orders", [{"account": "a", "client_id": i, "status": "FILLED"} for i in client_ids]).result(
        10
    )


def test_tag_belongs_to_the_data_folder(store, tmp_path):
    tag = opened(store).tag
    assert len(tag) == 4
    assert opened(store, "0xother@2").tag == tag
    other = Database(tmp_path / "other.duckdb")
    assert opened(other).tag != tag
    other.close()


def test_engine_id_is_new_each_time_and_the_account_key_is_not(store):
    first, second = opened(store), opened(store)
    assert first.engine_id != second.engine_id
    assert first.account_key == second.account_key
    assert first.risk_key == f"risk:{first.account_key}"


def test_another_account_or_mode_has_another_memory(store):
    keys = {opened(store).account_key, opened(store, "0xabc@2").account_key, opened(store, mode=Mode.LIVE).account_key}
    assert len(keys) == 3


def test_sequence_goes_on_after_the_orders_that_were_made(store):
    session = opened(store)
    assert session.sequence == 0
    keep(store, client_order_id(session.tag, 4, 1), client_order_id(session.tag, 5, 2))
    assert opened(store).sequence == 2


def test_sequence_is_not_given_twice_when_a_row_was_lost(store):
    tag = opened(store).tag
    keep(store, client_order_id(tag, 0, 1), client_order_id(tag, 0, 9), client_order_id(tag, 7, 3))
    assert opened(store).sequence == 9


def test_foreign_orders_do_not_count(store):
    tag = opened(store).tag
    keep(store, client_order_id(tag, 0, 2), "web_900", "aszzzz-1-zz", "autoclose-5")
    assert opened(store).sequence == 2

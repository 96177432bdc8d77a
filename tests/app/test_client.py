"""The client against a real Flight server: values, refusals, silence, restarts."""

from __future__ import annotations

import json
import time

import pytest
from fake_engine import FakeEngine

from app.client import CommandRefused, EngineClient, EngineUnavailable, new_key


@pytest.fixture
def engine(tmp_path):
    engine = FakeEngine(tmp_path, ticking=False).start()
    yield engine
    if not engine.stopping.is_set():
        engine.stop()


@pytest.fixture
def client(engine):
    return EngineClient(engine.home)


def test_reads_return_the_columns_and_rows_of_the_engine(engine, client):
    bars = client.bars("BTCUSDT", "1h", limit=5)
    assert list(bars.columns) == ["ts_open", "open_px", "high_px", "low_px", "close_px", "volume"]
    assert len(bars) == 5
    assert (bars["ts_open"].diff().dropna() == 3600 * 10**9).all()
    assert set(client.positions()["symbol"]) == {s for s, q in engine.books.qty.items() if q}
    assert len(client.orders(open_only=True)) == len(engine.books.open_orders()) > 0
    assert client.fills(symbol="BTCUSDT")["symbol"].unique().tolist() == ["BTCUSDT"]


def test_an_empty_table_is_a_table_and_not_an_error(tmp_path):
    engine = FakeEngine(tmp_path, empty=True, ticking=False).start()
    client = EngineClient(tmp_path)
    assert client.positions().empty
    assert client.equity().empty
    engine.stop()


def test_a_refusal_carries_the_engines_sentence_and_no_traceback(client):
    with pytest.raises(CommandRefused) as refused:
        client.close_position("DOGEUSDT", new_key())
    assert str(refused.value) == "There is no open position in DOGEUSDT."


def test_a_read_that_the_engine_cannot_serve_is_unknown_with_its_sentence(client):
    with pytest.raises(EngineUnavailable, match=r"^The engine does not know NOPEUSDT\.$"):
        client.bars("NOPEUSDT", "1m")


def test_an_error_without_a_sentence_shows_no_traceback(engine, client):
    engine.act_doctor = lambda body: 1 / 0
    with pytest.raises(EngineUnavailable) as unknown:
        client.doctor()
    assert "Traceback" not in str(unknown.value)
    assert "ZeroDivision" not in str(unknown.value)


def test_without_an_engine_the_answer_is_unknown_since_the_first_question(tmp_path):
    before = time.time()
    with pytest.raises(EngineUnavailable) as unknown:
        EngineClient(tmp_path).status()
    assert before - 1 <= unknown.value.since <= time.time()
    assert unknown.value.unknown_since.startswith("unknown since ")


def test_unknown_since_is_the_moment_of_the_last_answer(engine, client):
    client.status()
    answered = time.time()
    engine.stop(leave_card=True)
    time.sleep(0.3)
    with pytest.raises(EngineUnavailable) as unknown:
        client.positions()
    assert unknown.value.since == pytest.approx(answered, abs=0.25)


def test_a_restarted_engine_is_found_without_a_new_client(engine, client):
    first = client.status()["engine_id"]
    engine.stop()
    second = FakeEngine(engine.home, ticking=False).start()
    assert client.status()["engine_id"] == second.engine_id != first
    second.stop()


def test_a_wrong_token_is_unavailable_and_not_a_crash(engine):
    card = json.loads((engine.home / "engine.json").read_text())
    (engine.home / "engine.json").write_text(json.dumps({**card, "token": "wrong"}))
    with pytest.raises(EngineUnavailable, match="token"):
        EngineClient(engine.home).status()


def test_the_same_key_twice_is_one_order(engine, client):
    ticket = {"symbol": "BTCUSDT", "side": "buy", "kind": "market", "size": {"unit": "quote", "value": 500},
              "limit_px": None, "stop_px": None, "reduce_only": False}  # fmt: skip
    before, key = len(engine.books.fills), new_key()
    first, second = client.submit_ticket(ticket, key), client.submit_ticket(ticket, key)
    assert first == second
    assert len(engine.books.fills) == before + 1


def test_the_live_stream_opens_with_the_whole_state_and_ends_as_unavailable(engine, client):
    stream = client.live()
    kinds = [json.loads(next(stream))["t"] for _ in range(4)]
    assert kinds == ["hello", "status", "positions", "orders"]
    engine.stop()
    with pytest.raises(EngineUnavailable):
        list(stream)


def test_keys_differ():
    assert len({new_key() for _ in range(100)}) == 100

"""The checklist before live trading: every item must earn its green, and this version can never be armed."""

from types import SimpleNamespace

import pytest

from engine.domain import NS_PER_DAY
from engine.runtime.arming import arming_checklist, credentials_present, offline_items
from engine.runtime.reconcile import Reconciliation
from engine.settings import SystemConfig
from storage.database import Database

NOW = 100 * NS_PER_DAY
NEVER_GREEN = {"Encrypted vault", "Two-factor code", "Verified on the real venue"}


@pytest.fixture(autouse=True)
def no_keys(monkeypatch):
    for name in ("ASTER_PRIVATE_KEY", "ASTER_SIGNER_KEY", "ASTER_USER"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def store(tmp_path):
    database = Database(tmp_path / "t.duckdb")
    yield database
    database.close()


def drilled(store, days_ago):
    row = {"ts": NOW - int(days_ago * NS_PER_DAY), "name": "time_to_flat_s", "value": 0.4, "labels": "FLATTEN"}
    store.append_durable("metrics", [row]).result(10)


async def checked(store, *, skew_ms=10.0, reconciled=True, trouble=None, **settings):
    last = None if reconciled is None else Reconciliation(NOW, reconciled, (), "books agree" if reconciled else "2 off")
    loop = SimpleNamespace(
        config=SystemConfig(**settings), reconciler=SimpleNamespace(last=last), store=store,
        clock=SimpleNamespace(now=lambda: NOW), storage_trouble=trouble,
    )  # fmt: skip
    answer = await arming_checklist(SimpleNamespace(loop=loop, clock_skew_ms=skew_ms))
    return {item["name"]: item for item in answer["items"]}, answer["ready"]


async def test_all_that_can_be_green_is_green_and_live_is_still_refused(store, monkeypatch):
    monkeypatch.setenv("ASTER_PRIVATE_KEY", "0x1")
    drilled(store, 1.0)
    items, ready = await checked(store)
    assert {name for name, item in items.items() if not item["ok"]} == NEVER_GREEN
    assert ready is False
    assert all(item["detail"] for item in items.values())


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("Clock", {"skew_ms": 2_500.0}),
        ("Clock", {"skew_ms": -2_500.0}),
        ("Clock", {"skew_ms": float("nan")}),
        ("Books reconciled", {"reconciled": None}),
        ("Books reconciled", {"reconciled": False}),
        ("Record writable", {"trouble": "disk full"}),
        ("Protective stops on", {"use_protective_stops": False}),
        ("Loss limits on", {"use_gate_daily_loss": False}),
        ("Loss limits on", {"use_gate_drawdown": False}),
        ("Credentials", {}),
    ],
)
async def test_each_item_turns_red_for_its_own_reason(store, name, fields):
    drilled(store, 1.0)
    items, ready = await checked(store, **fields)
    assert items[name]["ok"] is False
    assert {other for other, item in items.items() if not item["ok"]} <= NEVER_GREEN | {name, "Credentials"}
    assert ready is False


@pytest.mark.parametrize(
    ("days_ago", "ok", "words"), [(None, False, "never"), (29.0, True, "29.0"), (31.0, False, "31.0")]
)
async def test_flatten_must_have_been_rehearsed_within_a_month(store, days_ago, ok, words):
    if days_ago is not None:
        drilled(store, days_ago)
    items, _ = await checked(store)
    assert items["Flatten rehearsed"]["ok"] is ok
    assert words in items["Flatten rehearsed"]["detail"]


@pytest.mark.parametrize(
    ("names", "present"),
    [
        (["ASTER_PRIVATE_KEY"], True),
        (["ASTER_SIGNER_KEY", "ASTER_USER"], True),
        (["ASTER_SIGNER_KEY"], False),
        (["ASTER_USER"], False),
        ([], False),
    ],
)
def test_credentials_need_a_key_that_can_sign_for_somebody(monkeypatch, names, present):
    for name in names:
        monkeypatch.setenv(name, "0x1")
    assert credentials_present() is present
    assert offline_items()[0]["ok"] is present


def test_key_is_not_in_the_checklist(monkeypatch):
    monkeypatch.setenv("ASTER_PRIVATE_KEY", "0xdeadbeef")
    assert "deadbeef" not in str(offline_items())

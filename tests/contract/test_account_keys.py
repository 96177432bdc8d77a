"""Legacy keys and agents at the practice exchange, through the real adapter."""

from __future__ import annotations

import json
import math
import urllib.parse

import pytest
from engine_rig import BTC, MID, limit, practice_exchange

from engine.domain import ApprovedOrder
from engine.errors import Rejected
from engine.venues.account_rules import read_account_rules
from engine.venues.aster import AsterVenue
from engine.venues.aster_client import client_config
from engine.venues.hmac_keys import hmac_request, legacy_path
from engine.venues.sandbox.auth import key_from_seed
from engine.venues.sandbox.books import account_books, grant

AGENT_KEY, AGENT = key_from_seed(99, "agent")


@pytest.fixture
async def server():
    async with practice_exchange() as server:
        yield server


def hmac_config(server, secret=None):
    return client_config(
        private_key=None, api_key=server.hmac_key, api_secret=secret or server.hmac_secret,
        base_url=server.base_url, ws_url=server.ws_url,
    )  # fmt: skip


def agent_config(server):
    return client_config(
        private_key=None, signer_key=AGENT_KEY, user=server.address, base_url=server.base_url, ws_url=server.ws_url
    )


def test_legacy_paths_have_the_legacy_versions():
    assert legacy_path("v3/order") == "v1/order"
    assert legacy_path("v3/positionRisk") == "v2/positionRisk"
    assert legacy_path("v4/account") == "v4/account"
    assert legacy_path("v3/positionSide/dual") == "v1/positionSide/dual"


def test_the_secret_is_not_in_the_request_and_the_signature_covers_what_is_sent():
    request = hmac_request("http://x/fapi", "v3/order", "POST", {"symbol": BTC, "reduceOnly": True}, "k" * 16, "s", 17)
    message, _, signature = request["body"].partition("&signature=")
    assert dict(urllib.parse.parse_qsl(message)) == {
        "symbol": BTC, "reduceOnly": "true", "recvWindow": "5000", "timestamp": "17",
    }  # fmt: skip
    assert len(signature) == 64
    assert request["headers"]["X-MBX-APIKEY"] == "k" * 16
    assert "?" not in request["url"]


async def test_a_legacy_key_reads_trades_and_listens(server):
    venue = AsterVenue(hmac_config(server))
    try:
        assert BTC in await venue.instruments()
        order = ApprovedOrder("legacy-1", 0, limit(1, 0.002, MID - 500), math.nan)
        update = await venue.submit(order)
        assert update.client_id == "legacy-1"
        await venue.cancel_many(BTC, ["legacy-1"])
        orders, _, balance = await venue.snapshot()
        assert not orders
        assert balance.cash == pytest.approx(10_000.0)
        events = venue.events()
        assert (await anext(events)).up
        await events.aclose()
    finally:
        await venue.close()
    (row,) = account_books(server.venue, server.address)["orders"]
    assert (row["clientOrderId"], row["status"]) == ("legacy-1", "CANCELED")


async def test_a_wrong_secret_is_refused_and_not_named(server):
    venue = AsterVenue(hmac_config(server, secret="not-the-secret"))
    try:
        with pytest.raises(Rejected) as refusal:
            await venue.snapshot()
    finally:
        await venue.close()
    assert refusal.value.code == -1022
    assert "not-the-secret" not in str(refusal.value)


@pytest.mark.parametrize("can_withdraw", [False, True])
async def test_an_agents_right_to_withdraw_is_read(server, can_withdraw):
    grant(server.venue, {"address": server.address, "signer": AGENT, "can_withdraw": can_withdraw})
    rules = await read_account_rules(agent_config(server))
    assert rules.can_withdraw is can_withdraw
    assert (rules.can_trade, rules.is_hedge_mode, rules.is_multi_asset) == (True, False, False)
    assert rules.mark_px[BTC] == pytest.approx(MID, rel=0.01)
    assert rules.leverage[BTC] >= 1
    assert rules.equity == pytest.approx(10_000.0)
    assert rules.troubles == ()


async def test_a_main_wallet_can_always_withdraw(server):
    config = client_config(private_key=server.private_key, base_url=server.base_url, ws_url=server.ws_url)
    assert (await read_account_rules(config)).can_withdraw is True


async def test_a_legacy_key_has_the_right_that_the_account_shows(server):
    assert (await read_account_rules(hmac_config(server))).can_withdraw is True
    server.venue.keys.register_hmac(server.hmac_key, server.hmac_secret, server.address, can_withdraw=False)
    assert (await read_account_rules(hmac_config(server))).can_withdraw is False


async def test_no_answer_is_unknown_and_says_which(server):
    rules = await read_account_rules(agent_config(server))  # never registered
    assert rules.can_withdraw is None
    assert rules.is_hedge_mode is None
    assert json.dumps(rules.troubles).count("AuthenticationError") == 4

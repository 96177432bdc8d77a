"""Our fast signature is byte for byte ccxt's, which stock servers accept."""

from __future__ import annotations

import ccxt.pro
import pytest

from engine.venues.aster_client import AsterClient, client_config

KEY = "0x" + "ab" * 32


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("chain_id", [None, 714])
def test_signed_request_equals_ccxt_s(method, chain_id):
    config = client_config(private_key=KEY, base_url="http://127.0.0.1:1", ws_url="ws://127.0.0.1:1", chain_id=chain_id)
    ours = AsterClient(config, lambda *event: None, lambda sentence: None)
    stock = ccxt.pro.aster(config)
    params = {"symbol": "BTCUSDT", "note": "ä & =", "orderIdList": ["1", "2"], "nonce": "1234567890123456"}
    request = ours.sign("v3/order", ["fapiPrivate"], method, dict(params))
    assert request == stock.sign("v3/order", ["fapiPrivate"], method, dict(params))
    assert "signature=0x" in (request["body"] or request["url"])


def test_agent_signs_for_its_user_like_ccxt():
    user = "0x" + "12" * 20
    config = client_config(
        private_key=None, signer_key=KEY, user=user, base_url="http://127.0.0.1:1", ws_url="ws://127.0.0.1:1"
    )
    ours, stock = AsterClient(config, lambda *event: None, lambda sentence: None), ccxt.pro.aster(config)
    params = {"nonce": "1"}
    request = ours.sign("v3/order", ["fapiPrivate"], "POST", dict(params))
    assert request == stock.sign("v3/order", ["fapiPrivate"], "POST", dict(params))
    assert f"user={user}" in request["body"]

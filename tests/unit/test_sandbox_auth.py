"""Signatures are checked against eth-account's own EIP-712 encoder and a published HMAC example, not against ours."""

import hashlib
import hmac

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data

from engine.venues.sandbox.auth import (
    KeyRing,
    builder_digest,
    domain_separator,
    key_from_seed,
    message_digest,
    recover_address,
)
from engine.venues.sandbox.codes import Refusal

CHAIN_ID = 1666
NOW_US = 1_795_000_000_000_000
DOMAIN = {
    "name": "AsterSignTransaction",
    "version": "1",
    "chainId": CHAIN_ID,
    "verifyingContract": "0x0000000000000000000000000000000000000000",
}


def sign(key, message, chain_id=CHAIN_ID):
    """Sign a parameter string with eth-account."""
    typed = encode_typed_data(
        DOMAIN | {"chainId": chain_id}, {"Message": [{"name": "msg", "type": "string"}]}, {"msg": message}
    )
    return "0x" + Account.sign_message(typed, key).signature.hex().removeprefix("0x")


def signed(key, address, nonce=NOW_US, user=None, signer=None, extra="", chain_id=CHAIN_ID):
    message = f"nonce={nonce}&user={user or address}&signer={signer or address}{extra}"
    return f"{message}&signature={sign(key, message, chain_id)}"


@pytest.fixture
def trader():
    key, address = key_from_seed(7)
    ring = KeyRing((1666, 714))
    ring.register_signer(address, address)
    return ring, key, address


def code_of(call, *args):
    with pytest.raises(Refusal) as caught:
        call(*args)
    return caught.value.code


def test_test_key_and_its_address_belong_together():
    key, address = key_from_seed(7)
    assert Account.from_key(key).address.lower() == address
    assert key_from_seed(8) != (key, address)


def test_digest_is_the_one_that_eth_account_signs(trader):
    _, key, address = trader
    message = "symbol=BTCUSDT&side=BUY&type=LIMIT&newClientOrderId=a%3Ab"
    assert recover_address(message_digest(domain_separator(CHAIN_ID), message), sign(key, message)) == address


def test_approve_builder_digest_is_the_one_that_eth_account_signs(trader):
    _, key, address = trader
    fields = ["Builder", "MaxFeeRate", "BuilderName", "AsterChain", "User"]
    types = {"ApproveBuilder": [*({"name": f, "type": "string"} for f in fields), {"name": "Nonce", "type": "uint256"}]}
    params = {"builder": "0xb1", "maxFeeRate": "0.001", "builderName": "x", "asterChain": "Mainnet", "user": address}
    message = {name: params[name[0].lower() + name[1:]] for name in fields} | {"Nonce": NOW_US}
    signature = Account.sign_message(encode_typed_data(DOMAIN, types, message), key).signature.hex()
    digest = builder_digest(domain_separator(CHAIN_ID), params | {"nonce": str(NOW_US)})
    assert recover_address(digest, signature) == address


@pytest.mark.parametrize("chain_id", [1666, 714])
def test_right_signature_opens_the_account_on_either_chain_id(trader, chain_id):
    ring, key, address = trader
    assert ring.verify_typed(signed(key, address, chain_id=chain_id), NOW_US) == address


def test_signature_for_another_chain_is_refused(trader):
    ring, key, address = trader
    assert code_of(ring.verify_typed, signed(key, address, chain_id=1), NOW_US) == -1022


def test_changing_one_parameter_breaks_the_signature(trader):
    ring, key, address = trader
    raw = signed(key, address, extra="&quantity=1").replace("quantity=1", "quantity=2")
    assert code_of(ring.verify_typed, raw, NOW_US) == -1022


def test_another_wallets_key_cannot_sign_for_this_one(trader):
    ring, _, address = trader
    other, _ = key_from_seed(8)
    assert code_of(ring.verify_typed, signed(other, address), NOW_US) == -1022


@pytest.mark.parametrize("signature", ["", "0x12", "zz" * 65, "0x" + "00" * 65, "0x" + "ff" * 64 + "1b"])
def test_garbage_is_no_signature(trader, signature):
    ring, _, address = trader
    raw = f"nonce={NOW_US}&user={address}&signer={address}&signature={signature}"
    assert code_of(ring.verify_typed, raw, NOW_US) in (-1022, -1102)


def test_unknown_signer_is_unauthorised(trader):
    ring, _, _ = trader
    key, address = key_from_seed(9)
    assert code_of(ring.verify_typed, signed(key, address), NOW_US) == -1002


def test_agent_signs_for_its_user_until_it_is_removed(trader):
    ring, _, address = trader
    agent_key, agent = key_from_seed(7, "agent")
    raw = signed(agent_key, agent, user=address)
    assert code_of(ring.verify_typed, raw, NOW_US) == -1002
    ring.register_signer(agent, address)
    assert ring.verify_typed(raw, NOW_US) == address
    ring.remove_signer(agent)
    assert code_of(ring.verify_typed, signed(agent_key, agent, NOW_US + 1, user=address), NOW_US) == -1002


def test_agent_of_one_user_cannot_name_another(trader):
    ring, _, address = trader
    agent_key, agent = key_from_seed(7, "agent")
    ring.register_signer(agent, address)
    _, stranger = key_from_seed(9)
    assert code_of(ring.verify_typed, signed(agent_key, agent, user=stranger), NOW_US) == -1002


@pytest.mark.parametrize(
    ("offset_us", "code"), [(60_000_000, None), (-60_000_000, None), (60_000_001, -1021), (-60_000_001, -1021)]
)
def test_nonce_must_be_within_a_minute_of_the_wall_clock(trader, offset_us, code):
    ring, key, address = trader
    raw = signed(key, address, NOW_US + offset_us)
    if code is None:
        assert ring.verify_typed(raw, NOW_US) == address
    else:
        assert code_of(ring.verify_typed, raw, NOW_US) == code


def test_nonce_cannot_be_used_twice(trader):
    ring, key, address = trader
    raw = signed(key, address)
    ring.verify_typed(raw, NOW_US)
    assert code_of(ring.verify_typed, raw, NOW_US) == -4225
    assert ring.verify_typed(signed(key, address, NOW_US - 1), NOW_US) == address  # older, but never used


def test_refused_signature_does_not_use_up_its_nonce(trader):
    ring, key, address = trader
    wrong, _ = key_from_seed(8)
    assert code_of(ring.verify_typed, signed(wrong, address), NOW_US) == -1022
    assert ring.verify_typed(signed(key, address), NOW_US) == address


def test_nonce_below_the_latest_hundred_has_expired(trader):
    ring, key, address = trader
    for i in range(100):
        ring.verify_typed(signed(key, address, NOW_US + 10 * i), NOW_US)
    assert code_of(ring.verify_typed, signed(key, address, NOW_US - 1), NOW_US) == -4225
    # a gap above the smallest is still open; filling it pushes the smallest out, which then counts as too old
    assert ring.verify_typed(signed(key, address, NOW_US + 5), NOW_US) == address
    assert code_of(ring.verify_typed, signed(key, address, NOW_US), NOW_US) == -4225


PUBLISHED_SECRET = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
PUBLISHED_QUERY = (
    "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559"
)
PUBLISHED_SIGNATURE = "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"


def test_published_hmac_example_is_accepted():
    ring = KeyRing((CHAIN_ID,))
    ring.register_hmac("key", PUBLISHED_SECRET, "0xabc")
    raw = f"{PUBLISHED_QUERY}&signature={PUBLISHED_SIGNATURE}"
    assert ring.verify_hmac("key", raw, 1499827319559) == "0xabc"
    assert code_of(ring.verify_hmac, "key", raw.replace("quantity=1", "quantity=3"), 1499827319559) == -1022
    assert code_of(ring.verify_hmac, "other", raw, 1499827319559) == -2015


@pytest.mark.parametrize(("server_minus_stamp", "code"), [(5000, None), (5001, -1021), (-999, None), (-1000, -1021)])
def test_hmac_timestamp_window(server_minus_stamp, code):
    ring = KeyRing((CHAIN_ID,))
    ring.register_hmac("key", "secret", "0xabc")
    message = "timestamp=1700000000000"
    raw = f"{message}&signature={hmac.new(b'secret', message.encode(), hashlib.sha256).hexdigest()}"
    now_ms = 1_700_000_000_000 + server_minus_stamp
    if code is None:
        assert ring.verify_hmac("key", raw, now_ms) == "0xabc"
    else:
        assert code_of(ring.verify_hmac, "key", raw, now_ms) == code

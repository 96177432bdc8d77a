"""The exchange's own books as JSON, for tests that compare them with what a client believes. Loopback only."""

from __future__ import annotations

from typing import Any

from engine.venues.sandbox.auth import hmac_pair_from_seed, key_from_seed
from engine.venues.sandbox.codes import Refusal
from engine.venues.sandbox.venue import PracticeVenue
from engine.venues.sandbox.views import Json, income_view, order_view, position_risk_view, user_trade_view
from engine.venues.sandbox.wire import money, trimmed

EVERYTHING = 1_000_000


def account_books(venue: PracticeVenue, account_id: str) -> Json:
    """Return all that the exchange holds about an account; quantities, prices and money are exact strings.

    Raises
    ------
    Refusal
        HTTP 404 for an unknown account.
    """
    exchange = venue.exchange
    if not exchange.has_account(account_id):
        raise Refusal(-1109, "Invalid account.", 404)
    view = exchange.account(account_id)
    contracts = venue.contracts
    orders = exchange.all_orders(account_id, limit=EVERYTHING)
    incomes = exchange.income(account_id, limit=EVERYTHING)
    return {
        "account": account_id,
        "market_ms": venue.market_ms,
        "orders": [order_view(order, contracts[order.symbol]) for order in orders],
        "open_orders": [order_view(o, contracts[o.symbol]) for o in exchange.open_orders(account_id)],
        "fills": [
            user_trade_view(fill, contracts[fill.symbol]) | {"clientOrderId": fill.client_order_id}
            for fill in exchange.user_trades(account_id, limit=EVERYTHING)
        ],
        "positions": [position_risk_view(p, contracts[s]) for s, p in view.positions.items() if p.qty],
        "balances": {
            # every change of a wallet is an income, so their sum is the balance to the last quantum
            "wallet": money(sum(row.amount_q for row in incomes)),
            "unrealized": trimmed(view.unrealized),
            "margin_balance": trimmed(view.margin_balance),
            "initial_margin": trimmed(view.initial_margin),
            "maint_margin": trimmed(view.maint_margin),
            "available": trimmed(view.available),
        },
        "income": [income_view(row) for row in incomes],
    }


def exchange_totals(venue: PracticeVenue) -> dict[str, str]:
    """Return all money of the exchange by class; the others add up to ``deposits`` exactly."""
    return {name: money(quanta) for name, quanta in venue.exchange.totals().items()}


def grant(venue: PracticeVenue, body: dict[str, Any]) -> Json:
    """Fund an account, opening it first if need be, and register who may act for it.

    Parameters
    ----------
    body : dict
        ``amount`` in USDT and one of: ``address`` (an existing or new account), ``signer`` with ``address`` (an agent
        for it), or ``label`` (a new account with keys made from the seed and the label). ``can_withdraw`` says whether
        the agent (default False) or the new API key (default True) may move money out.

    Returns
    -------
    dict
        ``address``, and with ``label`` also ``private_key``, ``hmac_key``, ``hmac_secret``.
    """
    amount = float(body.get("amount", 0.0))
    answer: Json = {}
    if body.get("label"):
        label = str(body["label"])
        private_key, address = key_from_seed(venue.options.seed, label)
        key, secret = hmac_pair_from_seed(venue.options.seed, label)
        venue.open_account(address, amount, venue.market_ms)
        venue.keys.register_hmac(key, secret, address, can_withdraw=bool(body.get("can_withdraw", True)))
        answer = {"private_key": private_key, "hmac_key": key, "hmac_secret": secret}
    else:
        address = str(body.get("address") or venue.address).lower()
        if not (address.startswith("0x") and len(address) == 42):
            raise Refusal(-1109, f"{address!r} is not an address.")
        if amount or not venue.exchange.has_account(address):
            venue.open_account(address, amount, venue.market_ms)
    if body.get("signer"):
        venue.keys.register_signer(str(body["signer"]), address, can_withdraw=bool(body.get("can_withdraw", False)))
    venue.pump(venue.market_ms)
    return {"address": address, "amount": trimmed(amount), **answer}

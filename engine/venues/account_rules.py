"""What the venue says about the account and the key before anything is traded: rights, position mode, margin mode."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, NamedTuple

import ccxt

from engine.errors import VenueError
from engine.venues.aster_client import AsterClient


class AccountRules(NamedTuple):
    """The venue's answers; None where it gave none, with the reason in ``troubles``."""

    can_trade: bool | None
    can_withdraw: bool | None
    is_hedge_mode: bool | None
    is_multi_asset: bool | None
    leverage: dict[str, int] | None  # set at the venue, by symbol
    mark_px: dict[str, float] | None
    equity: float | None  # USDT, unrealised profit included
    troubles: tuple[str, ...]


async def read_account_rules(config: dict[str, Any]) -> AccountRules:
    """Ask the venue over a connection of its own.

    Parameters
    ----------
    config : dict
        From ``aster_client.client_config``. An agent's right to withdraw is read from the list of agents; for a legacy
        key the account's own flag counts, because the venue has no other; a main wallet can always withdraw.
    """
    client = AsterClient(config, lambda event, payload: None, lambda sentence: None)
    troubles: list[str] = []
    try:
        account = await _answer(client.fapiPrivateGetV4Account(), "account", troubles)
        dual = await _answer(client.fapiPrivateGetV3PositionSideDual(), "position mode", troubles)
        multi = await _answer(client.fapiPrivateGetV3MultiAssetsMargin(), "asset mode", troubles)
        marks = await _answer(client.fapiPublicGetV3PremiumIndex(), "mark prices", troubles)
        return AccountRules(
            _flag(account, "canTrade"),
            await _withdrawal_right(client, account, troubles),
            _flag(dual, "dualSidePosition"),
            _flag(multi, "multiAssetsMargin"),
            None if account is None else {row["symbol"]: int(row["leverage"]) for row in account["positions"]},
            None if marks is None else {row["symbol"]: float(row["markPrice"]) for row in marks},
            None if account is None else float(account["totalMarginBalance"]),
            tuple(troubles),
        )
    finally:
        await client.close()


async def _withdrawal_right(client: AsterClient, account: Any, troubles: list[str]) -> bool | None:
    agent = client.options.get("signerAddress")
    if agent is None:
        return True if client.privateKey else _flag(account, "canWithdraw")
    agents = await _answer(client.fapiPrivateGetV3Agent(), "agents", troubles)
    for row in agents or []:
        if str(row.get("agentAddress", "")).lower() == agent.lower():
            return _flag(row, "canWithdraw")
    if agents is not None:
        troubles.append(f"agents: the venue does not list {agent}")
    return None


def _flag(answer: Any, name: str) -> bool | None:
    value = answer.get(name) if isinstance(answer, dict) else None
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.lower())
    return value if isinstance(value, bool) else None


async def _answer(call: Awaitable[Any], name: str, troubles: list[str]) -> Any:
    try:
        return await call
    except (ccxt.BaseError, VenueError) as error:
        # the class alone: ccxt's text carries the signed URL
        troubles.append(f"{name}: {type(error).__name__}")
        return None

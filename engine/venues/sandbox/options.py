"""What a run of the practice exchange can be told."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_SYMBOLS = (
    "BTCUSDT", "ETHUSDT", "SOLUSDT", "BNBUSDT", "XRPUSDT", "DOGEUSDT", "ADAUSDT", "LINKUSDT", "AVAXUSDT", "LTCUSDT",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SandboxOptions:
    """Settings of one practice exchange. The limits' defaults are the venue's own numbers.

    Parameters
    ----------
    port : int
        TCP port on 127.0.0.1; 0 takes a free one.
    market : str
        ``simulated``, ``replay`` or ``mirror``.
    path : str or None
        Folder or file of a replay.
    upstream : str or None
        Base URL that a mirror follows.
    seed : int
        Fixes the simulated market, the test keys and the faults' dice.
    speed : float
        Market milliseconds per wall millisecond.
    balance : float
        Opening balance of the test account, USDT.
    faults : str or None
        JSON file of fault rules.
    symbols : tuple of str
        What is listed.
    start_ms : int or None
        First market time, ms; None means now.
    parent_pid : int or None
        The server ends when this process is gone.
    interval : str
        Bar length of a replayed file.
    chain_ids : tuple of int
        EIP-712 chain ids that are accepted (mainnet and testnet).
    weight_limit : int
        Request weight per minute and address.
    order_limit_1m, order_limit_10s : int
        New orders per account.
    refusals_to_ban : int
        Requests refused with 429 within a minute after which the address is banned with 418.
    ban_s : float
        First ban, seconds; doubles on each repeat.
    listen_key_life_s, socket_life_s : float
        Life of a listen key since its last renewal and of a WebSocket, wall seconds.
    tick_s : float
        Wall seconds between two steps of the market.
    manual : bool
        Market time stands still until ``POST /sandbox/clock`` moves it; for tests that compare runs bar by bar.
    """

    port: int = 0
    market: str = "simulated"
    path: str | None = None
    upstream: str | None = None
    seed: int = 7
    speed: float = 1.0
    balance: float = 10_000.0
    faults: str | None = None
    symbols: tuple[str, ...] = DEFAULT_SYMBOLS
    start_ms: int | None = None
    parent_pid: int | None = None
    interval: str = "1m"
    chain_ids: tuple[int, ...] = (1666, 714)
    weight_limit: int = 2400
    order_limit_1m: int = 1200
    order_limit_10s: int = 300
    refusals_to_ban: int = 60
    ban_s: float = 120.0
    listen_key_life_s: float = 3600.0
    socket_life_s: float = 86_400.0
    tick_s: float = 0.05
    manual: bool = False

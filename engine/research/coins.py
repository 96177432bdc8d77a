"""Which column of a run is Bitcoin's or Ether's: told by the whole name, not by how it begins."""

from __future__ import annotations

from collections.abc import Sequence

NAMES = {"BTC": ("BTC", "XBT"), "ETH": ("ETH",)}
"""What venues call the coins that a run is compared with."""

QUOTES = ("USDT", "USDC", "USD", "FDUSD", "BUSD", "TUSD", "USDF", "USD1", "DAI", "EUR")
"""What they are quoted in, the likeliest first. A symbol may also be the bare name."""

_ENDINGS = ("", "PERP", "SWAP", "SPOT")
_SPELLINGS = {coin: [f"{name}{quote}{end}" for end in _ENDINGS for quote in (*QUOTES, "") for name in names]
              for coin, names in NAMES.items()}  # fmt: skip


def coin_column(symbols: Sequence[str], coin: str) -> int | None:
    """Return the column of a coin among symbols, the likeliest of several; None where it is not there.

    Parameters
    ----------
    symbols : sequence of str
        As files and venues name them: BTCUSDT, BTC-USDT, btc/usdt:usdt, XBTUSD.
    coin : str
        BTC or ETH.

    Examples
    --------
    >>> coin_column(("BTCDOMUSDT", "BTCUSDT.SPOT", "BTCUSDT"), "BTC"), coin_column(("ETHFIUSDT", "ETHBTC"), "ETH")
    (2, None)
    """
    plain = ["".join(letter for letter in symbol.split(":")[0].upper() if letter.isalnum()) for symbol in symbols]
    return next((plain.index(spelling) for spelling in _SPELLINGS[coin] if spelling in plain), None)

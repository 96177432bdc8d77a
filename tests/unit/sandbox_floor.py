"""A quiet exchange for table tests: no interest, so that with an empty book the mark is the index to the quantum."""

from engine.venues.sandbox.contracts import CONTRACTS
from engine.venues.sandbox.exchange import Exchange
from engine.venues.sandbox.model import Order, OrderEvent, OrderRequest, VenueReject

BTC, ETH = "BTCUSDT", "ETHUSDT"
NOW = 1_700_000_000_000


def floor(deposit: float = 10_000.0, leverage: int = 20) -> Exchange:
    """Return BTC at 60000 and ETH at 3000, an internal account "maker", and "ann" and "bob" with a deposit each."""
    quiet = {s: CONTRACTS[s]._replace(interest_rate=0.0) for s in (BTC, ETH)}
    exchange = Exchange(quiet, auto_funding=False)
    exchange.open_account("maker", 1_000_000.0, NOW, internal=True)
    for symbol, index in ((BTC, 60_000.0), (ETH, 3_000.0)):
        exchange.set_prices(symbol, index=index, now_ms=NOW)
    for name in ("ann", "bob"):
        exchange.open_account(name, deposit, NOW)
        exchange.set_leverage(name, BTC, leverage, NOW)
        exchange.set_leverage(name, ETH, leverage, NOW)
    exchange.drain()
    return exchange


def ask(exchange: Exchange, price: float, qty: float, symbol: str = BTC) -> Order:
    """Let the maker offer."""
    c = exchange.contracts[symbol]
    return exchange.quote("maker", symbol, -1, c.nearest_tick(price), c.nearest_lots(qty), NOW)


def bid(exchange: Exchange, price: float, qty: float, symbol: str = BTC) -> Order:
    """Let the maker bid."""
    c = exchange.contracts[symbol]
    return exchange.quote("maker", symbol, 1, c.nearest_tick(price), c.nearest_lots(qty), NOW)


def place(exchange: Exchange, name: str, side: int, kind: str, qty: float | None, price=None, **terms) -> Order:
    """Place an order in BTC unless ``symbol`` says otherwise."""
    symbol = terms.pop("symbol", BTC)
    now = terms.pop("now", NOW)
    return exchange.place(OrderRequest(name, symbol, side, kind, qty, price, **terms), now)


def buy(exchange: Exchange, name: str, price: float, qty: float, symbol: str = BTC) -> None:
    """Give a trader a long (or cut a short) at an exact price, as taker against the maker."""
    ask(exchange, price, qty, symbol)
    place(exchange, name, 1, "LIMIT", qty, price, tif="IOC", symbol=symbol)


def sell(exchange: Exchange, name: str, price: float, qty: float, symbol: str = BTC) -> None:
    """Give a trader a short (or cut a long) at an exact price, as taker against the maker."""
    bid(exchange, price, qty, symbol)
    place(exchange, name, -1, "LIMIT", qty, price, tif="IOC", symbol=symbol)


def code(call, *args, **terms) -> int | None:
    """Return the venue's code when the call is refused, else None."""
    try:
        call(*args, **terms)
    except VenueReject as refusal:
        return refusal.code
    return None


def story(exchange: Exchange, order: Order) -> list[tuple[str, str, int]]:
    """Drain the events and return (execution type, status, lots) of those of one order."""
    rows = [e for e in exchange.drain() if isinstance(e, OrderEvent) and e.order.order_id == order.order_id]
    return [(e.execution_type, e.order.status, e.last_lots) for e in rows]

"""The limit on orders a minute."""

import pytest

from engine.domain import NS_PER_S
from engine.errors import CommandRefused
from engine.runtime.order_rate import OrderRate


def test_orders_beyond_the_limit_wait_for_the_minute_to_pass():
    rate = OrderRate()
    for second in (0, 10, 20):
        rate.admit("BTCUSDT", False, second * NS_PER_S, 3)
    with pytest.raises(CommandRefused, match=r"BTCUSDT: nothing was sent\. 3 orders .* 3 are allowed"):
        rate.admit("BTCUSDT", False, 59 * NS_PER_S, 3)
    rate.admit("BTCUSDT", False, 60 * NS_PER_S, 3)


def test_reducing_is_counted_and_never_refused():
    rate = OrderRate()
    for _ in range(5):
        rate.admit("BTCUSDT", True, 0, 3)
    with pytest.raises(CommandRefused):
        rate.admit("ETHUSDT", False, 0, 3)


def test_a_restart_does_not_grant_the_minute_again():
    rate = OrderRate()
    rate.sent_before([50 * NS_PER_S, None, 10 * NS_PER_S, 40 * NS_PER_S])
    with pytest.raises(CommandRefused, match="3 orders"):
        rate.admit("BTCUSDT", False, 60 * NS_PER_S, 3)
    rate.admit("BTCUSDT", False, 71 * NS_PER_S, 3)

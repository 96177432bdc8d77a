"""The weight budget: real weights, shares by class, the venue's own count, and patience."""

import asyncio

import pytest

from engine.errors import Unreachable
from engine.venues import budget as budget_module
from engine.venues.budget import Priority, WeightBudget, asking, request_weight, using


class Wall:
    def __init__(self, now_s=1_800_000_000.0):
        self.now_s = now_s

    def __call__(self):
        return self.now_s


@pytest.mark.parametrize(
    ("request_", "weight"),
    [
        (("GET", "klines", {"limit": 99}), 1),
        (("GET", "klines", {"limit": 100}), 2),
        (("GET", "klines", {"limit": 1000}), 5),
        (("GET", "klines", {"limit": 1500}), 10),
        (("GET", "depth", {"limit": 20}), 2),
        (("GET", "depth", {"limit": 1000}), 20),
        (("GET", "openOrders", {}), 40),
        (("GET", "openOrders", {"symbol": "BTCUSDT"}), 1),
        (("GET", "income", {}), 30),
        (("GET", "userTrades", {"symbol": "BTCUSDT"}), 5),
        (("GET", "positionRisk", {}), 5),
        (("POST", "batchOrders", {}), 5),
        (("DELETE", "batchOrders", {}), 1),
        (("POST", "countdownCancelAll", {}), 10),
        (("POST", "order", {}), 1),
    ],
)
def test_requests_cost_what_the_venue_charges(request_, weight):
    assert request_weight(*request_) == weight


async def test_each_class_stops_at_its_own_share_and_the_ones_above_go_on():
    budget = WeightBudget(limit=100, now=Wall())
    for _ in range(50):
        await budget.acquire(Priority.UI, 1)
    assert budget.report() == {"used": 50, "limit": 100, "by": {"trading": 0, "data": 0, "ui": 50}}
    screen = asyncio.create_task(budget.acquire(Priority.UI, 1))
    await asyncio.sleep(0)
    assert not screen.done()
    await budget.acquire(Priority.DATA, 30)
    waiting = asyncio.create_task(budget.acquire(Priority.DATA, 1))
    await asyncio.sleep(0)
    assert not waiting.done()
    await budget.acquire(Priority.TRADING, 15)
    with pytest.raises(Unreachable, match="95 of the 95 request weight that trading may use"):
        await budget.acquire(Priority.TRADING, 1)
    await budget.acquire(Priority.URGENT, 10)  # a cancel goes whatever is left
    assert budget.used == 105
    for task in (screen, waiting):
        task.cancel()


async def test_waiting_requests_go_in_the_next_minute_the_higher_class_first(monkeypatch):
    wall = Wall()
    budget = WeightBudget(limit=100, now=wall)
    await budget.acquire(Priority.TRADING, 95)
    gone = []

    async def ask(priority, weight):
        await budget.acquire(priority, weight)
        gone.append(priority)

    tasks = [asyncio.create_task(ask(p, 45)) for p in (Priority.UI, Priority.DATA)]
    await asyncio.sleep(0)
    wall.now_s += 60.0
    budget._release()
    await asyncio.sleep(0.01)
    assert gone == [Priority.DATA]  # the screen's 45 no longer fit into its half of the minute
    wall.now_s += 60.0
    budget._release()
    await asyncio.gather(*tasks)
    assert gone == [Priority.DATA, Priority.UI]
    assert budget.report()["by"] == {"trading": 0, "data": 0, "ui": 45}


async def test_the_venues_count_is_taken_over_and_its_minute_is_followed():
    wall = Wall(1_800_000_000.0 - 1_800_000_000.0 % 60 + 20.0)
    budget = WeightBudget(limit=100, now=wall)
    await budget.acquire(Priority.DATA, 5)
    budget.learn(70)  # another program uses this address as well
    assert budget.used == 70
    budget.learn(60)  # an answer that was overtaken by a later one
    assert budget.used == 70
    wall.now_s += 10.0
    budget.learn(1)  # its minute has begun anew, ours has not
    assert budget.used == 1
    assert budget.next_minute_s() == pytest.approx(60.0)


async def test_patience_ends_with_a_sentence(monkeypatch):
    monkeypatch.setitem(budget_module.PATIENCE_S, Priority.DATA, 0.05)
    budget = WeightBudget(limit=100, now=Wall(1_800_000_000.0 // 60 * 60 + 59.99))
    budget.learn(90)
    with pytest.raises(Unreachable, match="data may use in a minute is used up"):
        await budget.acquire(Priority.DATA, 1)


async def test_new_orders_stay_below_the_limit_of_ten_seconds(monkeypatch):
    monkeypatch.setitem(budget_module.PATIENCE_S, Priority.TRADING, 0.2)
    budget = WeightBudget()
    outcomes = await asyncio.gather(*(budget.acquire_order() for _ in range(200)), return_exceptions=True)
    refused = [outcome for outcome in outcomes if outcome is not None]
    # the burst, and 15 a second in 0.2 s of patience: never 300 in any ten seconds
    assert 150 <= len(outcomes) - len(refused) <= 154
    assert all(isinstance(outcome, Unreachable) and "300 new orders in 10 s" in str(outcome) for outcome in refused)


async def test_the_class_of_a_task_is_its_own():
    seen = {}

    async def note(name):
        await asyncio.sleep(0)
        seen[name] = asking()

    with using(Priority.UI):
        inside = asyncio.create_task(note("inside"))
    await asyncio.gather(inside, note("outside"))
    assert seen == {"inside": Priority.UI, "outside": Priority.DATA}

"""Targets that are large for their market go through an execution algorithm, if the settings say so."""

from __future__ import annotations

from engine.domain import NS_PER_S, Purpose, Side
from engine.execution.algorithms import whole_lots
from engine.execution.parents import Algorithm, ParentSpec, ParentStatus
from engine.execution.planner import Target, next_leg, tradable_qty
from engine.runtime.executor import Executor
from engine.runtime.parents import ParentBook, holds_a_reduction

DIRECT = "direct"


async def by_algorithm(executor: Executor, parents: ParentBook, target: Target) -> bool:
    """Let a parent order work a target where it should; return whether one does, so that nobody else may.

    A parent follows its target: it may do no more than the target still wants, and is cancelled when the target turns
    round, is reached, or has become urgent, or when nothing may grow. Only when it has ended, the target is worked
    again: by another one, or in the plain way. One that a person has paused holds its target back until its end, but
    never a reduction: that ends it.
    """
    symbol, position_qty = target.symbol, executor.account.position(target.symbol).qty
    leg = next_leg(target.target_qty - position_qty, position_qty)
    qty = tradable_qty(leg, position_qty, executor.market.tops[symbol], executor.instruments[symbol])
    parent = parents.of_target(symbol)
    if parent is None:
        return qty > 0.0 and target.ts_set > 0 and await _begun(executor, parents, target, leg)
    if qty == 0.0 or leg * parent.spec.side < 0 or target.ts_set == 0:
        parents.stop(parent, "the target was reached, turned round or has become urgent")
    elif parent.status == ParentStatus.PAUSED and holds_a_reduction(parent):
        parents.stop(parent, "it was paused, and what takes risk off is not held back")
    elif parent.status == ParentStatus.WORKING:
        parents.ceiling[parent.parent_id] = abs(leg)
    return True


async def _begun(executor: Executor, parents: ParentBook, target: Target, leg: float) -> bool:
    config, symbol = executor.config, target.symbol
    if config.execution_algorithm == DIRECT or executor.open_orders(symbol, Purpose.TARGET):
        return False
    bar = executor.market.last_closed.get((symbol, "1h"))
    if bar is None or not bar.volume > 0.0 or abs(leg) <= config.execution_over_share * bar.volume:
        return False
    now, position_qty = executor.now(), executor.account.position(symbol).qty
    reduces = position_qty * leg < 0
    if not reduces and parents.why_not_grow(symbol) is not None:
        return True  # none begins only to be ended at once; the next look asks again
    spec = ParentSpec(
        symbol, int(Side.BUY if leg > 0 else Side.SELL), _whole(abs(leg), executor, symbol),
        Algorithm(config.execution_algorithm), now, now + int(config.execution_minutes * 60 * NS_PER_S),
        reduce_only=reduces, purpose=Purpose.TARGET.value, urgency=config.execution_urgency,
        participation=config.execution_participation, passive=config.use_maker_orders,
        max_participation=config.execution_max_participation,
    )  # fmt: skip
    parent = await parents.start(spec, actor="strategy", decision_id=target.decision_id, decision_px=target.decision_px)
    parents.ceiling[parent.parent_id] = abs(leg)
    return True


def _whole(qty: float, executor: Executor, symbol: str) -> float:
    """Return a quantity in whole lots; a parent may be larger than one order may."""
    instrument = executor.instruments[symbol]
    return whole_lots(qty, instrument._replace(max_market_qty=qty))

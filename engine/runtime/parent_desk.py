"""What people and programs ask of parent orders: start, pause, resume, cancel, replace, and what they cost."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engine.domain import NS_PER_S, Purpose, Side, TradingState
from engine.errors import CommandRefused
from engine.execution import impact
from engine.execution.algorithms import whole_lots
from engine.execution.orders import none_if_nan
from engine.execution.parents import Algorithm, Parent, ParentSpec, ParentStatus, tally
from engine.execution.preview import Manner, Situation, choices, expected_fee
from engine.execution.quality import PARTS
from engine.execution.schedule import allowed_qty, due_qty, given_up_ns
from engine.execution.ticket import Size, TicketContext, TicketRequest, judge
from engine.research.own_costs import offered
from engine.runtime.own_fills import fit_costs, keep_quality, newest_costs, origin_of, paid_children, quality_of

if TYPE_CHECKING:
    from engine.runtime.engine import Engine

log = structlog.get_logger("parents")

Handler = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
RECENT = 50
CURVE_POINTS = 40
CHART_CHILDREN = 400
COSTS_KEPT_S = 10.0  # several pages may ask for the same answer
STATE_FIELDS = (
    "limit_px", "reduce_only", "urgency", "participation", "display_qty", "hidden", "passive", "n_replaced",
)  # fmt: skip


class ParentRequest(BaseModel):
    """What a person typed: an order and how it is to be worked."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    symbol: str
    side: Literal["buy", "sell"]
    size: Size
    algorithm: Algorithm = Algorithm.ADAPTIVE
    minutes: float = Field(15.0, ge=0.01, le=1440)
    limit_px: float | None = Field(None, gt=0)
    reduce_only: bool = False
    urgency: float = Field(1.0, ge=0, le=10)
    participation: float = Field(0.1, gt=0, le=0.5)
    display_qty: float = Field(0.0, ge=0)
    hidden: bool = False
    passive: bool = True
    max_participation: float = Field(0.0, ge=0, le=1)


class ReplaceRequest(BaseModel):
    """What of a parent is to change; what is None stays."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    qty: float | None = Field(None, gt=0)
    limit_px: float | None = Field(None, gt=0)
    minutes: float | None = Field(None, gt=0, le=1440, description="From now")


class ParentDesk:
    """Answers for parent orders and the cost model.

    Parameters
    ----------
    engine : Engine
    context : callable (symbol) -> TicketContext
        What an order in a symbol is judged against.
    """

    def __init__(self, engine: Engine, context: Callable[[str], TicketContext]) -> None:
        self._engine, self._loop, self._context = engine, engine.loop, context
        self._book = engine.loop.worker.parents
        self._costs_known: tuple[int, dict[str, Any]] | None = None
        self._book.on_unlisted = self._tell_unlisted
        self._book.on_end = lambda parent: self._loop.executor.spawn(self._measure(parent))
        self.questions: dict[str, Handler] = {
            "parents": self._parents, "parents.preview": self._preview, "execution.costs": self._costs,
            "costs.own": self._own,
        }  # fmt: skip
        self.orders: dict[str, Handler] = {
            "parents.start": self._start, "parents.pause": self._pause, "parents.resume": self._resume,
            "parents.cancel": self._cancel, "parents.replace": self._replace, "execution.fit": self._fit,
        }  # fmt: skip

    # questions ---------------------------------------------------------------------------------------------------

    async def _parents(self, body: dict[str, Any]) -> dict[str, Any]:
        now = self._loop.clock.now()
        rows = await asyncio.to_thread(
            self._engine.store.rows,
            "SELECT * FROM parents WHERE account = ? AND ts_final > 0 ORDER BY ts_final DESC LIMIT ?",
            [self._loop.executor.account_key, RECENT],
        )
        running = [self._row(parent, now) for parent in self._book.active()]
        ended = [_ended_row(row) for row in rows]
        return {"running": running, "ended": ended, "now_ns": now}

    def _row(self, parent: Parent, now: int) -> dict[str, Any]:
        spec, children = parent.spec, self._book.children(parent.parent_id)
        counted = tally(children)
        flow = self._book.flow_of(parent)
        span = max(spec.ts_end - parent.ts_from, 1)
        moments = [parent.ts_from + span * i // CURVE_POINTS for i in range(CURVE_POINTS + 1)]
        in_time = spec.algorithm not in (Algorithm.POV, Algorithm.ICEBERG)
        held = parent.status == ParentStatus.PAUSED and spec.purpose == Purpose.TARGET
        uncapped = replace(parent, spec=spec._replace(max_participation=0.0))  # what will trade is not known
        return {
            "parent_id": parent.parent_id, "symbol": spec.symbol, "side": spec.side, "qty": spec.qty,
            "algorithm": spec.algorithm, "status": str(parent.status), "purpose": spec.purpose,
            "filled_qty": counted.filled, "working_qty": counted.working, "doubtful_qty": counted.doubtful,
            "written_off_qty": counted.written_off, "avg_px": none_if_nan(counted.avg_px),
            "due_qty": due_qty(parent, flow, now), "limit_px": none_if_nan(spec.limit_px),
            "reduce_only": spec.reduce_only, "arrival_px": none_if_nan(parent.arrival_px),
            "decision_px": none_if_nan(parent.decision_px), "decision_id": parent.decision_id,
            "ts_created": parent.ts_created, "ts_end": spec.ts_end, "reason": parent.reason, "actor": parent.actor,
            "n_children": len(children), "max_participation": spec.max_participation,
            "allowed_qty": min(allowed_qty(parent, flow, now), spec.qty),
            "holds_until": given_up_ns(spec) if held else None,
            "schedule": [[ts, due_qty(uncapped, flow, ts)] for ts in moments] if in_time else [],
            "done": _steps(children),
        }  # fmt: skip

    async def _preview(self, body: dict[str, Any]) -> dict[str, Any]:
        request = _checked(ParentRequest, body)
        _, answer = self._judged(request)
        qty = answer["qty"]  # priced also where a rule refuses it: a person may want to know before ordering less
        model, answer["choices"] = self._model(), []
        instrument = self._engine.instruments[request.symbol]
        answer |= expected_fee(request.algorithm, request.passive, answer["notional"], instrument, model)
        if qty > 0.0:
            manner = Manner(request.minutes * 60.0, request.urgency, request.participation, request.passive)
            answer["choices"] = choices(self._situation(request, qty), manner, model)
        return answer

    def _tell_unlisted(self, parent: Parent) -> None:
        spec = parent.spec
        done = tally(self._book.children(parent.parent_id)).filled
        self._loop.incident(
            "error", "parents",
            f"The venue does not trade {spec.symbol} any more. Parent order {parent.parent_id} ends with {done:g} of "
            f"{spec.qty:g} filled; look at what is still held there on the venue's own page.",
        )  # fmt: skip

    def _situation(self, request: ParentRequest, qty: float) -> Situation:
        market, symbol = self._loop.market, request.symbol
        top, flow = market.tops[symbol], market.flow(symbol)
        mid = (top.bid_px + top.ask_px) / 2.0
        return Situation(
            int(_side(request)), qty, mid, (top.ask_px - top.bid_px) / 2.0 / mid, market.books.get(symbol),
            flow.rate(self._loop.clock.now()), flow.sigma, self._engine.instruments[symbol],
        )  # fmt: skip

    def _model(self) -> impact.CostModel:
        store = self._engine.store
        return newest_costs(store, origin_of(store, self._loop.session).accounts, self._fees())[1]

    def _fees(self) -> tuple[float, float]:
        instrument = next(iter(self._engine.instruments.values()))
        return instrument.taker_fee, instrument.maker_fee

    async def _costs(self, body: dict[str, Any]) -> dict[str, Any]:
        now = self._loop.clock.now()
        if self._costs_known is None or now - self._costs_known[0] > COSTS_KEPT_S * NS_PER_S:
            self._costs_known = (now, await asyncio.to_thread(self._cost_answer))
        return self._costs_known[1]

    async def _own(self, body: dict[str, Any]) -> dict[str, Any]:
        return await asyncio.to_thread(offered, self._engine.store.path.parent)

    def _cost_answer(self) -> dict[str, Any]:
        store, fees = self._engine.store, self._fees()
        origin = origin_of(store, self._loop.session)
        row, model = newest_costs(store, origin.accounts, fees)
        assumed = impact.assumed_model(*fees)
        points = []
        for child, paid in paid_children(store, origin.accounts)[-CHART_CHILDREN:]:
            if not (math.isfinite(paid.participation) and math.isfinite(paid.cost)):
                continue
            share = paid.maker_notional / paid.notional
            predicted = [
                _predicted(each, paid.participation, paid.sigma, share) for each in (assumed, model)
            ]  # fmt: skip
            points.append({
                "ts": child["ts"], "symbol": child["symbol"], "rested": paid.rested, "notional": paid.notional,
                "paid_bps": paid.cost * 1e4, "assumed_bps": predicted[0], "fitted_bps": predicted[1],
                "participation": paid.participation,
            })  # fmt: skip
        kept = None if row is None else {name: row[name] for name in ("version", "ts", "n_fills", "n_parents")}
        if kept is not None:
            kept["market"] = origin.market
        return {"version": kept, "model": model.as_json(), "assumed": assumed.as_json(), "children": points}

    # commands ----------------------------------------------------------------------------------------------------

    def _judged(self, request: ParentRequest) -> tuple[float, dict[str, Any]]:
        """Return the whole lots that may be worked, 0 when something refuses them, and the ticket's answer."""
        context = self._context(request.symbol)
        instrument = context.instrument._replace(max_market_qty=math.inf, max_qty=math.inf)
        ticket = TicketRequest(
            symbol=request.symbol, side=request.side, kind="market", size=request.size, reduce_only=request.reduce_only
        )
        config = self._engine.capital.limited(self._loop.config)
        judged = judge(ticket, context._replace(instrument=instrument), config)
        qty = whole_lots(judged.answer["qty"], instrument)
        if request.hidden and request.algorithm != Algorithm.ICEBERG:
            raise CommandRefused(f"hidden is for an iceberg; {request.algorithm} was asked for.")
        return (qty if judged.spec is not None else 0.0), judged.answer

    async def _start(self, body: dict[str, Any]) -> dict[str, Any]:
        actor = str(body.pop("actor", None) or "desk")
        request = _checked(ParentRequest, body)
        qty, answer = self._judged(request)
        if qty == 0.0:
            raise CommandRefused(" ".join(answer["problems"]))
        if self._loop.trading_state() == TradingState.HALTED:
            raise CommandRefused("Trading is halted: no parent order can begin.")
        now = self._loop.clock.now()
        spec = ParentSpec(
            request.symbol, int(_side(request)), qty, request.algorithm, now,
            now + int(request.minutes * 60 * NS_PER_S), request.limit_px or math.nan,
            request.reduce_only or bool(answer["reduces"]), "manual", request.urgency, request.participation,
            request.display_qty, request.hidden, request.passive, request.max_participation,
        )  # fmt: skip
        self._engine.store.audit(actor, "parents.start", body)
        parent = await self._book.start(spec, actor=actor)
        return self._row(parent, self._loop.clock.now())

    async def _pause(self, body: dict[str, Any]) -> dict[str, Any]:
        return await self._act(body, lambda number: self._book.pause(number, _reason(body)), "parents.pause")

    async def _resume(self, body: dict[str, Any]) -> dict[str, Any]:
        return await self._act(body, self._book.resume, "parents.resume")

    async def _cancel(self, body: dict[str, Any]) -> dict[str, Any]:
        return await self._act(body, lambda number: self._book.cancel(number, _reason(body)), "parents.cancel")

    async def _replace(self, body: dict[str, Any]) -> dict[str, Any]:
        kept = {name: body[name] for name in body if name not in ("parent_id", "actor")}
        request = _checked(ReplaceRequest, kept)
        parent = self._book.find(_number_of(body))
        changes: dict[str, Any] = {}
        if request.qty is not None:
            changes["qty"] = self._whole(parent, request.qty)
        if request.limit_px is not None:
            changes["limit_px"] = request.limit_px
        if request.minutes is not None:
            changes["ts_end"] = self._loop.clock.now() + int(request.minutes * 60 * NS_PER_S)
        if not changes:
            raise CommandRefused("Nothing is to change: give qty, limit_px or minutes.")
        return await self._act(body, lambda number: self._book.replace(number, changes), "parents.replace")

    def _whole(self, parent: Parent, qty: float) -> float:
        """Return a new quantity in whole lots; one that grows must pass the rules like a new order."""
        spec = parent.spec
        if qty > spec.qty:
            more = ParentRequest(
                symbol=spec.symbol, side="buy" if spec.side > 0 else "sell",
                size=Size(unit="base", value=qty - spec.qty), reduce_only=spec.reduce_only,
            )  # fmt: skip
            allowed, answer = self._judged(more)
            if allowed == 0.0:
                raise CommandRefused(" ".join(answer["problems"]))
        instrument = self._engine.instruments[spec.symbol]
        return whole_lots(qty, instrument._replace(max_market_qty=qty))

    async def _act(self, body: dict[str, Any], act: Callable[[int], Awaitable[Parent]], action: str) -> dict[str, Any]:
        number = _number_of(body)
        parent = await act(number)
        self._engine.store.audit(str(body.get("actor") or "desk"), action, dict(body))
        return self._row(parent, self._loop.clock.now())

    async def _fit(self, body: dict[str, Any]) -> dict[str, Any]:
        self._costs_known = None
        return await asyncio.to_thread(
            fit_costs, self._engine.store, self._loop.session, self._fees(), self._loop.clock.now()
        )

    async def _measure(self, parent: Parent) -> None:
        """Write down what a finished parent cost, and fit the model anew."""
        executor = self._loop.executor
        self._loop.journal.flush()
        end_px = self._loop.market.mid_px(parent.spec.symbol)
        quality = await asyncio.to_thread(quality_of, executor, parent, end_px)
        await asyncio.to_thread(keep_quality, executor, parent, self._book.children(parent.parent_id), quality)
        await self._fit({})


def _predicted(model: impact.CostModel, participation: float, sigma: float, maker_share: float) -> float:
    cost = impact.expected_cost(model, participation, 1.0, sigma, maker_share)
    return (cost.spread + cost.impact) * 1e4


def _ended_row(row: dict[str, Any]) -> dict[str, Any]:
    state, quality = json.loads(row["state"]), json.loads(row["quality"]) if row["quality"] else None
    plain = {name: row[name] for name in row if name not in ("state", "quality", "account")}
    return plain | {name: state[name] for name in STATE_FIELDS} | {"quality": quality, "parts": list(PARTS)}


def _steps(children: list[Any]) -> list[list[float]]:
    """What had filled by when: [[ts, qty], ...], one step a child that filled."""
    done, rows = 0.0, []
    for child in sorted(children, key=lambda c: c.ts_final or c.ts_acked or c.ts_intent):
        if child.filled_qty > 0:
            done += child.filled_qty
            rows.append([child.ts_final or child.ts_acked or child.ts_intent, done])
    return rows


def _side(request: ParentRequest) -> Side:
    return Side.BUY if request.side == "buy" else Side.SELL


def _reason(body: dict[str, Any]) -> str:
    return str(body.get("reason") or "by hand")


def _number_of(body: dict[str, Any]) -> int:
    try:
        return int(body["parent_id"])
    except (KeyError, TypeError, ValueError):
        raise CommandRefused(f"parent_id {body.get('parent_id')!r} is not the number of a parent order.") from None


def _checked(kind: type[Any], body: dict[str, Any]) -> Any:
    try:
        return kind.model_validate({name: value for name, value in body.items() if name != "actor"})
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(str(p) for p in item['loc'])}: {item['msg']}" for item in error.errors())
        raise CommandRefused(told) from error

"""What a person or a program can ask the engine to do. Each changing command carries a key and is carried out once."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from engine.domain import KillLevel, Purpose, Side
from engine.errors import CommandRefused
from engine.execution.ticket import Ticket, TicketContext, TicketRequest, judge
from engine.runtime import sentences
from engine.runtime.arming import Armed, arming_checklist
from engine.runtime.data_desk import DataDesk
from engine.runtime.doctor import doctor
from engine.runtime.engine import Engine
from engine.runtime.goal_desk import GoalDesk
from engine.runtime.jobs import Jobs
from engine.runtime.live_desk import LiveDesk
from engine.runtime.live_models import LiveModels
from engine.runtime.model_desk import Book
from engine.runtime.model_desks import model_desks
from engine.runtime.parent_desk import ParentDesk
from engine.runtime.performance import performance
from engine.runtime.portfolio_desk import PortfolioDesk
from engine.runtime.report_desk import ReportDesk
from engine.runtime.risk_desk import RiskDesk
from engine.runtime.run_desk import RunDesk
from engine.runtime.status import engine_status
from engine.runtime.upkeep import Upkeep
from engine.runtime.vault_desk import VaultDesk
from engine.runtime.warming import chosen_strategy
from engine.settings import SystemConfig, field_descriptions
from engine.strategies import BUILT_IN
from engine.strategies.versions import kept
from engine.venues.budget import Priority, asking, using
from storage.database import StorageError
from storage.exports import export_table

Handler = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
OF_TRADING = frozenset({"reconcile", "order.lookup"})  # questions that do not wait behind the screen's
TICKET_FIELDS = frozenset(TicketRequest.model_fields)


class Commands:
    """The engine's actions by name.

    Parameters
    ----------
    engine : Engine
    jobs : Jobs
        Runs backtests in worker processes.
    on_armed : callable or None
        Takes the permission to trade live; None where the engine cannot change its mode.
    data : DataDesk, optional
        Answers for the data sets; by default those of the engine's own data folder.
    book : Book, optional
        The registry of trained models; without one there are no answers about models.
    live : LiveModels, optional
        The models as they run.
    """

    def __init__(
        self,
        engine: Engine,
        jobs: Jobs,
        on_armed: Callable[[Armed], None] | None = None,
        data: DataDesk | None = None,
        book: Book | None = None,
        live: LiveModels | None = None,
    ) -> None:
        self._engine, self._loop = engine, engine.loop
        self._keys: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._questions: dict[str, Handler] = {
            "status": self._status,
            "instruments": self._instruments,
            "decision": self._decision,
            "settings.get": self._settings_get,
            "ticket.preview": self._ticket_preview,
            "performance": self._performance,
            "arming": self._arming,
            "doctor": self._doctor,
            "health": self._health,
            "reconcile": self._reconcile,
            "ledger": self._ledger,
            "order.lookup": self._order_lookup,
            "export": self._export,
        }
        self._orders: dict[str, Handler] = {
            "settings.set": self._settings_set,
            "kill": self._kill,
            "resume": self._resume,
            "ticket.submit": self._ticket_submit,
            "order.cancel": self._order_cancel,
            "ledger.accept": self._ledger_accept,
            "orders.cancel_all": self._orders_cancel_all,
            "position.close": self._position_close,
        }
        desks = (data or DataDesk(engine.store), Upkeep(engine), engine.evidence, RiskDesk(engine))
        more = (RunDesk(jobs), PortfolioDesk(engine, jobs), ParentDesk(engine, self._ticket_context))
        for desk in (*desks, *more, *model_desks(engine, jobs, book, live)):
            self._questions |= desk.questions
            self._orders |= desk.orders

        # merged into the questions: what these carry must not be kept in the table of commands
        self._questions |= VaultDesk(engine.store.path.parent, engine.store).handlers | GoalDesk(engine, jobs).questions
        self._questions |= LiveDesk(engine, on_armed).handlers | ReportDesk(engine.store, jobs).questions

    @property
    def names(self) -> list[str]:
        """Every action's name."""
        return sorted({*self._questions, *self._orders})

    async def run(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        """Carry out one action.

        Raises
        ------
        CommandRefused
            Unknown action, missing key, bad values, or the engine's own refusal.
        """
        if name in self._questions:
            with using(asking() if name in OF_TRADING else Priority.UI):
                return await self._questions[name](body)
        if name not in self._orders:
            raise CommandRefused(sentences.no_action(name, {*self._questions, *self._orders}))
        key = body.pop("idempotency_key", None)
        if not isinstance(key, str) or not 8 <= len(key) <= 64:
            raise CommandRefused(sentences.bad_key(name, key))
        return await self._once(name, key, body)

    async def _once(self, name: str, key: str, body: dict[str, Any]) -> dict[str, Any]:
        if key in self._keys:
            return await asyncio.shield(self._keys[key])
        stored = self._loop.store.rows("SELECT command, status, result FROM commands WHERE idempotency_key = ?", [key])
        if stored:
            if stored[0]["status"] != "done":
                raise CommandRefused(sentences.accepted_before(stored[0]["command"], stored[0]["status"]))
            return dict(json.loads(stored[0]["result"]))
        outcome: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._keys[key] = outcome
        row = {"idempotency_key": key, "ts": self._loop.clock.now(), "command": name, "payload": json.dumps(body)}
        if name != "kill":  # the switch does not wait for the disk
            await self._accept(key, row, outcome)
        try:
            result = await self._orders[name](body)
        except CommandRefused as refusal:
            self._keys.pop(key)
            self._loop.journal.append("commands", [row | {"status": "refused", "result": str(refusal)}])
            outcome.set_exception(refusal)
            outcome.exception()  # whoever waits with the same key gets it; nobody waiting is no fault
            raise
        except BaseException:
            self._keys.pop(key)
            outcome.cancel()
            raise
        self._loop.journal.append("commands", [row | {"status": "done", "result": json.dumps(result)}])
        outcome.set_result(result)
        return result

    async def _accept(self, key: str, row: dict[str, Any], outcome: asyncio.Future[dict[str, Any]]) -> None:
        """Write a command down before it is carried out, or refuse it: without a record its key protects nothing."""
        try:
            await asyncio.wrap_future(self._loop.store.append_durable("commands", [row | {"status": "accepted"}]))
        except StorageError as error:
            self._keys.pop(key)
            refusal = CommandRefused(
                f"Nothing was done: the command could not be recorded ({error}). Free disk space and send it again; "
                "the kill switch works all the same."
            )
            outcome.set_exception(refusal)
            outcome.exception()  # whoever waits with the same key gets it; nobody waiting is no fault
            raise refusal from error

    # questions ---------------------------------------------------------------------------------------------------

    async def _status(self, body: dict[str, Any]) -> dict[str, Any]:
        return engine_status(self._loop, self._engine.clock_skew_ms)

    async def _instruments(self, body: dict[str, Any]) -> dict[str, Any]:
        return {
            symbol: {name: _null_if_nan(value) for name, value in instrument._asdict().items()}
            for symbol, instrument in self._engine.instruments.items()
        }

    async def _decision(self, body: dict[str, Any]) -> dict[str, Any]:
        store, decision_id = self._loop.store, int(body["decision_id"])
        rows = store.rows("SELECT * FROM decisions WHERE decision_id = ?", [decision_id])
        if not rows:
            raise CommandRefused(sentences.no_decision(decision_id, self._loop.next_decision_id - 1))
        return rows[0] | {
            "detail": json.loads(rows[0]["detail"]),
            "orders": store.rows("SELECT * FROM orders WHERE decision_id = ? ORDER BY ts_intent", [decision_id]),
            "fills": store.rows("SELECT * FROM fills WHERE decision_id = ? ORDER BY ts_filled", [decision_id]),
        }

    async def _settings_get(self, body: dict[str, Any]) -> dict[str, Any]:
        fields = field_descriptions()
        fields["strategy"]["choices"] = [*BUILT_IN, *kept(self._loop.store.path.parent)]
        return {"values": self._engine.wanted_config.model_dump(mode="json"), "fields": fields}

    async def _performance(self, body: dict[str, Any]) -> dict[str, Any]:
        return await asyncio.to_thread(performance, self._loop, int(body.get("since_ns") or 0))

    async def _arming(self, body: dict[str, Any]) -> dict[str, Any]:
        return await arming_checklist(self._engine)

    async def _doctor(self, body: dict[str, Any]) -> dict[str, Any]:
        return await doctor(self._engine)

    async def _health(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._engine.connection.report()

    async def _reconcile(self, body: dict[str, Any]) -> dict[str, Any]:
        await self._loop.reconcile()
        last = self._loop.reconciler.last
        if last is None:
            raise CommandRefused(sentences.NOT_COMPARED)
        return {"ok": last.ok, "mismatches": list(last.mismatches), "message": last.message, "ts": last.ts}

    async def _ledger(self, body: dict[str, Any]) -> dict[str, Any]:
        statement = self._loop.reconciler.ledger.last  # as of the last comparison: a page may ask as often as it likes
        if statement is None:  # a young engine: not measured yet, which is neither zero nor unknown for a reason
            return {"lines": [], "unexplained": None, "as_of_ns": None}
        return statement.answer()

    async def _order_lookup(self, body: dict[str, Any]) -> dict[str, Any]:
        executor, client_id = self._loop.executor, str(body.get("client_id"))
        if not executor.knows(client_id):
            raise CommandRefused(sentences.no_order(client_id))
        answer = await executor.doubts.ask(executor.known(client_id))
        order = executor.known(client_id)
        return {
            "client_id": client_id, "status": str(order.status), "filled_qty": order.filled_qty, "answer": answer,
            **executor.doubts.row(order),
        }  # fmt: skip

    async def _export(self, body: dict[str, Any]) -> dict[str, Any]:
        path = Path(str(body["path"])).expanduser()
        file_format = str(body.get("format") or "parquet")
        rows = await asyncio.to_thread(export_table, self._loop.store, str(body["table"]), path, file_format)
        return {"rows": rows, "path": str(path)}

    # commands ----------------------------------------------------------------------------------------------------

    async def _settings_set(self, body: dict[str, Any]) -> dict[str, Any]:
        changes = dict(body.get("values") or {})
        old = self._engine.wanted_config.model_dump(mode="json")
        try:
            config = SystemConfig.model_validate(old | changes)
        except ValidationError as error:
            raise CommandRefused(_sentences(error)) from error
        config = await chosen_strategy(self._loop.store.path.parent, config, self._engine.wanted_config)
        await self._engine.apply(config)
        new = config.model_dump(mode="json")
        applied = {name: new[name] for name in new if new[name] != old[name]}
        await asyncio.wrap_future(self._loop.store.remember("config", new))
        if applied:
            before = {name: old[name] for name in applied}
            self._loop.store.audit(str(body.get("actor", "desk")), "settings.set", {"from": before, "to": applied})
        return {"applied": applied, "values": new}

    async def _kill(self, body: dict[str, Any]) -> dict[str, Any]:
        level = int(body.get("level", 0))
        if level not in (1, 2, 3, 4):
            raise CommandRefused(f"Kill level {level} is not 1 (pause), 2 (cancel), 3 (flatten) or 4 (halt).")
        reason, actor = str(body.get("reason") or "by hand"), str(body.get("actor") or "desk")
        result = await self._loop.kill.press(KillLevel(level), reason, actor)
        self._engine.publish_status()
        return result

    async def _resume(self, body: dict[str, Any]) -> dict[str, Any]:
        was_halted = self._loop.kill.level == KillLevel.HALT
        result = await self._loop.kill.resume(str(body.get("confirm") or ""), str(body.get("actor") or "desk"))
        if was_halted and self._loop.decider is not None and math.isfinite(self._loop.equity_now()):
            self._loop.decider.rearm(self._loop.equity_now())
            self._loop.remember_risk()
        self._engine.publish_status()
        return result

    def _judge(self, body: dict[str, Any]) -> Ticket:
        try:
            request = TicketRequest.model_validate({name: body[name] for name in body if name in TICKET_FIELDS})
        except ValidationError as error:
            raise CommandRefused(_sentences(error)) from error
        config = self._engine.capital.limited(self._loop.config)
        return judge(request, self._ticket_context(request.symbol), config)

    def _ticket_context(self, symbol: str) -> TicketContext:
        loop = self._loop
        instrument, top = self._engine.instruments.get(symbol), loop.market.tops.get(symbol)
        if instrument is None:
            raise CommandRefused(sentences.not_traded(symbol, self._engine.instruments))
        equity = loop.equity_now()
        if top is None or not math.isfinite(equity):
            raise CommandRefused(sentences.cannot_size(symbol, has_price=top is not None))
        book = loop.decider.state.book[0] if loop.decider is not None else None
        day_open = float(book["day_open_equity"]) if book is not None and book["day_open_equity"] > 0 else equity
        peak = max(float(book["peak_equity"]), equity) if book is not None else equity
        position = loop.account.position(symbol)
        gross = sum(abs(p.qty) * loop.market.mark_px(s) for s, p in loop.account.open_positions().items())
        return TicketContext(
            instrument, top, loop.market.mark_px(symbol), position.qty, position.entry_px, equity, gross,
            loop.account.maintenance_margin, loop.trading_state(), equity - day_open, day_open, 1.0 - equity / peak,
            loop.market.age_s(symbol, loop.clock.now()), loop.worker.working_notional(),
            float(book["day_worst"]) if book is not None else 0.0,
        )  # fmt: skip

    async def _ticket_preview(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._judge(body).answer

    async def _ticket_submit(self, body: dict[str, Any]) -> dict[str, Any]:
        ticket = self._judge(body)
        if ticket.spec is None:
            raise CommandRefused(" ".join(ticket.answer["problems"]))
        actor = str(body.get("actor") or "desk")
        self._loop.store.audit(actor, "ticket.submit", {name: body[name] for name in body if name in TICKET_FIELDS})
        order = await self._loop.executor.place(ticket.spec, 0, ticket.answer["px"])
        return {
            "client_id": order.client_id, "status": str(order.status), "filled_qty": order.filled_qty,
            "avg_px": _null_if_nan(order.avg_px), "reason": order.reason,
        }  # fmt: skip

    async def _ledger_accept(self, body: dict[str, Any]) -> dict[str, Any]:
        reason = str(body.get("reason") or "")
        left = await self._loop.reconciler.accept(reason)
        self._loop.store.audit(str(body.get("actor") or "desk"), "ledger.accept", {"reason": reason, "left": left})
        await self._loop.reconcile()
        return {"accepted": list(left)}

    async def _order_cancel(self, body: dict[str, Any]) -> dict[str, Any]:
        order = self._loop.executor.orders.get(str(body.get("client_id")))
        if order is None:
            client_id = str(body.get("client_id"))
            known = self._loop.executor.knows(client_id)
            what = str(self._loop.executor.known(client_id).status) if known else "not on this account's record"
            raise CommandRefused(sentences.not_open(client_id, what))
        await self._loop.executor.cancel(order)
        return {"client_id": order.client_id}

    async def _orders_cancel_all(self, body: dict[str, Any]) -> dict[str, Any]:
        symbol = body.get("symbol")
        orders = [o for o in self._loop.executor.open_orders(symbol) if o.spec.purpose != Purpose.PROTECT]
        await self._loop.executor.cancel_all(orders)
        return {"cancelled": len(orders)}

    async def _position_close(self, body: dict[str, Any]) -> dict[str, Any]:
        symbol = str(body.get("symbol"))
        qty = self._loop.account.position(symbol).qty
        if qty == 0.0:
            raise CommandRefused(sentences.nothing_to_close(symbol, self._loop.account.open_positions()))
        side = Side.SELL if qty > 0 else Side.BUY
        ticket = {
            "symbol": symbol, "side": "sell" if side == Side.SELL else "buy", "kind": "market",
            "size": {"unit": "base", "value": abs(qty)}, "reduce_only": True, "actor": body.get("actor"),
        }  # fmt: skip
        return await self._ticket_submit(ticket)


def _sentences(error: ValidationError) -> str:
    parts = []
    for item in error.errors(include_url=False, include_input=False):
        place = ".".join(str(part) for part in item["loc"])
        sentence = item["msg"].removeprefix("Value error, ")
        parts.append(f"{place}: {sentence}" if place else sentence)
    return "; ".join(parts)


def _null_if_nan(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value

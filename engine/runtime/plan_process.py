"""Plans of the sharing between sleeves, made beside the engine: a process that an optimiser's libraries are loaded in.

The engine asks it once a month and goes on with the shares that it has. A process that dies, answers late or answers
badly costs nothing but a new plan: the last one stays in force, it is said why, and the next UTC day tries again.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import structlog

from engine.errors import DataError
from engine.runtime.child_process import Talk
from engine.strategies.child import own_process
from engine.strategies.sharing import Days, Plan, caught_up, plan_as_json, plan_from_json
from storage.errors import StorageError

log = structlog.get_logger("sharing")

LIMIT_S = 600.0
Work = tuple[str, Plan | None, Days, list[int]]


def question_of(work: Work, cost: float) -> dict[str, Any]:
    """Return what the process is asked: everything that ``caught_up`` takes, as JSON."""
    wanted, before, days, owed = work
    return {
        "wanted": wanted, "before": plan_as_json(before), "owed": owed, "cost": cost,
        "days": [column.tolist() for column in days],
    }  # fmt: skip


def answer_to(question: dict[str, Any]) -> dict[str, Any]:
    """Return the plan that a question asks for; what the process does."""
    day, net, awake = question["days"]
    table = Days(np.array(day, dtype=np.int64), np.array(net, dtype=np.float64), np.array(awake, dtype=bool))
    before = plan_from_json(question["before"])
    plan = caught_up(question["wanted"], before, table, question["owed"], question["cost"])
    return {"plan": plan_as_json(plan)}


class PlanMaker:
    """Makes plans one at a time, each in a process of its own that ends with it; nobody waits for it."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._plan: Plan | None = None
        self.trouble: str | None = None  # why the newest attempt gave no plan
        self.cost: float | None = None  # that the newest attempt charged

    @property
    def is_busy(self) -> bool:
        """Whether a plan is being made."""
        return self._thread is not None and self._thread.is_alive()

    def begin(self, work: Work, cost: Callable[[], float]) -> None:
        """Begin to make the plans that are owed; nothing while others are being made.

        Parameters
        ----------
        work : Work
        cost : callable
            Returns what shifting between sleeves costs, fraction of what is shifted; asked in the thread that waits.
        """
        if not self.is_busy:
            self._thread = threading.Thread(target=self._make, args=(work, cost), name="sharing-plan", daemon=True)
            self._thread.start()

    def taken(self) -> Plan | None:
        """Return a plan that has been made since the last call, once."""
        plan, self._plan = self._plan, None
        return plan

    def _make(self, work: Work, cost: Callable[[], float]) -> None:
        talk = Talk(__name__, "the optimisers")
        try:
            self.cost = cost()
            talk.start(Path(tempfile.gettempdir()))
            plan = plan_from_json(talk.exchange(question_of(work, self.cost), LIMIT_S)["plan"])
        except (DataError, StorageError, OSError, KeyError, TypeError, ValueError) as error:
            self.trouble = f"{error}" or type(error).__name__
            log.error("no plan for the sleeves", reason=self.trouble)
        else:
            self._plan, self.trouble = plan, None
        finally:
            talk.end()


def serve(connection: Connection) -> None:
    """Answer questions until the engine closes the pipe."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            question = orjson.loads(connection.recv_bytes())
            try:
                said = answer_to(question)
            except Exception as error:  # a fault of ours must reach the engine as a sentence, too
                said = {"error": f"{type(error).__name__}: {error}"}
            connection.send_bytes(orjson.dumps(said))


if __name__ == "__main__":
    serve(own_process())

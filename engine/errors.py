"""The error tree.

WorkstationError
├── ConfigError            wrong settings: refuse to start
├── DataError              bad, missing or late market data
│   └── BadRows            rows of a file that cannot be right, each with what was found and expected
├── VenueError
│   ├── Unreachable        may heal; nothing was sent, or it was a read
│   ├── Rejected           will not heal; carries the venue's code
│   └── StateUnknown       the order may exist: look it up, do not send again
├── ModelError             a model that cannot be loaded, does not fit its features, or learned nothing usable
├── CommandRefused         a person's command that cannot be done, with what to do instead
├── EngineRunning          another engine owns this data folder
└── InvariantBroken        our bug: stop trading, keep the record
"""

from __future__ import annotations

from typing import Any


class WorkstationError(Exception):
    """Base of every error that Astrolabe raises on purpose."""


class ConfigError(WorkstationError):
    """Settings that cannot work."""


class DataError(WorkstationError):
    """Market data that cannot be used."""


class BadRows(DataError):
    """Rows of a file that cannot be right.

    Parameters
    ----------
    count : int
        How many there are.
    rows : list of dict
        The first of them: ``file``, ``row`` (0 when the row is not known any more), ``found``, ``expected``.
    """

    def __init__(self, count: int, rows: list[dict[str, Any]]) -> None:
        first = rows[0]
        where = f"{first['file']} row {first['row']}" if first["row"] else str(first["file"])
        more = f" There are {count:,} such rows." if count > 1 else ""
        super().__init__(
            f"{where}: found {first['found']}; expected {first['expected']}.{more} Nothing was stored. Correct the "
            "file, or import it again and choose to leave the bad rows out."
        )
        self.count, self.rows = count, rows


class VenueError(WorkstationError):
    """Something between us and the exchange."""


class Unreachable(VenueError):
    """The venue did not answer, and no order can have reached it."""


class Rejected(VenueError):
    """The venue said no.

    Parameters
    ----------
    code : int
        The venue's error code, such as -2019.
    message : str
        The venue's sentence.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{message} (venue code {code})")
        self.code = code


class StateUnknown(VenueError):
    """An order was sent and no trustworthy answer came back."""


class ModelError(WorkstationError):
    """A model that cannot be used."""


class CommandRefused(WorkstationError):
    """A command that is understood and not carried out."""


class EngineRunning(WorkstationError):
    """Another engine owns the data folder."""


class InvariantBroken(WorkstationError):
    """A promise of our own code does not hold."""

"""Client order ids: a function of the decision and a sequence, so that a retry or a restart cannot send twice.

Shape: ``as<tag>-<decision>-<sequence>``, base 36; a child of a parent order is ``as<tag>-p-<parent>-<sequence>``.
``tag`` belongs to one data folder, so that two installations on one account cannot collide; ``sequence`` counts every
order ever made in that folder. At most 36 characters of ``[a-z0-9-]``, which the venue accepts.
"""

from __future__ import annotations

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
PREFIX = "as"
CHILD = "p"


def base36(number: int) -> str:
    """Return a non-negative integer in base 36.

    >>> base36(35), base36(36)
    ('z', '10')
    """
    if number < 0:
        raise ValueError(f"{number} is negative")
    digits = ""
    while True:
        number, rest = divmod(number, 36)
        digits = _DIGITS[rest] + digits
        if number == 0:
            return digits


def client_order_id(tag: str, decision_id: int, sequence: int) -> str:
    """Return the id of order number ``sequence``, made by ``decision_id`` (0 for a person's order).

    >>> client_order_id("k3f9", 41, 100)
    'ask3f9-15-2s'
    """
    return _checked(f"{order_prefix(tag)}{base36(decision_id)}-{base36(sequence)}")


def child_order_id(tag: str, parent_id: int, sequence: int) -> str:
    """Return the id of order number ``sequence``, a child of parent order ``parent_id``.

    >>> child_order_id("k3f9", 41, 100)
    'ask3f9-p-15-2s'
    """
    return _checked(f"{order_prefix(tag)}{CHILD}-{base36(parent_id)}-{base36(sequence)}")


def parent_of(client_id: str) -> int:
    """Return the parent order that an order id of ours is a child of, 0 when of none.

    >>> parent_of("ask3f9-p-15-2s"), parent_of("ask3f9-15-2s"), parent_of("web_1")
    (41, 0, 0)
    """
    parts = client_id.split("-")
    return int(parts[2], 36) if len(parts) == 4 and parts[1] == CHILD else 0


def _checked(text: str) -> str:
    if len(text) > 36:
        raise ValueError(f"client order id {text} is longer than 36 characters")
    return text


def order_prefix(tag: str) -> str:
    """Return what every order id of a data folder begins with."""
    return f"{PREFIX}{tag}-"


def is_ours(client_id: str, tag: str) -> bool:
    """Return whether an order id was made in this data folder."""
    return client_id.startswith(order_prefix(tag))


def sequence_of(client_id: str) -> int:
    """Return the sequence in an id of ours.

    >>> sequence_of("ask3f9-15-2s")
    100
    """
    return int(client_id.rsplit("-", 1)[1], 36)

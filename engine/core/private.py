"""Copies of one-element arrays that a compiled scan keeps in registers.

A scan of one symbol works on arrays of one element. As memory, each of them could be what any store changes, so that
compiled code reads and writes it on every bar. A copy on the function's own stack cannot be: the compiler sees all of
its uses and keeps it in a register. The arithmetic is the same to the bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit
from numba.core import cgutils, types
from numba.extending import intrinsic

from engine.core.drafts import Draft
from engine.core.frictions import SimVenue
from engine.core.matching import SimAccount
from engine.core.state import State
from engine.domain import Params, Sleeve


def _copy_on_stack(n_columns: int) -> Callable[..., Any]:
    """Return a compiled function that copies an array of one row, of ``n_columns`` if it has two dimensions."""

    @intrinsic
    def on_stack(typing_context, like):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            array_type = signature.return_type
            source = context.make_array(array_type)(context, builder, arguments[0])
            element = context.get_data_type(array_type.dtype)
            element_bytes = context.get_abi_sizeof(element)
            n_elements = n_columns if array_type.ndim == 2 else 1

            def whole(number: int) -> Any:
                return context.get_constant(types.intp, number)

            memory = cgutils.alloca_once(builder, element, size=n_elements)
            cgutils.raw_memcpy(
                builder, memory, builder.bitcast(source.data, memory.type), whole(n_elements), element_bytes
            )
            shape, strides = [whole(1), whole(n_elements)], [whole(n_elements * element_bytes), whole(element_bytes)]
            copied = context.make_array(array_type)(context, builder)
            context.populate_array(
                copied, data=builder.bitcast(memory, copied.data.type), shape=shape[: array_type.ndim],
                strides=strides[-array_type.ndim :], itemsize=whole(element_bytes), meminfo=None,
            )  # fmt: skip
            return copied._getvalue()

        return like(like), generate

    function: Callable[..., Any] = on_stack
    return function


@intrinsic
def _copied_record(typing_context, target, source):  # type: ignore[no-untyped-def]
    """Copy the one record of ``source`` as a block: copied by assignment, it would be taken apart into bytes."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        to, origin = (context.make_array(kind)(context, builder, array) for kind, array in
                      zip(signature.args, arguments, strict=True))  # fmt: skip
        record_bytes = context.get_abi_sizeof(context.get_data_type(signature.args[0].dtype))
        cgutils.raw_memcpy(builder, to.data, origin.data, context.get_constant(types.intp, 1), record_bytes)
        return context.get_dummy_value()

    return types.void(target, source), generate


_copy_record: Any = _copied_record
_EMA_CROSS = int(Sleeve.EMA_CROSS)
_one = _copy_on_stack(1)
_pair = _copy_on_stack(2)
_inlined: Any = njit(inline="always", error_model="numpy", _nrt=False)  # type: ignore[call-overload]


@_inlined
def private_record(rows):  # type: ignore[no-untyped-def]
    """Return a private copy of an array of one row."""
    return _one(rows)


@_inlined
def private_state(state: State) -> State:
    """Return a copy whose one-dimensional arrays, and the two EMAs of ema-cross, are private."""
    return State(
        _pair(state.trail), _one(state.last_px), state.covariance, _one(state.n_bars), _one(state.signal),
        _one(state.crossed), _one(state.log_return), _one(state.book), state.past, state.added,
    )  # fmt: skip


@_inlined
def publish_state(state: State, private: State) -> None:
    """Write a private copy back."""
    state.trail[0, 0] = private.trail[0, 0]
    state.trail[0, 1] = private.trail[0, 1]
    state.last_px[0] = private.last_px[0]
    state.n_bars[0] = private.n_bars[0]
    state.signal[0] = private.signal[0]
    state.crossed[0] = private.crossed[0]
    state.log_return[0] = private.log_return[0]
    _copy_record(state.book, private.book)


@_inlined
def private_draft(draft: Draft) -> Draft:
    """Return a copy whose one-dimensional arrays are private. Counts and verdicts stay shared."""
    return Draft(
        _one(draft.raw_weight), _one(draft.sized_weight), _one(draft.approved_weight), _one(draft.target_qty),
        _one(draft.act), draft.verdict, draft.measured, draft.limit, _one(draft.present_weight), _one(draft.value_px),
        _one(draft.shares), draft.objections,
    )  # fmt: skip


@_inlined
def publish_draft(draft: Draft, private: Draft) -> None:
    """Write a private copy back."""
    draft.raw_weight[0] = private.raw_weight[0]
    draft.sized_weight[0] = private.sized_weight[0]
    draft.approved_weight[0] = private.approved_weight[0]
    draft.target_qty[0] = private.target_qty[0]
    draft.act[0] = private.act[0]
    draft.present_weight[0] = private.present_weight[0]
    draft.value_px[0] = private.value_px[0]
    draft.shares[0] = private.shares[0]


@_inlined
def private_account(account: SimAccount) -> SimAccount:
    """Return a private copy."""
    return SimAccount(
        _one(account.position_qty), _one(account.in_flight_qty), _one(account.entry_px), _one(account.mark_px),
        _one(account.age_s), _one(account.slot_cash), _one(account.money),
    )  # fmt: skip


@_inlined
def publish_account(account: SimAccount, private: SimAccount) -> None:
    """Write a private copy back."""
    account.position_qty[0] = private.position_qty[0]
    account.in_flight_qty[0] = private.in_flight_qty[0]
    account.entry_px[0] = private.entry_px[0]
    account.mark_px[0] = private.mark_px[0]
    account.age_s[0] = private.age_s[0]
    account.slot_cash[0] = private.slot_cash[0]
    _copy_record(account.money, private.money)


@_inlined
def private_venue(venue: SimVenue) -> SimVenue:
    """Return a copy whose one-dimensional arrays are private. Orders under way stay shared."""
    return SimVenue(
        _one(venue.pending), _one(venue.aim), _one(venue.newest_target), _one(venue.n_under_way), venue.under_way,
        venue.under_way_aim, _one(venue.variance), _one(venue.last_px), _one(venue.n_ranges), _one(venue.filled_late),
    )  # fmt: skip


@_inlined
def publish_venue(venue: SimVenue, private: SimVenue) -> None:
    """Write a private copy back."""
    venue.pending[0] = private.pending[0]
    venue.aim[0] = private.aim[0]
    venue.newest_target[0] = private.newest_target[0]
    venue.n_under_way[0] = private.n_under_way[0]
    venue.variance[0] = private.variance[0]
    venue.last_px[0] = private.last_px[0]
    venue.n_ranges[0] = private.n_ranges[0]
    venue.filled_late[0] = private.filled_late[0]


@_inlined
def ema_cross_params(params: Params) -> Params:
    """Return the same parameters with the sleeve as a constant, so that the other sleeves are not compiled in."""
    return Params(
        _EMA_CROSS, params.bars_per_year, params.trend_horizon_bars, params.vol_horizon_bars, params.vol_target,
        params.ema_fast, params.ema_slow, params.allow_short, params.gate, params.max_symbol_weight,
        params.max_gross_weight, params.max_leverage, params.max_daily_loss, params.max_drawdown, params.max_age_s,
        params.rebalance_band, 0.0, params.risk, params.tail_table, params.underlying,
        params.shocks,
    )  # fmt: skip

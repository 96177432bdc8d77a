"""Instructions for what takes longest: several bars side by side, and memory that is far away.

Compiled code adds in the order that is written, which keeps every bar waiting for the one before it. These say that
the order does not matter and that no value is NaN. What they return may differ from a plain loop in the last digit (a
sum) or not at all (an extreme); nothing that a decision depends on to the bit may be made with ``any_order_sum``.
"""

from __future__ import annotations

from typing import Any

from numba.core import cgutils, types
from numba.extending import intrinsic


def _of_two(name: str) -> Any:
    @intrinsic
    def of_two(typing_context, one, other):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            double = cgutils.ir.DoubleType()
            if name == "fadd":
                return builder.fadd(*arguments, flags=("reassoc", "nsz", "nnan"))
            function = builder.module.declare_intrinsic(
                f"llvm.{name}", (double,), cgutils.ir.FunctionType(double, (double, double))
            )  # fmt: skip
            return builder.call(function, arguments, fastmath=("nnan", "nsz"))

        return types.float64(types.float64, types.float64), generate

    return of_two


any_order_sum: Any = _of_two("fadd")
"""Sum of two numbers, neither of them NaN."""

least: Any = _of_two("minnum")
"""The lower of two numbers, neither of them NaN."""

largest: Any = _of_two("maxnum")
"""The higher of two numbers, neither of them NaN."""


@intrinsic
def _first_set(typing_context, group):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.cttz(arguments[0], cgutils.ir.Constant(cgutils.ir.IntType(1), 1))

    return types.int64(types.int64), generate


first_set: Any = _first_set
"""Number of the lowest bit that is set in a number other than 0."""


@intrinsic
def _fetched(typing_context, column, row):  # type: ignore[no-untyped-def]
    """Ask for a row of a column, of one or two dimensions, without waiting for it. Any row may be asked for."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        at = builder.gep(array.data, [arguments[1]])
        pointer, whole = cgutils.ir.IntType(8).as_pointer(), cgutils.ir.IntType(32)
        takes = cgutils.ir.FunctionType(cgutils.ir.VoidType(), (pointer, whole, whole, whole))
        prefetch = cgutils.get_or_insert_function(builder.module, takes, "llvm.prefetch.p0")
        builder.call(prefetch, [builder.bitcast(at, pointer), *(whole(flag) for flag in (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(column, types.intp), generate


fetch: Any = _fetched
"""Fetch (column, row) of a contiguous (T,) or (T, 1) array into the fastest cache, without waiting for it."""

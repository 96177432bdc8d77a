"""What makes numba's disk cache safe: a fingerprint of every source file that a kernel can contain.

numba invalidates a cached function when its own file changes, but not when a function it calls changes in another
file. A stale kernel would trade on old rules. So only the entry points are cached, and each closes over this
fingerprint, which numba hashes into its cache key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])

_inner: Any = njit(error_model="numpy", _nrt=False, forceinline=True)  # type: ignore[call-overload]
_part: Any = njit(  # type: ignore[call-overload]
    error_model="numpy", _nrt=False, forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True
)
_apart: Any = njit(  # type: ignore[call-overload]
    error_model="numpy", _nrt=False, no_cpython_wrapper=True, no_cfunc_wrapper=True
)
_entry: Any = njit(error_model="numpy", _nrt=False, nogil=True, cache=True)  # type: ignore[call-overload]
_copying: Any = njit


def kernel(function: Function) -> Function:
    """Compile a function that runs inside an entry point and allocates nothing.

    numba's reference counting is switched off for it: with it, every look at an array inside a NamedTuple costs two
    atomic instructions, which made a scan 100 times slower. Division by zero gives inf or NaN, as in NumPy.
    """
    compiled: Function = _inner(function)
    return compiled


def kernel_part(function: Function) -> Function:
    """Compile a function like ``kernel`` that only compiled code calls.

    Without the way in from Python, which unpacks every array of every record, compilation takes half the time.
    """
    compiled: Function = _part(function)
    return compiled


def kernel_apart(function: Function) -> Function:
    """Compile a function like ``kernel_part`` that is called, not copied into each of its callers.

    For what is long and not needed on every bar: copied into every scan, it would be compiled once for each.
    """
    compiled: Function = _apart(function)
    return compiled


def entry_kernel(function: Function) -> Function:
    """Compile a function like ``kernel`` that Python calls, and keep it on disk. It lets other threads run."""
    compiled: Function = _entry(function)
    return compiled


def copying_kernel(function: Function) -> Function:
    """Compile a function that allocates its result."""
    compiled: Function = _copying(function)
    return compiled


def cached_copying_kernel(function: Function) -> Function:
    """Compile a function that allocates its result, that Python calls, and keep it on disk."""
    compiled: Function = _copying(cache=True)(function)
    return compiled


VOCABULARY = ("domain.py", "limits.py", "rules.py")


def source_fingerprint() -> str:
    """Return a hex digest of the core's and the vocabulary's source text."""
    core = Path(__file__).resolve().parent
    digest = hashlib.sha256()
    for path in [*sorted(core.glob("*.py")), *(core.parent / name for name in VOCABULARY)]:
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


FINGERPRINT = source_fingerprint()

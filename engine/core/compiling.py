"""What makes numba's disk cache safe: a fingerprint of every source file that a kernel can contain.

numba invalidates a cached function when its own file changes, but not when a function it calls changes in another
file. A stale kernel would trade on old rules. So only the entry points are cached, and each closes over this
fingerprint, which numba hashes into its cache key.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from numba import njit

kernel = njit(error_model="numpy", _nrt=False, forceinline=True)
"""Decorator of functions that run inside an entry point.

They allocate nothing, so numba's reference counting is switched off for them: with it, every look at an array inside a
NamedTuple costs two atomic instructions, which made a scan 100 times slower. Division by zero gives inf or NaN, as in
NumPy, instead of raising.
"""


def source_fingerprint() -> str:
    """Return a hex digest of the core's and the vocabulary's source text."""
    core = Path(__file__).resolve().parent
    digest = hashlib.sha256()
    for path in [*sorted(core.glob("*.py")), core.parent / "domain.py"]:
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


FINGERPRINT = source_fingerprint()

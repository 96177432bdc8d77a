"""Compile every cached kernel, so that nobody waits for it later; needs numpy and numba alone.

python scripts/compile_kernels.py
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from engine.core.simulate import compile_scans
from engine.core.step import compile_kernels
from models.features import batch_features
from models.panel import made_up_panel


def main() -> None:
    """Compile step, scans and inputs; kernels that are compiled already load from disk."""
    compile_kernels()
    compile_scans()
    batch_features(made_up_panel(0, 10, 1))


if __name__ == "__main__":
    main()

"""Compile every cached kernel, so that nobody waits for it later; needs numpy and numba alone.

python scripts/compile_kernels.py [decisions] [scans]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from engine.core.simulate import compile_scans
from engine.core.step import compile_kernels
from models.features import batch_features
from models.panel import made_up_panel


def compile_decisions() -> None:
    """Compile the step and the models' inputs."""
    compile_kernels()
    batch_features(made_up_panel(0, 10, 1))


PARTS: dict[str, Callable[[], None]] = {"decisions": compile_decisions, "scans": compile_scans}


def main(names: list[str]) -> None:
    """Compile the parts named, all by default; kernels that are compiled already load from disk."""
    for name in names or PARTS:
        PARTS[name]()


if __name__ == "__main__":
    main(sys.argv[1:])

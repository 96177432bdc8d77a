"""What a run has finished, on disk: after a crash the rest is computed, and the table comes out the same."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from engine.research.members import COLUMNS, Evaluated


class Finished:
    """Evaluated members of one stage, in the files of a folder.

    Parameters
    ----------
    folder : Path
    stage : str
        Says what they were computed on; others in the folder are not read.
    """

    def __init__(self, folder: Path, stage: str) -> None:
        self._folder, self._stage = folder, stage

    def keep(self, answer: Evaluated) -> None:
        """Write one chunk; it appears complete or not at all. Members that failed are not kept."""
        good = [row for row, error in enumerate(answer.errors) if not error]
        if not good:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        keys = [answer.keys[row] for row in good]
        name = hashlib.sha256("".join([self._stage, *keys]).encode()).hexdigest()[:24]
        temporary = self._folder / f"{name}.{os.getpid()}.part"
        with temporary.open("wb") as file:
            np.savez(
                file, stage=np.array(self._stage), columns=np.array(COLUMNS), keys=np.array(keys),
                figures=answer.figures[good], returns=answer.returns[good],
            )  # fmt: skip
        temporary.replace(self._folder / f"chunk-{name}.npz")

    def known(self, keys: Iterable[str]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Return figures and returns of those members that are finished."""
        wanted, found = set(keys), {}
        for path in sorted(self._folder.glob("chunk-*.npz")):
            try:
                with np.load(path, allow_pickle=False) as file:
                    if str(file["stage"]) != self._stage or tuple(file["columns"]) != COLUMNS:
                        continue
                    figures, returns = file["figures"], file["returns"]
                    for row, key in enumerate(file["keys"].tolist()):
                        if key in wanted:
                            found[key] = (figures[row], returns[row])
            except (OSError, ValueError, KeyError, zipfile.BadZipFile):
                continue  # damaged: its members are computed again
        return found

"""The file that ``python -m engine strategy new`` writes: a strategy that runs as it is and says where to change it."""

from __future__ import annotations

from pathlib import Path

from engine.errors import ConfigError

BAR_BY_BAR = '''"""{title}: what it does, in one sentence.

Try it:  python -m engine strategy check {file}
"""

from __future__ import annotations


class Strategy:
    """Long while the close is above its mean of the last n bars, out while it is below."""

    history = 200  # how many bars a decision looks back at; the engine fetches as many before the first one

    def __init__(self, n: int = 48, share: float = 0.2) -> None:
        # every --param name=value, and every pair under "Parameters of your own strategy" in Settings, arrives here
        self.n = n
        self.share = share

    def on_bar(self, past):
        """Return target weights at the close of the newest bar: 0.2 is long a fifth of the account, -0.2 short."""
        if len(past.close) < self.n:
            return None  # no opinion yet: positions stay as they are
        mean = past.close[-self.n :].mean(axis=0)
        newest = past.close[-1]
        return {{symbol: self.share if newest[i] > mean[i] else 0.0 for i, symbol in enumerate(past.symbols)}}
'''
VECTORISED = '''"""{title}: what it does, in one sentence.

Try it:  python -m engine strategy check {file}
"""

from __future__ import annotations

import numpy as np


class Strategy:
    """Long while the close is above its mean of the last n bars, out while it is below."""

    history = 200  # how many bars a decision looks back at; the engine fetches as many before the first one

    def __init__(self, n: int = 48, share: float = 0.2) -> None:
        # every --param name=value, and every pair under "Parameters of your own strategy" in Settings, arrives here
        self.n = n
        self.share = share

    def signals(self, past):
        """Return weights (bars, symbols), one row a bar; the last row is acted on. NaN keeps a position."""
        weights = np.full(past.close.shape, np.nan)
        if len(past.close) < self.n:
            return weights
        mean = np.lib.stride_tricks.sliding_window_view(past.close, self.n, axis=0).mean(axis=-1)
        weights[self.n - 1 :] = np.where(past.close[self.n - 1 :] > mean, self.share, 0.0)
        return weights
'''


def write_template(path: Path, *, vectorised: bool) -> None:
    """Write a new strategy file.

    Raises
    ------
    ConfigError
        The name is not that of a Python file, or the file exists: nothing is overwritten.
    """
    if path.suffix != ".py":
        raise ConfigError(f"{path} is not the name of a Python file: call it {path.stem or 'mine'}.py")
    if path.exists():
        raise ConfigError(f"{path} exists already and is left as it is: choose another name")
    path.parent.mkdir(parents=True, exist_ok=True)
    text = VECTORISED if vectorised else BAR_BY_BAR
    path.write_text(text.format(title=path.stem.replace("_", " ").capitalize(), file=path.name))

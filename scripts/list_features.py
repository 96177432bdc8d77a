"""Write docs/features.md from the table of inputs in models/features.py."""

from __future__ import annotations

from pathlib import Path

from models.features import FEATURES, WARM_UP_BARS

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "features.md"

HEAD = f"""# The inputs of the models

Every forecaster gets these {len(FEATURES)} numbers for each symbol at each bar's close, in this order. One compiled
kernel (`models/feature_kernel.py`) computes them, one bar at a time in the engine and in a loop over years of bars for
training: the same bits. Written by `python scripts/list_features.py` from the table in `models/features.py`.

* s is sigma, the standard deviation of one bar's log return: an EWMA of span 72 bars, a plain mean until those are
  seen.
* Warm-up is the number of a symbol's known bars until the input is given; a whole row needs {WARM_UP_BARS}. Before
  that, and at a bar that is missing or whose prices contradict each other, the input is unknown (NaN), never zero.
* Funding, basis and order-book imbalance are 0 where they are not known, and a column beside each says so.
* A price that opens more than three times away from its last close was redenominated: the jump is no return.

| # | name | group | formula | warm-up, bars | known at |
|---|---|---|---|---|---|
"""

TAIL = """
The market is the equal-weight mean of the log returns of the symbols that have a bar. Sources: Parkinson (1980), Garman
& Klass (1980), Rogers & Satchell (1991), Wilder (1978), Kaufman (1995) for efficiency, Amihud (2002), Baz et al. (2015)
for normalised EMA gaps.
"""


def text() -> str:
    """Return the whole document."""
    lines = []
    for number, spec in enumerate(FEATURES, start=1):
        formula = spec.formula.replace("|", "\\|")
        lines.append(f"| {number} | `{spec.name}` | {spec.group} | {formula} | {spec.warm_up} | {spec.known_at} |")
    return HEAD + "\n".join(lines) + "\n" + TAIL


if __name__ == "__main__":
    DOCUMENT.write_text(text())

"""Make the table of past crises that the stress replay uses, from hourly candles: engine/research/crises.json.

    python scripts/make_crises.py --data FOLDER

``FOLDER`` holds ``SYMBOL.parquet`` with timestamp (bar open, UTC), open, high, low, close, one bar an hour. Kept are
moves, not prices: for each hour the close against the last close in basis points, and by how much the low and the high
lie beyond the lower and the higher of the two closes. A missing hour (the exchange was down) is a move of nothing; its
return is in the next bar, as a holder lived it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "engine" / "research" / "crises.json"
SOURCE = "Computed from Binance spot candles of one hour (public market data), rounded to a basis point."
AN_HOUR = "[close against the last close, low below the lower close, high above the higher close]"
CRISES = {
    "2018-11": ("November 2018: two fifths of the price in twelve days", "2018-11-14", "2018-11-26"),
    "2020-03-12": ("12 March 2020: half of the price in a day", "2020-03-12", "2020-03-14"),
    "2021-05-19": ("19 May 2021: liquidations", "2021-05-18", "2021-05-21"),
    "2022-05": ("May 2022: LUNA", "2022-05-07", "2022-05-13"),
    "2022-11": ("November 2022: FTX", "2022-11-07", "2022-11-11"),
    "2024-08-05": ("5 August 2024: the yen carry unwinds", "2024-08-03", "2024-08-06"),
}


def moves(candles: pd.DataFrame, start: str, end: str) -> list[int] | None:
    """Return the flat list of a symbol's hours, or None when the window is not covered."""
    clock = pd.date_range(start, end, freq="1h", tz="UTC", inclusive="left")
    before = candles[candles.index < clock[0]]
    if before.empty or (clock[0] - before.index[-1]) > pd.Timedelta("2h") or candles.index[-1] < clock[-1]:
        return None
    rows = candles.reindex(clock)
    close = rows["close"].ffill().fillna(before["close"].iloc[-1]).to_numpy()
    last = np.concatenate(([before["close"].iloc[-1]], close[:-1]))
    low = rows["low"].fillna(pd.Series(close, clock)).to_numpy()
    high = rows["high"].fillna(pd.Series(close, clock)).to_numpy()
    columns = (
        close / last - 1.0,
        np.maximum(np.minimum(close, last) - low, 0.0) / last,
        np.maximum(high - np.maximum(close, last), 0.0) / last,
    )
    return np.rint(np.stack(columns, axis=1) * 1e4).astype(int).ravel().tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    folder = parser.parse_args().data
    candles = {path.stem: pd.read_parquet(path).set_index("timestamp") for path in sorted(folder.glob("*.parquet"))}
    found = {}
    for key, (title, start, end) in CRISES.items():
        tables = {symbol: moves(table, start, end) for symbol, table in candles.items()}
        known = {symbol: row for symbol, row in tables.items() if row is not None}
        found[key] = {"title": title, "start": start, "hours": len(known["BTCUSDT"]) // 3, "moves": known}
        print(key, found[key]["hours"], "hours:", ", ".join(known))
    lines = [f'{{"source": {json.dumps(SOURCE)}, "an_hour": {json.dumps(AN_HOUR)}, "crises": {{']
    for place, (key, crisis) in enumerate(found.items()):
        head = {name: crisis[name] for name in ("title", "start", "hours")}
        lines.append(f'{json.dumps(key)}: {json.dumps(head)[:-1]}, "moves": {{')
        rows = [f"{json.dumps(s)}: {json.dumps(row, separators=(',', ':'))}" for s, row in crisis["moves"].items()]
        lines.append(",\n".join(rows) + "}}" + ("," if place < len(found) - 1 else "}}"))
    OUT.write_text("\n".join(lines) + "\n")
    print(OUT, OUT.stat().st_size, "bytes")


if __name__ == "__main__":
    main()

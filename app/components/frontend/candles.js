// Candles of one timeframe, kept current by folding the live one-minute bar into the last of them. Pure: no DOM.

export class Candles {
  /** rows: [[ts_open_s, open, high, low, close, volume], …], oldest first; seconds: the timeframe's length. */
  constructor(rows, seconds) {
    this.seconds = seconds;
    this.rows = rows.map(toRow);
    this.minute = null; // the live minute's opening, seconds
    this.minuteVolume = 0; // its volume when last folded
  }

  /** Put older candles in front; returns false when there was nothing older. */
  prepend(rows) {
    const first = this.rows[0]?.time ?? Infinity;
    const older = rows.map(toRow).filter((row) => row.time < first);
    this.rows = [...older, ...this.rows];
    return older.length > 0;
  }

  /** Fold a live one-minute bar {o: ms, p: [open, high, low, close, volume]}; returns the changed candle, or null. */
  fold(bar) {
    const minute = bar.o / 1000;
    const time = Math.floor(minute / this.seconds) * this.seconds;
    const [open, high, low, close, volume] = bar.p;
    const last = this.rows.at(-1);
    if (last && time < last.time) return null; // the candle it belongs to is complete
    const row = !last || time > last.time ? this.start(time, open) : last;
    row.high = Math.max(row.high, high);
    row.low = Math.min(row.low, low);
    row.close = close;
    row.volume = this.seconds === 60 ? volume : row.volume + this.growth(minute, volume, row !== last);
    return row;
  }

  start(time, open) {
    const row = { time, open, high: open, low: open, close: open, volume: 0 };
    this.rows.push(row);
    return row;
  }

  // History already holds the live minute's volume up to the moment it was read, so the first sight of that minute
  // adds nothing; from then on its growth counts.
  growth(minute, volume, isNewCandle) {
    const before = this.minute === minute ? this.minuteVolume : this.minute === null && !isNewCandle ? volume : 0;
    this.minute = minute;
    this.minuteVolume = volume;
    return Math.max(0, volume - before);
  }
}

const toRow = ([time, open, high, low, close, volume]) => ({ time, open, high, low, close, volume });

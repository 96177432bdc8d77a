// Tape: everybody's trades in this symbol, newest first.

import { el, put } from "./dom.js";
import { feed, mountOnce, unknownSince } from "./feed.js";
import { baseOf, clock, decimalsOf, number } from "./format.js";

const ROWS = 60;

function create(parent) {
  const root = parent.appendChild(el("section", "panel tape"));
  const title = root.appendChild(el("header"));
  title.appendChild(el("h2", "", "Trades"));
  const units = title.appendChild(el("small"));
  const head = root.appendChild(el("div", "level head"));
  for (const text of ["Price", "Size", "Time"]) head.appendChild(el("span", "", text));
  const body = root.appendChild(el("div", "tapebody"));
  const rows = Array.from({ length: ROWS }, () => {
    const row = body.appendChild(el("div", "level"));
    return ["px", "qty", "time"].map((name) => row.appendChild(el("span", name)));
  });
  const veil = root.appendChild(el("div", "veil"));
  return { root, units, rows, veil, data: {}, update, paint };
}

function update(data) {
  this.data = data;
  put(this.units, `USDT · ${baseOf(data.symbol)}`);
}

function paint(changed) {
  const unknown = unknownSince(clock);
  const trades = unknown ? [] : feed.trades;
  put(this.veil, unknown ?? "No trade since you opened this symbol.");
  this.veil.hidden = trades.length > 0;
  if (!["trade", "all", "symbol", "down", "up"].some((kind) => changed.has(kind))) return;
  const instrument = this.data.instruments?.[feed.symbol] ?? {};
  const pxDecimals = decimalsOf(instrument.tick_size, trades[0]?.p);
  const qtyDecimals = decimalsOf(instrument.lot_size ?? 0.001);
  this.rows.forEach((cells, i) => {
    const trade = trades[i];
    put(cells[0], trade ? (trade.d > 0 ? "▲ " : "▼ ") + number(trade.p, pxDecimals) : "", trade ? (trade.d > 0 ? "px up" : "px down") : "px");
    put(cells[1], trade ? number(trade.q, qtyDecimals) : "");
    put(cells[2], trade ? clock(trade.ts / 1e6) : "");
  });
}

export default mountOnce(create);

// Order book: 20 levels a side, cumulative size as bars behind the numbers, spread in basis points between the sides.

import { el, put } from "./dom.js";
import { feed, mountOnce, unknownSince } from "./feed.js";
import { baseOf, clock, decimalsOf, isKnown, number, tone } from "./format.js";

const LEVELS = 20;

function side(root, className) {
  const block = root.appendChild(el("div", "levels " + className));
  return Array.from({ length: LEVELS }, () => {
    const row = block.appendChild(el("div", "level"));
    const bar = row.appendChild(el("i"));
    const cells = ["px", "qty", "sum"].map((name) => row.appendChild(el("span", name)));
    return { row, bar, cells };
  });
}

function create(parent) {
  const root = parent.appendChild(el("section", "panel book"));
  const title = root.appendChild(el("header"));
  title.appendChild(el("h2", "", "Order book"));
  const units = title.appendChild(el("small"));
  const head = root.appendChild(el("div", "level head"));
  for (const text of ["Price", "Size", "Sum"]) head.appendChild(el("span", "", text));
  const body = root.appendChild(el("div", "bookbody"));
  const asks = side(body, "asks");
  const middle = body.appendChild(el("div", "middle"));
  const last = middle.appendChild(el("b"));
  const spread = middle.appendChild(el("small"));
  const bids = side(body, "bids");
  const veil = root.appendChild(el("div", "veil"));
  return { root, units, asks, bids, last, spread, veil, data: {}, update, paint };
}

function update(data) {
  this.data = data;
  put(this.units, `USDT · ${baseOf(data.symbol)}`);
}

function paint(changed) {
  const unknown = unknownSince(clock);
  const book = feed.book;
  put(this.veil, unknown ?? (book ? "" : "Waiting for the book."));
  this.veil.hidden = !unknown && book !== null;
  if (unknown || !book) {
    if (unknown || changed.has("symbol")) clearSides(this);
    return;
  }
  if (!changed.has("book") && !changed.has("all")) return;
  const instrument = this.data.instruments?.[feed.symbol] ?? {};
  const pxDecimals = decimalsOf(instrument.tick_size, book.b[0]?.[0]);
  const qtyDecimals = decimalsOf(instrument.lot_size ?? 0.001);
  const deepest = Math.max(total(book.b), total(book.a));
  fill(this.bids, book.b, pxDecimals, qtyDecimals, deepest);
  fill(this.asks, book.a, pxDecimals, qtyDecimals, deepest);
  paintMiddle(this, book, pxDecimals);
}

const total = (levels) => levels.slice(0, LEVELS).reduce((sum, level) => sum + level[1], 0);

function fill(rows, levels, pxDecimals, qtyDecimals, deepest) {
  let sum = 0;
  rows.forEach(({ bar, cells }, i) => {
    const level = levels[i];
    sum += level?.[1] ?? 0;
    put(cells[0], level ? number(level[0], pxDecimals) : "");
    put(cells[1], level ? number(level[1], qtyDecimals) : "");
    put(cells[2], level ? number(sum, qtyDecimals) : "");
    bar.style.transform = `scaleX(${level && deepest > 0 ? (sum / deepest).toFixed(3) : 0})`;
  });
}

function paintMiddle(view, book, decimals) {
  const [bid, ask] = [book.b[0]?.[0], book.a[0]?.[0]];
  const move = feed.last?.move ?? 0;
  put(view.last, (move > 0 ? "▲ " : move < 0 ? "▼ " : "") + number(feed.last?.px, decimals), tone(move));
  if (isKnown(bid) && isKnown(ask)) {
    const bp = ((ask - bid) / ((ask + bid) / 2)) * 1e4;
    put(view.spread, `spread ${number(ask - bid, decimals)} · ${number(bp, 2)}\u202fbp`);
  } else put(view.spread, "one side is empty");
}

function clearSides(view) {
  for (const rows of [view.bids, view.asks]) fill(rows, [], 0, 0, 0);
  put(view.last, "");
  put(view.spread, "");
}

export default mountOnce(create);

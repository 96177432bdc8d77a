// Price lines of one symbol: entry, liquidation, protective stops and resting orders.

import { isKnown, plainQty } from "./format.js";

const DOTTED = 1;
const DASHED = 2;
const SOLID = 0;

export class Lines {
  constructor(series, colours) {
    this.series = series;
    this.colours = colours;
    this.shown = new Map();
  }

  show(symbol, orders, positions) {
    const wanted = new Map();
    for (const position of positions) if (position.symbol === symbol) this.ofPosition(wanted, position);
    for (const order of orders) if (order.symbol === symbol) this.ofOrder(wanted, order);
    for (const [key, line] of this.shown) {
      if (wanted.has(key)) continue;
      this.series.removePriceLine(line.handle);
      this.shown.delete(key);
    }
    for (const [key, options] of wanted) {
      const text = JSON.stringify(options);
      const line = this.shown.get(key);
      if (!line) this.shown.set(key, { text, handle: this.series.createPriceLine(options) });
      else if (line.text !== text) {
        line.handle.applyOptions(options);
        line.text = text;
      }
    }
  }

  ofPosition(wanted, position) {
    if (!position.qty) return;
    const word = position.qty > 0 ? "Long" : "Short";
    this.add(wanted, "entry", position.entry_px, this.colours.accent, SOLID, `${word} ${plainQty(position.qty)} entry`);
    this.add(wanted, "liquidation", position.liq_px, this.colours.warn, DASHED, "Liquidation");
  }

  ofOrder(wanted, order) {
    const colour = order.side > 0 ? this.colours.up : this.colours.down;
    const word = order.side > 0 ? "Buy" : "Sell";
    const qty = order.qty > 0 ? ` ${plainQty(order.qty)}` : "";
    const isStop = isKnown(order.stop_px);
    const title = order.purpose === "protect" ? "Protective stop" : `${word}${isStop ? " stop" : ""}${qty}`;
    const px = isStop ? order.stop_px : order.limit_px;
    this.add(wanted, order.client_id, px, order.purpose === "protect" ? this.colours.down : colour, isStop ? DASHED : DOTTED, title);
  }

  add(wanted, key, price, color, lineStyle, title) {
    if (isKnown(price) && price > 0) wanted.set(key, { price, color, lineStyle, lineWidth: 1, axisLabelVisible: true, title });
  }
}

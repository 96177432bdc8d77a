// Positions, open orders and fills, with their actions. A first click asks, a second click acts; the engine gets one key
// per action, so a click that is delivered twice is carried out once.

import { Table, confirmButton, el, put } from "./dom.js";
import { feed, mountOnce, newKey, unknownSince } from "./feed.js";
import { UNKNOWN, amount, baseOf, clock, dayAndClock, decimalsOf, isKnown, number, percent, signed, tone } from "./format.js";

const TABS = { positions: "Positions", orders: "Open orders", fills: "Fills" };

function create(parent) {
  const root = parent.appendChild(el("section", "panel blotter"));
  const head = root.appendChild(el("header"));
  const tabs = head.appendChild(el("nav", "choices"));
  const notice = head.appendChild(el("span", "notice"));
  const body = root.appendChild(el("div", "blotterbody"));
  const veil = root.appendChild(el("div", "veil"));
  const view = { root, tabs, notice, body, veil, data: {}, tab: "positions", buttons: {}, past: null, update, paint };
  for (const [name, label] of Object.entries(TABS)) {
    const button = tabs.appendChild(el("button", "", label));
    button.onclick = () => { view.tab = name; feed.note("all"); };
    view.buttons[name] = button;
  }
  view.cancelAll = head.appendChild(confirmButton("Cancel all orders", () => "Click again: cancel all", () => view.trigger("cancel_all", { key: newKey() })));
  view.tables = { positions: positionsTable(view), orders: ordersTable(view), fills: fillsTable(view) };
  for (const table of Object.values(view.tables)) body.appendChild(table.root);
  return view;
}

const px = (view, symbol, value) => number(value, decimalsOf(view.data.instruments?.[symbol]?.tick_size, value));
const qty = (view, symbol, value) => number(Math.abs(value), decimalsOf(view.data.instruments?.[symbol]?.lot_size ?? 0.001));
const signedQty = (view, symbol, value) => amount(value, decimalsOf(view.data.instruments?.[symbol]?.lot_size ?? 0.001));
const away = (from, to) => (isKnown(from) && isKnown(to) && from > 0 ? ` (${number((to / from - 1) * 100, 1)}\u202f%)` : "");

function positionsTable(view) {
  return new Table([
    { title: "Symbol", left: true, cell: (row) => [row.symbol, "strong"] },
    { title: "Side", left: true, cell: (row) => (row.qty > 0 ? "long" : "short") },
    { title: "Size", cell: (row) => `${signedQty(view, row.symbol, row.qty)} ${baseOf(row.symbol)}` },
    { title: "Notional USDT", cell: (row) => amount(row.notional, 2) },
    { title: "Entry USDT", cell: (row) => px(view, row.symbol, row.entry_px) },
    { title: "Mark USDT", cell: (row) => px(view, row.symbol, row.mark_px) },
    { title: "PnL USDT", cell: (row) => {
      const share = row.entry_px && row.qty ? row.pnl_unrealized / Math.abs(row.entry_px * row.qty) : null;
      const part = isKnown(share) ? ` (${number(share * 100, 2)}\u202f%)` : "";
      return [signed(row.pnl_unrealized) + part, tone(row.pnl_unrealized)];
    } },
    { title: "Stop USDT (away)", cell: (row) => (isKnown(row.stop_px) ? px(view, row.symbol, row.stop_px) + away(row.mark_px, row.stop_px) : ["none", "warn"]) },
    { title: "Liq. USDT (away)", cell: (row) => (isKnown(row.liq_px) && row.liq_px > 0 ? px(view, row.symbol, row.liq_px) + away(row.mark_px, row.liq_px) : UNKNOWN) },
    { title: "", make: (row) => confirmButton("Close", () => `Close all ${baseOf(row.symbol)}?`, () => view.trigger("close", { symbol: row.symbol, key: newKey() })) },
  ], "No open position.");
}

function ordersTable(view) {
  return new Table([
    { title: "Time", left: true, cell: (row) => shortTime(row.ts_intent / 1e6) },
    { title: "Symbol", left: true, cell: (row) => [row.symbol, "strong"] },
    { title: "Side", left: true, cell: (row) => [row.side > 0 ? "▲ Buy" : "▼ Sell", tone(row.side)] },
    { title: "Type", left: true, cell: (row) => row.order_type.replaceAll("_", " ").toLowerCase() + (row.tif === "GTX" ? " post-only" : "") },
    { title: "Size", cell: (row) => (row.qty > 0 ? `${qty(view, row.symbol, row.qty)} ${baseOf(row.symbol)}` : "whole position") },
    { title: "Filled", cell: (row) => (row.qty > 0 ? percent(row.filled_qty / row.qty, 0) : UNKNOWN) },
    { title: "Price USDT", cell: (row) => prices(view, row) },
    { title: "Reduce", left: true, cell: (row) => (row.reduce_only || !(row.qty > 0) ? "yes" : "no") },
    { title: "Purpose", left: true, cell: (row) => row.purpose },
    { title: "Status", left: true, cell: (row) => (isUnknown(row) ? [doubt(row, wallMs()), "warn"] : row.status) },
    { title: "", make: (row) => orderActions(view, row), refresh: showAsk },
  ], "No open order.");
}

/** The limit, the trigger, or both of an order that has both. */
function prices(view, row) {
  const limit = isKnown(row.limit_px) ? px(view, row.symbol, row.limit_px) : "";
  const trigger = isKnown(row.stop_px) ? `trigger ${px(view, row.symbol, row.stop_px)}` : "";
  return [trigger, limit].filter(Boolean).join(", ") || "market";
}

const isUnknown = (row) => row.status === "UNKNOWN";
const wallMs = () => performance.timeOrigin + performance.now();
const seconds = (ms) => `${Math.max(Math.round(ms / 1000), 0)}\u202fs`;

/** An order without a trustworthy answer: since when, and when the venue is asked next. */
function doubt(row, nowMs) {
  const since = row.unknown_since_ns > 0 ? ` ${seconds(nowMs - row.unknown_since_ns / 1e6)}` : "";
  if (!(row.next_lookup_ns > 0)) return `UNKNOWN${since}`;
  const left = row.next_lookup_ns / 1e6 - nowMs;
  return `UNKNOWN${since}, ${left > 500 ? `asks in ${seconds(left)}` : "asking"}`;
}

/** Time of day for what is of today; orders seldom are older. */
function shortTime(ms) {
  return wallMs() - ms < 72e6 ? clock(ms) : dayAndClock(ms);
}

function orderActions(view, row) {
  const actions = el("span", "actions");
  const ask = actions.appendChild(el("button", "action ask", "Ask venue now"));
  ask.title = "Looks the order up at the venue by its id. Nothing is sent twice.";
  ask.onclick = () => {
    ask.disabled = true;
    setTimeout(() => (ask.disabled = false), 1500);
    view.trigger("lookup", { client_id: row.client_id, key: newKey() });
  };
  const question = () => (row.purpose === "protect" ? "Remove the stop?" : "Cancel it?");
  actions.appendChild(confirmButton("Cancel", question, () => view.trigger("cancel", { client_id: row.client_id, key: newKey() })));
  return actions;
}

/** What is not known to exist is asked about first, cancelled second. */
function showAsk(actions, row) {
  actions.firstChild.hidden = !isUnknown(row);
  actions.lastChild.hidden = isUnknown(row);
}

function fillsTable(view) {
  return new Table([
    { title: "Time", left: true, cell: (row) => dayAndClock(row.ts_filled / 1e6) },
    { title: "Symbol", left: true, cell: (row) => [row.symbol, "strong"] },
    { title: "Side", left: true, cell: (row) => [row.qty > 0 ? "▲ Buy" : "▼ Sell", tone(row.qty)] },
    { title: "Size", cell: (row) => `${qty(view, row.symbol, row.qty)} ${baseOf(row.symbol)}` },
    { title: "Price USDT", cell: (row) => px(view, row.symbol, row.px) },
    { title: "Notional USDT", cell: (row) => number(Math.abs(row.qty * row.px), 2) },
    { title: "Fee USDT", cell: (row) => number(row.fee, 4) },
    { title: "Realised PnL USDT", cell: (row) => [signed(row.pnl_realized), tone(row.pnl_realized)] },
    { title: "Liquidity", left: true, cell: (row) => (row.is_maker ? "maker" : "taker") },
    { title: "Decision", cell: (row) => (row.decision_id ? String(row.decision_id) : "by hand") },
  ], "No fill yet.");
}

function update(data) {
  this.data = data;
  const text = data.notice?.text ?? "";
  if (text && data.notice.n !== this.noticeShown) {
    this.noticeShown = data.notice.n;
    put(this.notice, text, "notice " + (data.notice.ok ? "" : "warn"));
    clearTimeout(this.noticeTimer);
    this.noticeTimer = setTimeout(() => put(this.notice, "", "notice"), 8000);
  }
  if (!this.past) readFills(this);
}

async function readFills(view) {
  try {
    const answer = await fetch("/market/fills");
    view.past = answer.ok ? await answer.json() : null;
  } catch {
    view.past = null; // stays unknown; asked again when the engine is back
  }
  feed.note("all");
}

function paint(changed) {
  const unknown = unknownSince(clock);
  if (changed.has("up")) readFills(this);
  const rows = { positions: feed.positions, orders: feed.orders, fills: this.past && mergedFills(this.past) };
  for (const name of Object.keys(TABS)) {
    const count = unknown || !rows[name] || name === "fills" ? "" : ` ${rows[name].length}`;
    const doubts = name === "orders" && count ? rows.orders.filter(isUnknown).length : 0;
    const label = TABS[name] + count + (doubts ? `, ${doubts} unknown` : "");
    put(this.buttons[name], label, [this.tab === name && "chosen", doubts && "warn"].filter(Boolean).join(" "));
    this.tables[name].root.hidden = this.tab !== name;
  }
  const known = unknown ? null : rows[this.tab];
  put(this.veil, unknown ? `${TABS[this.tab]}: ${unknown}` : "Waiting for the engine.");
  this.veil.hidden = Boolean(known);
  this.body.hidden = !known;
  this.cancelAll.hidden = this.tab !== "orders" || !known?.length;
  const counts = this.tab === "orders" && changed.has("clock") && known?.some(isUnknown);
  if (!counts && (!known || !["positions", "orders", "fill", "all", "up"].some((kind) => changed.has(kind)))) return;
  const keyOf = { positions: (row) => row.symbol, orders: (row) => row.client_id, fills: (row) => row.symbol + row.trade_id }[this.tab];
  const shown = this.tab === "orders" ? [...known].sort((a, b) => isUnknown(b) - isUnknown(a)) : known;
  this.tables[this.tab].update(shown.slice(0, 200), keyOf);
}

function mergedFills(past) {
  if (feed.fills.length === 0) return past;
  const seen = new Set(feed.fills.map((fill) => fill.symbol + fill.trade_id));
  return [...feed.fills, ...past.filter((fill) => !seen.has(fill.symbol + fill.trade_id))];
}

export default mountOnce(create);

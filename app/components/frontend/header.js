// The bar over the desk: symbols with their prices, the market's numbers, the account's numbers, the age of every feed.

import { el, put } from "./dom.js";
import { feed, mountOnce, unknownSince } from "./feed.js";
import { UNKNOWN, age, baseOf, clock, decimalsOf, isKnown, number, percent, signed, signedPercent, tone } from "./format.js";

const AMBER_S = 2;
const RED_S = 5;
const DAY_MS = 60000; // how often the day's range is read again
const RETRY_MS = 4000; // and how soon when the engine was too busy to say

const STATS = [
  ["Mark", "USDT"], ["Spread", ""], ["24 h", ""], ["24 h range", "USDT"], ["Equity", "USDT"], ["Day PnL", "USDT"],
  ["Drawdown", ""], ["Exposure", ""], ["Margin ratio", ""], ["Next decision", ""],
];

function create(parent) {
  const root = parent.appendChild(el("section", "headbar"));
  const top = root.appendChild(el("div", "strip"));
  const symbols = top.appendChild(el("nav", "symbols"));
  const feeds = top.appendChild(el("div", "feeds"));
  const bottom = root.appendChild(el("div", "stats"));
  const last = bottom.appendChild(el("div", "last"));
  const lastPx = last.appendChild(el("b"));
  const lastUnit = last.appendChild(el("small", "", "USDT"));
  const stats = Object.fromEntries(STATS.map(([label, unit]) => {
    const stat = bottom.appendChild(el("div", "stat"));
    const caption = stat.appendChild(el("small", "", label + (unit ? ` \u00b7 ${unit}` : "")));
    return [label, { caption, value: stat.appendChild(el("b")) }];
  }));
  const timer = setInterval(() => readDay(view), DAY_MS);
  const view = { root, symbols, feeds, lastPx, lastUnit, stats, buttons: new Map(), badges: new Map(), data: {}, day: null, update, paint, remove: () => { clearInterval(timer); clearTimeout(view.retry); } };
  return view;
}

function update(data) {
  const isNewSymbol = data.symbol !== this.data.symbol;
  this.data = data;
  feed.follow(data.symbol);
  for (const symbol of data.symbols ?? []) if (!this.buttons.has(symbol)) addSymbol(this, symbol);
  for (const [symbol, { button }] of this.buttons) {
    button.hidden = !(data.symbols ?? []).includes(symbol);
    button.classList.toggle("chosen", symbol === data.symbol);
  }
  if (isNewSymbol) {
    this.day = null;
    readDay(this);
  }
}

function addSymbol(view, symbol) {
  const button = view.symbols.appendChild(el("button"));
  button.appendChild(el("span", "", baseOf(symbol)));
  const px = button.appendChild(el("b"));
  button.onclick = () => {
    feed.follow(symbol); // the stream changes at once, the page follows
    view.trigger("symbol", symbol);
  };
  view.buttons.set(symbol, { button, px });
}

async function readDay(view) {
  const symbol = view.data.symbol;
  if (!symbol) return;
  clearTimeout(view.retry);
  try {
    const answer = await fetch(`/market/bars?symbol=${symbol}&interval=1h&limit=25`);
    const rows = answer.ok ? (await answer.json()).slice(-25) : [];
    if (symbol !== view.data.symbol) return;
    if (rows.length < 2 && !feed.down) view.retry = setTimeout(() => symbol === view.data.symbol && readDay(view), RETRY_MS);
    if (rows.length < 2) return;
    view.day = { open: rows[0][4], high: Math.max(...rows.slice(1).map((row) => row[2])), low: Math.min(...rows.slice(1).map((row) => row[3])) };
  } catch {
    view.day = null; // shown as unknown
  }
}

function paint(changed) {
  const unknown = unknownSince(clock);
  this.root.classList.toggle("stale", unknown !== null);
  if (changed.has("up")) readDay(this);
  if (changed.has("status")) askForNews(this);
  paintSymbols(this, unknown);
  paintMarket(this, unknown);
  if (["status", "positions", "all", "down", "up", "clock"].some((kind) => changed.has(kind))) {
    paintAccount(this, unknown);
    paintFeeds(this, unknown);
  }
}

const NEWS_MS = 5000;

/** The page was drawn without the engine, or the engine's symbols have changed since: draw it again. */
function askForNews(view) {
  const wanted = (feed.status?.symbols ?? []).join();
  const isCurrent = wanted === (view.data.symbols ?? []).join() && Object.keys(view.data.instruments ?? {}).length > 0;
  if (isCurrent || Date.now() - (view.newsMs ?? 0) < NEWS_MS) return;
  view.newsMs = Date.now();
  view.trigger("refresh", { at: view.newsMs });
}

function paintSymbols(view, unknown) {
  for (const [symbol, { px }] of view.buttons) {
    const top = unknown ? null : feed.tops.get(symbol);
    const decimals = decimalsOf(view.data.instruments?.[symbol]?.tick_size, top?.px);
    put(px, top ? (top.move > 0 ? "▲ " : top.move < 0 ? "▼ " : "") + number(top.px, decimals) : UNKNOWN, tone(top?.move ?? 0));
  }
}

function paintMarket(view, unknown) {
  const { stats, data } = view;
  const top = unknown ? null : feed.tops.get(data.symbol);
  const last = unknown ? null : feed.last;
  const decimals = decimalsOf(data.instruments?.[data.symbol]?.tick_size, last?.px ?? top?.px);
  put(view.lastPx, unknown ?? (last ? (last.move < 0 ? "▼ " : "▲ ") + number(last.px, decimals) : UNKNOWN), unknown ? "unknown" : tone(last?.move ?? 0));
  view.lastUnit.hidden = unknown !== null;
  put(stats.Mark.value, number(top?.mark, decimals));
  const spread = top && isKnown(top.bid) && isKnown(top.ask) ? ((top.ask - top.bid) / top.ask) * 1e4 : null;
  put(stats.Spread.value, isKnown(spread) ? number(spread, 2) + "\u202fbp" : UNKNOWN);
  const day = unknown ? null : view.day;
  const change = day && last ? last.px / day.open - 1 : null;
  put(stats["24 h"].value, signedPercent(change), tone(change));
  const high = day && last ? Math.max(day.high, last.px) : day?.high;
  const low = day && last ? Math.min(day.low, last.px) : day?.low;
  put(stats["24 h range"].value, day ? `${number(low, decimals)} – ${number(high, decimals)}` : UNKNOWN);
}

function paintAccount(view, unknown) {
  const { stats } = view;
  const status = unknown ? null : feed.status;
  put(stats.Equity.value, number(status?.equity, 2));
  put(stats["Day PnL"].value, `${signed(status?.day_pnl)}` + (isKnown(status?.day_pnl_pct) ? ` (${number(status.day_pnl_pct * 100, 2)}\u202f%)` : ""), tone(status?.day_pnl));
  put(stats.Drawdown.value, percent(status?.drawdown));
  put(stats.Exposure.value, isKnown(status?.gross_weight) ? number(status.gross_weight, 2) + "\u202f×" : UNKNOWN);
  put(stats["Margin ratio"].value, percent(status?.margin_ratio));
  const leftS = status?.next_decision_ns ? Math.max(0, (status.next_decision_ns - status.now_ns) / 1e9 - (Date.now() - feed.statusMs) / 1000) : null;
  put(stats["Next decision"].value, isKnown(leftS) ? "in " + Math.ceil(leftS) + "\u202fs" : UNKNOWN);
}

function paintFeeds(view, unknown) {
  const sinceStatusS = (Date.now() - feed.statusMs) / 1000;
  const rows = unknown ? [] : [...(feed.status?.feeds ?? [])];
  rows.push({ name: "link", age_s: null, link: true });
  for (const [name, badge] of view.badges) if (!rows.some((row) => row.name === name)) { badge.remove(); view.badges.delete(name); }
  for (const row of rows) {
    if (!view.badges.has(row.name)) view.badges.set(row.name, view.feeds.appendChild(el("span")));
    const badge = view.badges.get(row.name);
    if (row.link) {
      const quietS = (Date.now() - feed.heardMs) / 1000;
      put(badge, unknown ? `link down · ${unknown}` : `link ${age(quietS)}`, "badge " + (unknown ? "bad" : level(quietS)));
      badge.title = "Time since the last message from the engine";
      continue;
    }
    // Between two statuses a healthy feed is heard of once a second, so only the part beyond that second is counted.
    const ageS = isKnown(row.age_s) ? row.age_s + Math.max(0, sinceStatusS - 1.2) : null;
    // The account speaks only when something happens to it, so its silence is judged by the engine, not by its age.
    const byAge = row.name === "account" ? "good" : level(ageS);
    const shown = { down: "bad", stale: worse("late", byAge) }[row.state] ?? byAge;
    put(badge, `${row.name} ${row.state === "down" ? "down" : age(ageS)}`, "badge " + shown);
    badge.title = `Age of the newest ${row.name} message`;
  }
}

const level = (seconds) => (!isKnown(seconds) || seconds >= RED_S ? "bad" : seconds >= AMBER_S ? "late" : "good");
const worse = (a, b) => (b === "bad" ? b : a);

export default mountOnce(create);

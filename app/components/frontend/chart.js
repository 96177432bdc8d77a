// Candles and volume with fills as markers and orders, stops, entry and liquidation as price lines. History comes from
// /market/bars; after that only `series.update` is called, so the reader's zoom stays where it is.

import { el, put } from "./dom.js";
import { feed, mountOnce, unknownSince } from "./feed.js";
import { baseOf, clock, decimalsOf, isKnown, number, plainQty, signedPercent, tone } from "./format.js";
import { Candles } from "./candles.js";
import { Lines } from "./lines.js";

const TIMEFRAMES = { "1m": 60, "5m": 300, "15m": 900, "1h": 3600, "4h": 14400, "1d": 86400 };
const OPENING_BARS = 130;
const FEW_BARS = 30; // so few only while the engine is still reading its history: ask again
const RETRY_MS = 3000;
const RETRIES = 20;
const library = import(location.origin + "/frontend/vendor/lightweight-charts.mjs");

function create(parent) {
  const root = parent.appendChild(el("section", "panel chart"));
  const bar = root.appendChild(el("header"));
  const name = bar.appendChild(el("h2"));
  const frames = bar.appendChild(el("nav", "choices"));
  bar.appendChild(el("div", "gap"));
  const fit = bar.appendChild(el("button", "plain", "Latest"));
  fit.title = "Show the newest candles";
  const stage = root.appendChild(el("div", "stage"));
  const legend = stage.appendChild(el("div", "legend"));
  const veil = root.appendChild(el("div", "veil"));
  const view = { root, name, frames, legend, fit, stage, veil, data: {}, shown: "", hovered: null, update, paint, remove };
  view.notice = "Loading candles.";
  for (const frame of Object.keys(TIMEFRAMES)) {
    const button = frames.appendChild(el("button", "", frame));
    button.onclick = () => view.trigger("interval", frame);
  }
  library.then((lwc) => build(view, lwc), () => {
    view.notice = "The chart library is missing: run scripts/fetch_assets.py and reload.";
    feed.note("all");
  });
  return view;
}

function build(view, lwc) {
  if (!view.root.isConnected) return;
  const style = getComputedStyle(view.root);
  const colour = (name) => style.getPropertyValue(name).trim();
  view.colours = { up: colour("--up"), down: colour("--down"), text: colour("--dim"), line: colour("--line"), warn: colour("--warn"), accent: colour("--accent") };
  view.chart = lwc.createChart(view.stage, {
    autoSize: true,
    layout: { background: { color: "transparent" }, textColor: view.colours.text, fontSize: 11, fontFamily: style.fontFamily, attributionLogo: false, panes: { separatorColor: view.colours.line } },
    grid: { vertLines: { color: view.colours.line }, horzLines: { color: view.colours.line } },
    rightPriceScale: { borderColor: view.colours.line },
    timeScale: { borderColor: view.colours.line, timeVisible: true, secondsVisible: false, rightOffset: 6, tickMarkFormatter: (s, kind) => tick(s, kind) },
    crosshair: { mode: lwc.CrosshairMode.Normal },
    localization: { timeFormatter: (s) => new Date(s * 1000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" }) },
  });
  const { up, down } = view.colours;
  view.series = view.chart.addSeries(lwc.CandlestickSeries, { upColor: up, downColor: down, wickUpColor: up, wickDownColor: down, borderVisible: false });
  view.volume = view.chart.addSeries(lwc.HistogramSeries, { priceFormat: { type: "volume" }, priceLineVisible: false, lastValueVisible: false }, 1);
  view.chart.panes()[1].setStretchFactor(0.22);
  view.chart.panes()[0].setStretchFactor(1);
  view.markers = lwc.createSeriesMarkers(view.series, []);
  view.lines = new Lines(view.series, view.colours);
  view.chart.subscribeCrosshairMove((at) => {
    view.hovered = at.time ? at.seriesData.get(view.series) : null;
    view.hoveredVolume = at.time ? at.seriesData.get(view.volume)?.value : null;
    paintLegend(view);
  });
  view.chart.timeScale().subscribeVisibleLogicalRangeChange((range) => range && range.from < 15 && loadOlder(view));
  view.fit.onclick = () => showNewest(view);
  load(view);
}

const two = (n) => String(n).padStart(2, "0");

function tick(s, kind) {
  const at = new Date(s * 1000);
  if (kind === 0) return String(at.getFullYear());
  if (kind === 1) return at.toLocaleString("en-GB", { month: "short" });
  return kind === 2 ? `${at.getDate()} ${at.toLocaleString("en-GB", { month: "short" })}` : `${two(at.getHours())}:${two(at.getMinutes())}`;
}

function update(data) {
  const changed = data.symbol !== this.data.symbol || data.interval !== this.data.interval;
  this.data = data;
  feed.follow(data.symbol);
  put(this.name, `${baseOf(data.symbol)} perpetual`);
  for (const button of this.frames.children) button.className = button.textContent === data.interval ? "chosen" : "";
  if (changed && this.chart) load(this);
}

/** Fetch history for the present symbol and timeframe; the newest call wins. */
async function load(view) {
  const { symbol, interval } = view.data;
  const wanted = `${symbol} ${interval}`;
  view.wanted = wanted;
  if (view.shown !== wanted) view.notice = "Loading candles.";
  const answers = await Promise.all([
    ask(`/market/bars?symbol=${symbol}&interval=${interval}&limit=1500`),
    ask(`/market/fills?symbol=${symbol}`),
  ]);
  if (view.wanted !== wanted || !view.chart) return;
  const [bars, fills] = answers;
  if (!bars) {
    view.notice = "Candles are unknown: the engine does not answer.";
    // While the engine is known to be away, its return loads; otherwise it was only busy.
    setTimeout(() => !feed.down && view.wanted === wanted && view.shown !== wanted && load(view), 1500);
    feed.note("all");
    return;
  }
  const hadFew = (view.candles?.rows.length ?? 0) < FEW_BARS;
  view.candles = new Candles(bars, TIMEFRAMES[interval]);
  view.fills = fills ?? [];
  view.exhausted = bars.length < 1000;
  const decimals = decimalsOf(view.data.instruments?.[symbol]?.tick_size, bars.at(-1)?.[4]);
  view.decimals = decimals;
  view.series.applyOptions({ priceFormat: { type: "price", precision: decimals, minMove: 10 ** -decimals } });
  setAll(view);
  if (view.shown !== wanted) view.tries = 0;
  if (view.shown !== wanted || hadFew) showNewest(view);
  view.shown = wanted;
  if (bars.length < FEW_BARS && view.tries++ < RETRIES) setTimeout(() => view.wanted === wanted && load(view), RETRY_MS);
  view.notice = bars.length ? "" : "No candle is stored for this symbol yet.";
  feed.note("all");
}

async function loadOlder(view) {
  if (view.loadingOlder || view.exhausted || !view.candles || view.candles.rows.length === 0) return;
  view.loadingOlder = true;
  const { symbol, interval } = view.data;
  const first = view.candles.rows[0].time;
  const bars = await ask(`/market/bars?symbol=${symbol}&interval=${interval}&limit=1500&end_s=${first}`);
  view.loadingOlder = false;
  if (!bars || view.wanted !== `${symbol} ${interval}`) return;
  if (view.candles.prepend(bars)) setAll(view);
  else view.exhausted = true;
}

async function ask(path) {
  try {
    const answer = await fetch(path);
    return answer.ok ? await answer.json() : null;
  } catch {
    return null; // the server is away; the feed says so on every panel
  }
}

function setAll(view) {
  const { rows } = view.candles;
  view.series.setData(rows);
  view.volume.setData(rows.map((row) => volumeOf(view, row)));
  mark(view);
}

function volumeOf(view, row) {
  return { time: row.time, value: row.volume, color: (row.close >= row.open ? view.colours.up : view.colours.down) + "66" };
}

/** Our fills as arrows on the candle they fell in. */
function mark(view) {
  const seconds = TIMEFRAMES[view.data.interval];
  const first = view.candles.rows[0]?.time ?? Infinity;
  const fresh = feed.fills.filter((fill) => fill.symbol === view.data.symbol);
  const known = new Map([...view.fills, ...fresh].map((fill) => [fill.trade_id, fill]));
  const markers = [...known.values()]
    .map((fill) => ({ fill, time: Math.floor(fill.ts_filled / 1e9 / seconds) * seconds }))
    .filter(({ time }) => time >= first)
    .map(({ fill, time }) => ({
      time,
      position: fill.qty > 0 ? "belowBar" : "aboveBar",
      shape: fill.qty > 0 ? "arrowUp" : "arrowDown",
      color: fill.qty > 0 ? view.colours.up : view.colours.down,
      text: `${fill.qty > 0 ? "B" : "S"} ${plainQty(fill.qty)}`,
    }));
  view.markers.setMarkers(markers.sort((a, b) => a.time - b.time));
}

function showNewest(view) {
  const n = view.candles.rows.length;
  view.chart.timeScale().setVisibleLogicalRange({ from: n - OPENING_BARS, to: n + 5 });
  view.chart.priceScale("right").applyOptions({ autoScale: true });
}

function paint(changed) {
  const unknown = unknownSince(clock);
  const text = unknown ? `${unknown}. ${feed.down.reason}` : this.notice;
  put(this.veil, text);
  this.veil.hidden = !text;
  this.root.classList.toggle("stale", unknown !== null);
  if (!this.chart) return;
  if (changed.has("up")) load(this); // fills the gap of the time without the engine
  if (!this.candles || this.shown !== this.wanted || unknown) return;
  for (const bar of feed.bars) {
    if (bar.s !== this.data.symbol || bar.i !== "1m") continue;
    const row = this.candles.fold(bar);
    if (!row) continue;
    this.series.update(row);
    this.volume.update(volumeOf(this, row));
  }
  if (feed.bars.length && !this.hovered) paintLegend(this);
  if (changed.has("fill")) mark(this);
  if (["orders", "positions", "all", "symbol"].some((kind) => changed.has(kind))) {
    this.lines.show(this.data.symbol, feed.orders ?? [], feed.positions ?? []);
  }
}

function paintLegend(view) {
  const newest = view.candles?.rows.at(-1);
  const row = view.hovered ?? newest;
  if (!row) return;
  view.parts ??= ["O", "H", "L", "C", "", "Vol"].map((label) => {
    const part = view.legend.appendChild(el("span"));
    if (label) part.appendChild(el("em", "", label));
    return part.appendChild(el("b"));
  });
  const volume = view.hovered ? view.hoveredVolume : newest.volume;
  const change = isKnown(row.open) && row.open !== 0 ? row.close / row.open - 1 : null;
  [row.open, row.high, row.low, row.close].forEach((px, i) => put(view.parts[i], number(px, view.decimals)));
  put(view.parts[4], signedPercent(change), tone(change));
  put(view.parts[5], `${number(volume, volume >= 1000 ? 0 : 2)} ${baseOf(view.data.symbol)}`);
}

function remove() {
  this.wanted = "";
  this.chart?.remove();
  this.chart = null;
}

export default mountOnce(create);

// Order ticket. What the person types goes to the engine with its unit; the engine converts, prices and checks it. Sending
// takes two steps: "Review" freezes the ticket and gets a key from the server, "Send" spends that key once.

import { el, put } from "./dom.js";
import { feed, mountOnce, unknownSince } from "./feed.js";
import { UNKNOWN, baseOf, clock, decimalsOf, isKnown, number, percent } from "./format.js";

const KINDS = { market: "Market", limit: "Limit", post_only: "Post-only", stop: "Stop", algorithm: "Algorithm" };
const WAYS = { adaptive: "Adaptive", twap: "TWAP", vwap: "VWAP", pov: "% vol", "almgren-chriss": "A–C", iceberg: "Iceberg" };
const WAY_NAMES = { ...WAYS, pov: "Share of volume", "almgren-chriss": "Almgren–Chriss", direct: "At once", iceberg: "Iceberg, if it fills" };
const DRAFT_MS = 350;
const REFRESH_MS = 3000; // prices move: a preview is asked for again, for as long as somebody may still be deciding
const DECIDING_MS = 180000;
const MARK = { pass: "✓ pass", clip: "◐ clip", refuse: "✕ refuse" };

function create(parent) {
  const root = parent.appendChild(el("section", "panel ticket"));
  root.appendChild(el("header")).appendChild(el("h2", "", "Order ticket"));
  const form = root.appendChild(el("div", "form"));
  const view = { root, form, data: {}, side: "buy", kind: "market", unit: "quote", way: "adaptive", n: 0, update, paint };
  view.sides = choice(form, "sides", { buy: "▲ Buy", sell: "▼ Sell" }, (side) => set(view, { side }));
  view.kinds = choice(form, "choices wide", KINDS, (kind) => set(view, { kind }));
  view.ways = choice(form, "choices wide", WAYS, (way) => set(view, { way }));
  view.waysNav = Object.values(view.ways)[0].parentElement;
  view.minutes = field(form, "Within", "min", view);
  view.minutes.input.value = "15";
  view.urgency = field(form, "Urgency, 0 even to 10", "", view);
  view.urgency.input.value = "1";
  view.share = field(form, "Share of the volume", "%", view);
  view.share.input.value = "10";
  view.cap = field(form, "Our share at most", "% vol", view);
  view.cap.input.placeholder = "no cap";
  view.display = field(form, "Shown at once", "", view);
  view.display.input.placeholder = "a twentieth";
  view.worst = field(form, "Worst price", "USDT", view);
  view.worst.input.placeholder = "any";
  view.limit = field(form, "Limit price", "USDT", view);
  view.stop = field(form, "Trigger price", "USDT", view);
  view.size = field(form, "Size", "", view);
  view.units = choice(form, "choices wide", { base: "Base", quote: "USDT", risk_pct: "% risk" }, (unit) => set(view, { unit }));
  view.hidden = check(form, "Hidden: show nothing", view);
  view.cross = check(form, "Cross the spread, never wait", view);
  view.reduce = check(form, "Reduce only", view);
  view.figures = form.appendChild(el("dl", "figures"));
  view.costs = form.appendChild(el("ul", "ways"));
  view.gate = form.appendChild(el("ul", "gate"));
  view.review = form.appendChild(el("button", "send", "Review"));
  view.review.onclick = () => view.trigger("review", { ticket: ticketOf(view), n: ++view.n });
  view.confirm = root.appendChild(el("div", "confirm"));
  view.outcome = root.appendChild(el("div", "outcome"));
  view.veil = root.appendChild(el("div", "veil"));
  set(view, {});
  return view;
}

function choice(parent, className, options, choose) {
  const nav = parent.appendChild(el("nav", className));
  return Object.fromEntries(Object.entries(options).map(([name, label]) => {
    const button = nav.appendChild(el("button", "", label));
    button.onclick = () => choose(name);
    return [name, button];
  }));
}

function field(parent, label, unit, view) {
  const row = parent.appendChild(el("label", "field"));
  const caption = row.appendChild(el("span", "", label));
  const input = row.appendChild(el("input"));
  input.inputMode = "decimal";
  input.autocomplete = "off";
  input.placeholder = "0";
  input.oninput = () => drafted(view);
  input.onkeydown = (event) => event.stopPropagation(); // the page has its own keyboard shortcuts
  return { row, caption, input, unit: row.appendChild(el("em", "", unit)) };
}

function check(parent, label, view) {
  const row = parent.appendChild(el("label", "check"));
  const input = row.appendChild(el("input"));
  input.type = "checkbox";
  input.onchange = () => drafted(view);
  row.append(label);
  return { row, input };
}

function set(view, wish) {
  Object.assign(view, wish);
  for (const [name, button] of Object.entries(view.sides)) button.className = name === view.side ? `chosen ${name}` : "";
  for (const [name, button] of Object.entries(view.kinds)) button.className = name === view.kind ? "chosen" : "";
  for (const [name, button] of Object.entries(view.units)) button.className = name === view.unit ? "chosen" : "";
  for (const [name, button] of Object.entries(view.ways)) button.className = name === view.way ? "chosen" : "";
  const way = view.kind === "algorithm" ? view.way : null;
  view.waysNav.hidden = view.minutes.row.hidden = view.worst.row.hidden = way === null;
  view.urgency.row.hidden = !["adaptive", "almgren-chriss"].includes(way);
  view.share.row.hidden = way !== "pov";
  view.cap.row.hidden = way === null || way === "pov"; // that one is a share of the volume by itself
  view.display.row.hidden = view.hidden.row.hidden = way !== "iceberg";
  view.cross.row.hidden = way === null || way === "iceberg"; // an iceberg rests until it fills
  view.limit.row.hidden = !["limit", "post_only"].includes(view.kind);
  view.stop.row.hidden = view.kind !== "stop";
  const px = feed.last?.px;
  const wanted = view.kind === "stop" ? view.stop : view.limit; // a worst price is only what a person types
  if (!wanted.row.hidden && !wanted.input.value && isKnown(px)) wanted.input.value = px.toFixed(decimals(view));
  drafted(view);
}

const decimals = (view) => decimalsOf(view.data.instruments?.[view.data.symbol]?.tick_size, feed.last?.px);

/** What was typed, or null where the field is hidden, empty, no number, or not above zero (`orZero`: below it). */
function parse(field, orZero = false) {
  const text = field.input.value.replaceAll(/[\s\u202f]/g, "").replace(",", ".");
  if (field.row.hidden || text === "") return null;
  const value = Number(text);
  return Number.isFinite(value) && (value > 0 || (orZero && value === 0)) ? value : null;
}

const ticked = (box) => !box.row.hidden && box.input.checked;

/** How an algorithm is to work the order; null is left to the engine's default. */
function mannerOf(view) {
  const share = parse(view.share);
  const cap = parse(view.cap);
  return {
    algorithm: view.way, minutes: parse(view.minutes), limit_px: parse(view.worst), urgency: parse(view.urgency, true),
    participation: share === null ? null : share / 100, max_participation: cap === null ? null : cap / 100,
    display_qty: parse(view.display), hidden: ticked(view.hidden), passive: !ticked(view.cross),
  };
}

/** An optional field that holds something else than a number must not be sent as if it were empty. */
const isUsable = (field, orZero = false) => field.row.hidden || field.input.value.trim() === "" || parse(field, orZero) !== null;
const isMannerUsable = (view) => isUsable(view.worst) && isUsable(view.display) && isUsable(view.cap) && isUsable(view.urgency, true)
  && (view.share.row.hidden || parse(view.share) !== null);

function ticketOf(view) {
  const ticket = {
    symbol: view.data.symbol, side: view.side, kind: view.kind, size: { unit: view.unit, value: parse(view.size) },
    limit_px: parse(view.limit), stop_px: parse(view.stop), reduce_only: view.reduce.input.checked,
  };
  return view.kind === "algorithm" ? { ...ticket, ...mannerOf(view) } : ticket;
}

function isComplete(view, ticket) {
  if (!ticket.symbol || ticket.size.value === null) return false;
  if (["limit", "post_only"].includes(ticket.kind)) return ticket.limit_px !== null;
  if (ticket.kind === "algorithm") return ticket.minutes !== null && isMannerUsable(view);
  return ticket.kind !== "stop" || ticket.stop_px !== null;
}

/** Ask for a preview once typing pauses; any change makes the shown preview stale at once. */
function drafted(view) {
  clearTimeout(view.draftTimer);
  view.n += 1;
  view.editedMs = Date.now();
  const n = view.n;
  const ticket = ticketOf(view);
  paintPreview(view);
  if (!isComplete(view, ticket) || !view.trigger) return;
  view.draftTimer = setTimeout(() => n === view.n && view.trigger("draft", { ticket, n }), DRAFT_MS);
}

function update(data) {
  const isNewSymbol = this.data.symbol && data.symbol !== this.data.symbol;
  this.data = data;
  put(this.units.base, baseOf(data.symbol));
  put(this.display.unit, baseOf(data.symbol));
  if (isNewSymbol) {
    for (const input of [this.limit.input, this.worst.input, this.display.input, this.stop.input, this.size.input]) input.value = "";
    set(this, {});
  }
  this.n = Math.max(this.n, data.draft?.n ?? 0);
  this.askedMs = Date.now();
  paintPreview(this);
  paintConfirm(this);
  const outcome = data.outcome;
  put(this.outcome, outcome ? outcome.text : "", "outcome " + (outcome && !outcome.ok ? "warn" : ""));
}

/** The shown preview ages: ask again every few seconds, and at once when the kill switch or the trading state moves. */
function refresh(view) {
  const draft = view.data.draft;
  if (!draft || draft.n !== view.n || view.data.review || Date.now() - view.editedMs > DECIDING_MS) return;
  const state = `${feed.status?.kill_level} ${feed.status?.trading_state}`;
  const isOld = Date.now() - (view.askedMs ?? 0) > REFRESH_MS;
  if (!isOld && state === view.askedState) return;
  view.askedMs = Date.now();
  view.askedState = state;
  view.trigger("draft", { ticket: ticketOf(view), n: view.n });
}

function paint(changed) {
  if (!feed.down && (changed.has("clock") || changed.has("status"))) refresh(this);
  const unknown = unknownSince(clock);
  if (changed.has("down") || changed.has("up")) paintPreview(this);
  this.veil.hidden = !unknown;
  put(this.veil, unknown ? `Prices and limits are ${unknown}. No order can be sent.` : "");
  put(this.size.unit, { base: baseOf(this.data.symbol), quote: "USDT", risk_pct: "% of equity at risk" }[this.unit]);
  const verb = this.side === "buy" ? "buy" : "sell";
  put(this.review, `Review ${verb} ${baseOf(this.data.symbol)}`, `send ${this.side}`);
  this.review.disabled = Boolean(unknown) || !isComplete(this, ticketOf(this));
}

function figuresOf(view, preview) {
  const base = baseOf(view.data.symbol);
  const lot = decimalsOf(view.data.instruments?.[view.data.symbol]?.lot_size ?? 0.001);
  const px = decimals(view);
  return [
    ["Size", `${number(preview?.qty, lot)} ${base}`],
    ["Price", `${number(preview?.px, px)} USDT`],
    ["Notional", `${number(preview?.notional, 2)} USDT`],
    ["Fee", feeText(preview)],
    ["Margin", `${number(preview?.margin, 2)} USDT`],
    ["Liquidation", isKnown(preview?.liq_px) ? `${number(preview.liq_px, px)} USDT` : UNKNOWN],
    ["Position after", `${number(preview?.position_after, lot)} ${base}`],
    ["Worst loss at stop", `${number(preview?.worst_loss, 2)} USDT`],
  ];
}

const inBp = (rate) => `${number(rate * 1e4, 1)}\u202fbp`;

/** The fee that is expected; a range from all maker to all taker while nothing is known of which part rests. */
function feeText(preview) {
  if (isKnown(preview?.fee)) {
    const seen = preview.resting_orders > 0 ? `, ${percent(preview.maker_share, 0)} as maker` : "";
    return `${number(preview.fee, 4)} USDT (${inBp(preview.fee_rate)}${seen})`;
  }
  if (!isKnown(preview?.fee_high)) return UNKNOWN;
  return `${number(preview.fee_low, 4)} to ${number(preview.fee_high, 4)} USDT (maker ${inBp(preview.fee_rates[0])}, taker ${inBp(preview.fee_rates[1])})`;
}

function paintPreview(view) {
  const draft = view.data.draft;
  const current = draft && draft.n === view.n && !feed.down ? draft : null;
  const preview = current?.preview ?? null;
  const rows = figuresOf(view, preview);
  view.cells ??= rows.map(([label]) => {
    view.figures.appendChild(el("dt", "", label));
    return view.figures.appendChild(el("dd"));
  });
  rows.forEach(([, text], i) => put(view.cells[i], preview ? text : UNKNOWN));
  view.costs.replaceChildren(...costRows(view.kind === "algorithm" ? preview : null, view.way));
  view.gate.replaceChildren(...gateRows(current, isComplete(view, ticketOf(view))));
}

/** What each way of working the order is expected to cost, spread, impact and fees; the chosen one stands out. */
function costRows(preview, chosen) {
  return (preview?.choices ?? []).map((row) => {
    const risk = isKnown(row.risk_bps) && row.risk_bps > 0 ? ` ± ${number(row.risk_bps, 1)}` : "";
    const cost = isKnown(row.cost_bps) ? `${number(row.cost_bps, 1)}${risk}\u202fbp · ${number(row.cost, 2)} USDT` : UNKNOWN;
    return el("li", row.algorithm === chosen ? "strong" : "dim", `${row.algorithm === chosen ? "→ " : ""}${WAY_NAMES[row.algorithm] ?? row.algorithm}: ${cost}`);
  });
}

function gateRows(draft, complete) {
  if (!draft) return [el("li", "dim", complete ? "Asking the risk gate …" : "Enter a size to see cost and the risk gate's answer.")];
  if (draft.error) return [el("li", "warn", draft.error)];
  const { preview } = draft;
  const at = draft.at_ms ? ` (${clock(draft.at_ms)})` : "";
  const text = preview.ok ? `✓ The risk gate would let it through${at}` : `✕ The risk gate would refuse it${at}`;
  const verdictOf = (reason) => String(reason.verdict).toLowerCase();
  const passed = preview.reasons.filter((reason) => verdictOf(reason) === "pass");
  const others = preview.reasons.filter((reason) => verdictOf(reason) !== "pass");
  const rows = others.map((reason) => el("li", "warn", `${MARK[verdictOf(reason)] ?? reason.verdict} · ${reason.sentence}`));
  rows.push(...(preview.warnings ?? []).map((warning) => el("li", "warn", "! " + warning)));
  if (!preview.ok && rows.length === 0) rows.push(el("li", "warn", "The engine gave no reason."));
  return [el("li", preview.ok ? "strong up" : "strong warn", text), ...rows, ...passedRow(passed)];
}

let showsPassed = false; // stays as the reader left it when the answer is refreshed

function passedRow(passed) {
  if (passed.length === 0) return [];
  const row = el("li", "dim");
  const details = row.appendChild(el("details"));
  details.open = showsPassed;
  details.ontoggle = () => { showsPassed = details.open; };
  details.appendChild(el("summary", "", `${MARK.pass} · ${passed.length} rules`));
  for (const reason of passed) details.appendChild(el("div", "", reason.sentence));
  return [row];
}

/** How the frozen ticket will be worked, as it was typed. */
function mannerWords(view, ticket) {
  const way = ticket.algorithm === "iceberg" ? WAYS.iceberg : WAY_NAMES[ticket.algorithm];
  const words = [`Worked by ${way} within ${ticket.minutes} min`];
  if (ticket.limit_px !== null) words.push(`at ${number(ticket.limit_px, decimals(view))} USDT at worst`);
  if (ticket.urgency !== null) words.push(`urgency ${ticket.urgency}`);
  if (ticket.participation !== null) words.push(`${percent(ticket.participation, 1)} of the volume`);
  if (ticket.max_participation !== null) words.push(`at most ${percent(ticket.max_participation, 1)} of what trades`);
  if (ticket.display_qty !== null) words.push(`${ticket.display_qty} ${baseOf(ticket.symbol)} shown at once`);
  if (ticket.hidden) words.push("hidden");
  if (!ticket.passive) words.push("every part crosses the spread");
  return words.join(", ");
}

/** The frozen ticket: side, size, notional, reduce-only and worst loss are said again before anything is sent. */
function paintConfirm(view) {
  const review = view.data.review;
  view.form.hidden = Boolean(review);
  view.confirm.hidden = !review;
  if (!review || view.shownKey === review.key + (review.unsure ?? "")) return;
  view.shownKey = review.key + (review.unsure ?? "");
  const { ticket, preview } = review;
  const box = view.confirm;
  const word = ticket.side === "buy" ? "▲ Buy" : "▼ Sell";
  const lot = decimalsOf(view.data.instruments?.[ticket.symbol]?.lot_size ?? 0.001);
  box.replaceChildren(el("h3", ticket.side === "buy" ? "up" : "down", `${word} ${number(preview.qty, lot)} ${baseOf(ticket.symbol)}`));
  box.appendChild(el("p", "", `${KINDS[ticket.kind]} at ${["market", "algorithm"].includes(ticket.kind) ? "about " : ""}${number(preview.px, decimals(view))} USDT · ${ticket.reduce_only ? "reduce only" : "may open risk"}`));
  const list = box.appendChild(el("dl", "figures"));
  for (const [label, text] of figuresOf(view, preview)) {
    list.appendChild(el("dt", "", label));
    list.appendChild(el("dd", "", text));
  }
  if (ticket.algorithm) {
    box.appendChild(el("p", "", `${mannerWords(view, ticket)}; expected cost:`));
    box.appendChild(el("ul", "ways")).append(...costRows(preview, ticket.algorithm));
  }
  const gate = box.appendChild(el("ul", "gate"));
  gate.append(...gateRows({ preview, at_ms: review.at_ms }, true));
  if (review.unsure) gate.appendChild(el("li", "warn", review.unsure));
  const send = box.appendChild(el("button", `send ${ticket.side}`, review.unsure ? "Ask again (cannot send twice)" : `Send: ${word.slice(2).toLowerCase()} ${number(preview.qty, lot)} ${baseOf(ticket.symbol)}`));
  send.disabled = !preview.ok;
  send.onclick = () => {
    send.disabled = true;
    view.trigger("send", { key: review.key });
  };
  const back = box.appendChild(el("button", "plain", "Back"));
  back.onclick = () => view.trigger("back", { key: review.key });
}

export default mountOnce(create);

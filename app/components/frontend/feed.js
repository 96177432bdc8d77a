// One live socket per page, shared by every component on it. Messages are applied as they come; listeners are called at
// most once per animation frame with the kinds that changed. When the engine or the server goes away, `feed.down` says
// since when, and components show "unknown since …" instead of the last numbers.

const MAX_TRADES = 120;
const LATENCIES = 4096;
const SILENCE_MS = 6000; // the engine's status comes every second: six seconds without a word means the link is dead

const bench = (window.__astrolabe ??= { updates: 0, messages: 0, latencies: [], serverToPixel: [] });

const wallMs = () => performance.timeOrigin + performance.now();

function keep(ring, value) {
  ring.push(value);
  if (ring.length > LATENCIES) ring.splice(0, ring.length - LATENCIES);
}

class Feed {
  constructor() {
    this.symbol = "";
    this.listeners = new Set();
    this.changed = new Set();
    this.awaitingPaint = []; // moments (ms) at which the engine received what the next frame shows
    this.lastBatchTx = 0;
    this.frame = 0;
    this.retryMs = 250;
    this.heardMs = wallMs();
    this.reset();
    this.down = null; // {sinceMs, reason}
    this.socket = null;
    setInterval(() => this.watch(), 1000);
  }

  reset() {
    Object.assign(this, {
      hello: null, status: null, statusMs: 0, orders: null, positions: null, tops: new Map(),
      book: null, trades: [], bars: [], last: null, fills: [], decisions: [],
    });
  }

  on(listener) {
    this.listeners.add(listener);
    if (!this.socket) this.connect();
    this.note("all");
    return () => {
      this.listeners.delete(listener);
      // Pages without live parts need no socket; wait a moment, because a rerun may remount a component.
      setTimeout(() => this.listeners.size === 0 && this.disconnect(), 2000);
    };
  }

  follow(symbol) {
    if (!symbol || symbol === this.symbol) return;
    this.symbol = symbol;
    Object.assign(this, { book: null, trades: [], bars: [], last: null });
    this.subscribe();
    this.note("symbol");
  }

  subscribe() {
    if (this.symbol && this.socket?.readyState === WebSocket.OPEN) {
      this.socket.send(JSON.stringify({ sub: { symbol: this.symbol, tops: true } }));
    }
  }

  connect() {
    const socket = new WebSocket(location.origin.replace(/^http/, "ws") + "/live");
    this.socket = socket;
    socket.onopen = () => {
      this.retryMs = 250;
      this.subscribe();
    };
    socket.onmessage = (event) => this.receive(event.data);
    socket.onclose = () => {
      if (this.socket !== socket) return;
      this.lose("The screen's own server does not answer.");
      setTimeout(() => this.listeners.size > 0 && this.socket === socket && this.connect(), this.retryMs);
      this.retryMs = Math.min(this.retryMs * 2, 4000);
    };
  }

  disconnect() {
    const socket = this.socket;
    this.socket = null;
    socket?.close();
    this.reset();
  }

  lose(reason, sinceMs = this.heardMs, byEngine = false) {
    this.down = { sinceMs: this.down?.sinceMs ?? sinceMs, reason, byEngine };
    this.note("down");
  }

  watch() {
    if (this.socket && !this.down && wallMs() - this.heardMs > SILENCE_MS) this.lose("Nothing has come from the engine.");
    if (this.listeners.size) this.note("clock");
  }

  receive(text) {
    const batch = JSON.parse(text);
    for (const message of batch) this.apply(message);
    bench.messages += batch.length - 1;
  }

  apply(message) {
    if (message.t === "tx") {
      this.lastBatchTx = message.tx / 1e6;
      return;
    }
    if (message.t === "engine") {
      this.applyEngine(message);
      return;
    }
    this.heardMs = wallMs();
    if (this.down && !this.down.byEngine) this.recover(); // the link is back; a lost engine says itself when it is back
    const store = STORE[message.t];
    if (!store) return;
    if (message.s && message.s !== this.symbol && message.t !== "top") return;
    store(this, message);
    if (message.rx && message.s === this.symbol) this.awaitingPaint.push(message.rx / 1e6);
    this.note(message.t);
  }

  applyEngine(message) {
    if (!message.up) {
      const seen = this.status !== null;
      this.reset();
      this.lose(message.reason, seen ? Math.min(this.heardMs, message.since_ms) : message.since_ms, true);
    } else if (this.down) {
      this.heardMs = wallMs();
      this.recover();
    }
  }

  recover() {
    this.down = null;
    this.note("up"); // components read again what they missed
  }

  note(kind) {
    this.changed.add(kind);
    this.frame ||= requestAnimationFrame(() => this.paint());
  }

  paint() {
    this.frame = 0;
    const changed = this.changed;
    this.changed = new Set();
    for (const listener of this.listeners) listener(changed);
    this.bars = [];
    if (this.awaitingPaint.length) this.measure();
  }

  // The channel's message runs after the browser has laid out and painted this frame, so the figure includes both.
  measure() {
    const received = this.awaitingPaint;
    const tx = this.lastBatchTx;
    this.awaitingPaint = [];
    const channel = new MessageChannel();
    channel.port1.onmessage = () => {
      const now = wallMs();
      bench.updates += 1;
      for (const rx of received) keep(bench.latencies, now - rx);
      keep(bench.serverToPixel, now - tx);
      channel.port1.close();
    };
    channel.port2.postMessage(0);
  }
}

const STORE = {
  hello: (feed, m) => { feed.hello = m; },
  status: (feed, m) => {
    // An engine that has just begun to trade has its history now: what was read before it was incomplete.
    if (m.phase !== feed.status?.phase && m.phase === "trading") feed.note("up");
    feed.status = m;
    feed.statusMs = wallMs();
  },
  orders: (feed, m) => { feed.orders = m.rows; },
  positions: (feed, m) => { feed.positions = m.rows; },
  top: (feed, m) => {
    const old = feed.tops.get(m.s);
    const px = m.m ?? (m.b + m.a) / 2;
    const move = old && px !== old.px ? Math.sign(px - old.px) : old?.move ?? 0;
    feed.tops.set(m.s, { bid: m.b, ask: m.a, mark: m.m, px, move });
  },
  book: (feed, m) => { feed.book = m; },
  bar: (feed, m) => {
    const px = m.p[3];
    if (px !== feed.last?.px) feed.last = { px, move: feed.last ? Math.sign(px - feed.last.px) : 0 };
    feed.bars.push(m);
    if (feed.bars.length > 500) feed.bars.shift();
  },
  trade: (feed, m) => { feed.trades.unshift(m); feed.trades.length = Math.min(feed.trades.length, MAX_TRADES); },
  fill: (feed, m) => { feed.fills.unshift(m); feed.fills.length = Math.min(feed.fills.length, 500); },
  decision: (feed, m) => { feed.decisions.unshift(m); feed.decisions.length = Math.min(feed.decisions.length, 50); },
};

export const feed = (window.__astrolabe_feed ??= new Feed());

/** Text for everything that cannot be known now, or null when the engine answers. */
export function unknownSince(clock) {
  return feed.down ? `unknown since ${clock(feed.down.sinceMs)}` : null;
}

/** Wraps a view's life: one view per root element, updated by data, removed with the component. */
export function mountOnce(create) {
  const views = new WeakMap();
  return ({ data, parentElement, setTriggerValue }) => {
    let view = views.get(parentElement);
    if (!view) {
      view = create(parentElement);
      view.stopListening = feed.on((changed) => view.paint(changed));
      views.set(parentElement, view);
    }
    view.trigger = setTriggerValue;
    view.update(data ?? {});
    feed.note("all");
    return () => {
      view.stopListening();
      view.remove?.();
      view.root?.remove();
      views.delete(parentElement);
    };
  };
}

/** A key for one action of a person; `randomUUID` exists only on secure origins. */
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

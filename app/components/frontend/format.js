// How numbers are written: thin spaces between thousands, a sign as a character (never only a colour), "—" for unknown.

const THIN = "\u202f";
const MINUS = "\u2212";
export const UNKNOWN = "—";

export const isKnown = (value) => typeof value === "number" && Number.isFinite(value);

const writers = new Map();

function writer(decimals) {
  if (!writers.has(decimals)) {
    const options = { minimumFractionDigits: decimals, maximumFractionDigits: decimals };
    writers.set(decimals, new Intl.NumberFormat("en-US", options));
  }
  return writers.get(decimals);
}

export function number(value, decimals = 2) {
  if (!isKnown(value)) return UNKNOWN;
  const text = writer(decimals).format(Math.abs(value)).replaceAll(",", THIN);
  const isZero = !/[1-9]/.test(text);
  return value < 0 && !isZero ? MINUS + text : text;
}

/** A change: arrow, sign, number. */
export function signed(value, decimals = 2, unit = "") {
  if (!isKnown(value)) return UNKNOWN;
  const body = number(Math.abs(value), decimals) + unit;
  if (!/[1-9]/.test(body)) return "± " + body;
  return value > 0 ? `▲ +${body}` : `▼ ${MINUS}${body}`;
}

/** A signed amount that is no gain or loss: sign, number. */
export const amount = (value, decimals = 2) => (isKnown(value) && value > 0 ? "+" : "") + number(value, decimals);

export const percent = (fraction, decimals = 2) => (isKnown(fraction) ? number(fraction * 100, decimals) + THIN + "%" : UNKNOWN);
export const signedPercent = (fraction, decimals = 2) =>
  isKnown(fraction) ? signed(fraction * 100, decimals, THIN + "%") : UNKNOWN;

/** A size in as few digits as it has: binary noise such as 0.009000000000000001 is cut. */
export const plainQty = (qty) => (isKnown(qty) ? String(Number(Math.abs(qty).toPrecision(10))) : UNKNOWN);

/** Class for a signed number: colour beside the arrow. */
export const tone = (value) => (!isKnown(value) || value === 0 ? "" : value > 0 ? "up" : "down");

/** Decimals that a step such as 0.001 needs; guessed from the price when the step is unknown. */
export function decimalsOf(step, px) {
  if (isKnown(step) && step > 0) return Math.min(8, Math.max(0, Math.ceil(-Math.log10(step) - 1e-9)));
  if (!isKnown(px)) return 2;
  return px >= 10000 ? 1 : px >= 10 ? 2 : px >= 1 ? 4 : 5;
}

const two = (n) => String(n).padStart(2, "0");

/** Local wall-clock time of a moment in milliseconds. */
export function clock(ms) {
  if (!isKnown(ms) || ms <= 0) return UNKNOWN;
  const at = new Date(ms);
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

export function dayAndClock(ms) {
  if (!isKnown(ms) || ms <= 0) return UNKNOWN;
  const at = new Date(ms);
  return `${two(at.getMonth() + 1)}-${two(at.getDate())} ${clock(ms)}`;
}

export function age(s) {
  if (!isKnown(s)) return UNKNOWN;
  const seconds = Math.max(0, s);
  if (seconds < 10) return seconds.toFixed(1) + THIN + "s";
  if (seconds < 120) return Math.round(seconds) + THIN + "s";
  return seconds < 7200 ? Math.round(seconds / 60) + THIN + "min" : Math.round(seconds / 3600) + THIN + "h";
}

export const baseOf = (symbol) => (symbol || "").replace(/USD[TCF]?$/, "");

export const UNIT = THIN;

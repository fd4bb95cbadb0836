// Elements and words. Text always goes in as text: what a model wrote can never become markup.

/** An element: `h("td", {class: "won"}, "1.20", child)`. Functions in `attributes` listen. */
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key, value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** An SVG element. */
export function s(name, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children.flat());
  return element;
}

/** A table: columns are `[title, row => cell, class?]`; a cell is text, a node or `unknown`. */
export function table(columns, rows, empty) {
  if (!rows.length) return h("p", { class: "faint" }, empty);
  const cell = (row, [, of, kind]) => {
    const value = of(row);
    return h("td", { class: kind ?? null }, value ?? "–");
  };
  return h("div", { class: "scroll" }, h("table", {},
    h("thead", {}, h("tr", {}, columns.map(([title, , kind]) => h("th", { class: kind ?? null }, title)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, columns.map((column) => cell(row, column)))))));
}

/** Named figures beside each other: `[name, value]`. */
export function facts(pairs) {
  return h("div", { class: "facts" }, pairs.map(([name, value]) =>
    h("div", {}, h("span", {}, name), h("b", {}, value ?? "–"))));
}

/** Buttons of which one is chosen. */
export function choice(options, chosen, choose) {
  return h("div", { class: "choice" }, options.map((option) => h("button",
    { "aria-pressed": String(option === chosen), click: () => choose(option) }, option)));
}

const known = (value) => value !== null && value !== undefined && Number.isFinite(Number(value));

/** A number with thousands and `digits` decimals; null when it is unknown, never 0 for missing, nor -0.00. */
export function number(value, digits = 2) {
  if (!known(value)) return null;
  return Number(value).toLocaleString("en-US",
    { minimumFractionDigits: digits, maximumFractionDigits: digits, signDisplay: "negative" });
}

/** Coins or contracts: as many decimals as there are, at most six. */
export function amount(value) {
  if (!known(value)) return null;
  return Number(value).toLocaleString("en-US", { maximumFractionDigits: 6 });
}

/** A price with six significant digits at least. */
export function price(value) {
  if (!known(value)) return null;
  const size = Math.abs(Number(value));
  return number(value, size >= 1000 ? 1 : size >= 10 ? 2 : size >= 0.1 ? 5 : 7);
}

/** Money or percent, signed and coloured. */
export function change(value, digits = 2, unit = "") {
  if (!known(value)) return null;
  const shown = Number(Number(value).toFixed(digits));
  const sign = shown > 0 ? "+" : "";
  return h("span", { class: shown > 0 ? "won" : shown < 0 ? "lost" : "" }, `${sign}${number(shown, digits)}${unit}`);
}

/** `2026-11-21 14:03:07` UTC of epoch seconds, or only the time; 0 is a time that never came. */
export function when(seconds, short = false) {
  if (!known(seconds) || Number(seconds) === 0) return null;
  const text = new Date(seconds * 1000).toISOString();
  return short ? text.slice(11, 19) : text.slice(0, 19).replace("T", " ");
}

/** `BTC` of `BTC-USDT-SWAP`. */
export const coin = (symbol) => symbol.split("-")[0];

/** A link to a view of this page. */
export const link = (view, id, text) => h("a", { href: `#/${view}/${encodeURIComponent(id)}` }, text ?? id);

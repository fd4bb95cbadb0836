// Charts as SVG. Times are epoch seconds; a chart has one vertical scale.
import { h, price, s, when } from "./dom.js";

const HEIGHT = 320, LEFT = 70, BOTTOM = 24;
// Okabe and Ito's colours: told apart by colour-blind people too
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a6d00", "#7f7f7f"];

export const colour = (index) => COLOURS[index % COLOURS.length];

/** Units across, near the pixels there will be, so that words keep their size on a small screen. */
function across() {
  const room = document.getElementById("view").clientWidth;
  return Math.min(1000, room < 900 ? room : room * 0.68);
}

/** A function from `[low, high]` to `[from, to]`. */
function scale(low, high, from, to) {
  const span = high - low || 1;
  return (value) => from + ((value - low) / span) * (to - from);
}

/** Round figures between two values, some `count` of them. */
export function ticks(low, high, count = 7) {
  const rough = (high - low || Math.abs(high) || 1) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
  const first = Math.ceil(low / step), all = [];
  for (let n = first; n * step <= high + step * 1e-9; n += 1) all.push(n * step);
  return all;
}

function frame(times, values, label) {
  const width = across();
  const [t0, t1] = [Math.min(...times), Math.max(...times)];
  let [low, high] = [Math.min(...values), Math.max(...values)];
  const margin = (high - low || Math.abs(high) * 0.01 || 1) * 0.06;
  [low, high] = [low - margin, high + margin];
  const x = scale(t0, t1, LEFT, width - 8), y = scale(low, high, HEIGHT - BOTTOM, 8);
  const [from, to] = t1 - t0 > 2 * 86400 ? [5, 10] : t1 - t0 > 900 ? [11, 16] : [11, 19]; // days, minutes, seconds
  const grid = ticks(low, high).map((value) => [
    s("line", { class: "grid", x1: LEFT, x2: width - 8, y1: y(value), y2: y(value) }),
    s("text", { x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" }, label(value)),
  ]);
  const parts = width < 500 ? 2 : 4;
  const columns = Array.from({ length: parts + 1 }, (_, n) => t0 + ((t1 - t0) * n) / parts).map((at) =>
    s("text", { x: Math.min(Math.max(x(at), LEFT + 18), width - 30), y: HEIGHT - 6, "text-anchor": "middle" },
      when(at).slice(from, to)));
  const svg = s("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img" }, ...grid.flat(), ...columns);
  return { svg, x, y, t0, t1, width };
}

/** Lines over time. `series`: `[{name, colour, points: [[t, value]…]}]`; a name may be a node in `legend`. */
export function lines(series, label, title) {
  const drawn = series.filter(({ points }) => points.length > 1);
  if (!drawn.length) return h("p", { class: "faint" }, "No curve yet: it needs two values.");
  const all = drawn.flatMap(({ points }) => points);
  const { svg, x, y, t0, t1, width } = frame(all.map(([t]) => t), all.map(([, v]) => v), label);
  svg.setAttribute("aria-label", title);
  for (const { points, colour: stroke } of drawn) {
    const path = points.map(([t, v]) => `${x(t).toFixed(1)},${y(v).toFixed(1)}`).join(" ");
    svg.append(s("polyline", { class: "curve", stroke, points: path }));
  }
  const box = h("div", { class: "chart" }, svg);
  hover(box, svg, width, (share) => {
    const at = t0 + (t1 - t0) * share;
    return { at: x(at), rows: [when(at), ...drawn.map((one) => `${one.name} ${label(valueAt(one.points, at))}`)] };
  });
  return box;
}

/** Candles `[{t, open, high, low, close}]` with marks `[{t, price, up, text}]` on them. */
export function candles(rows, marks, title) {
  if (rows.length < 2) return h("p", { class: "faint" }, "No candles yet.");
  const values = rows.flatMap(({ high, low }) => [high, low]);
  const { svg, x, y, t0, t1, width } = frame(rows.map(({ t }) => t), values, price);
  svg.setAttribute("aria-label", title);
  const body = Math.max(1, (0.7 * (width - LEFT)) / rows.length);
  for (const { t, open, high, low, close } of rows) {
    const top = y(Math.max(open, close)), stroke = close >= open ? "var(--won)" : "var(--lost)";
    svg.append(
      s("line", { x1: x(t), x2: x(t), y1: y(high), y2: y(low), stroke }),
      s("rect", { x: x(t) - body / 2, y: top, width: body, height: Math.max(1, y(Math.min(open, close)) - top), fill: stroke }));
  }
  for (const { t, price: at, up, text } of marks.filter((mark) => mark.t >= t0 && mark.t <= t1 + 60)) {
    const px = x(t), py = y(at), tip = up ? 9 : -9;
    svg.append(s("path", { d: `M${px},${py}l-5,${tip}h10z`, fill: "currentColor" }, s("title", {}, text)));
  }
  const box = h("div", { class: "chart" }, svg);
  hover(box, svg, width, (share) => {
    const row = rows[Math.round(share * (rows.length - 1))];
    const word = (name, value) => `${name} ${price(value)}`;
    return { at: x(row.t), rows: [when(row.t), word("open", row.open), word("high", row.high), word("low", row.low), word("close", row.close)] };
  });
  return box;
}

/** The newest value at or before `at`. */
function valueAt(points, at) {
  let low = 0, high = points.length - 1;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (points[middle][0] <= at) low = middle; else high = middle - 1;
  }
  return points[low][1];
}

function hover(box, svg, width, of) {
  const cross = s("line", { class: "cross", y1: 8, y2: HEIGHT - BOTTOM, visibility: "hidden" });
  const tip = h("div", { class: "tip", hidden: "" });
  svg.append(cross);
  box.append(tip);
  svg.addEventListener("pointermove", (move) => {
    const area = svg.getBoundingClientRect();
    const left = (LEFT / width) * area.width;
    const share = Math.min(1, Math.max(0, (move.clientX - area.left - left) / (area.width - left)));
    const { at, rows } = of(share);
    cross.setAttribute("x1", at);
    cross.setAttribute("x2", at);
    cross.setAttribute("visibility", "visible");
    tip.replaceChildren(...rows.map((row) => h("div", {}, row)));
    tip.hidden = false;
    const here = (at / width) * area.width;
    tip.style.left = here > area.width / 2 ? "" : `${here + 12}px`;
    tip.style.right = here > area.width / 2 ? `${area.width - here + 12}px` : "";
  });
  svg.addEventListener("pointerleave", () => {
    cross.setAttribute("visibility", "hidden");
    tip.hidden = true;
  });
}

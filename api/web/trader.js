// One trader: what it has, what it did, how good it is.
import { colour, lines } from "./charts.js";
import { get } from "./data.js";
import { change, facts, h, number, table } from "./dom.js";
import { decisions, positions, trades } from "./tables.js";

export async function trader(show, id) {
  const parts = { head: h("div"), curve: h("div"), open: h("div"), closed: h("div"), said: h("div"), figures: h("div") };
  show(h("div", {}, h("h1", {}, id), parts.head,
    h("h2", {}, "Equity"), parts.curve,
    h("h2", {}, "Open positions"), parts.open,
    h("h2", {}, "Closed trades"), parts.closed,
    h("h2", {}, "Decisions"), parts.said,
    h("h2", {}, "Analytics"), parts.figures));
  const mine = encodeURIComponent(id);
  async function refresh() {
    const [all, board, totals, open, closed, said, figures, costs] = await Promise.all([
      get("traders"), get("leaderboard"), get("account-totals"), get("positions"), get(`trades?limit=25&model=${mine}`),
      get(`decisions?limit=25&trader=${mine}`), get(`analytics/${mine}`), get("costs")]);
    const row = all.traders.find((one) => one.trader_id === id);
    if (!row) throw new Error(`there is no trader ${id}`);
    const standing = board.leaderboard.find((one) => one.id === id);
    const cost = costs.costs.filter((one) => one.trader_id === id);
    parts.head.replaceChildren(head(row, standing, cost));
    const points = totals.accountTotals.filter((one) => one.model_id === id)
      .map((one) => [one.timestamp, one.dollar_equity]).sort(([a], [b]) => a - b);
    parts.curve.replaceChildren(lines([{ name: "equity", colour: colour(0), points }], (value) => number(value, 0), `Equity of ${id}`));
    parts.open.replaceChildren(positions({ accountTotals: open.accountTotals.filter((one) => one.model_id === id) }));
    parts.closed.replaceChildren(trades(closed.trades));
    parts.said.replaceChildren(decisions(said.decisions));
    parts.figures.replaceChildren(analytics(figures.analytics[0]));
  }
  return { refresh, end: () => {} };
}

function head(row, standing, cost) {
  const sum = (key) => cost.reduce((total, one) => total + one[key], 0);
  return h("div", {}, h("p", { class: "faint" }, `${row.name}, ${row.kind} ${row.model} on ${row.account_id}`), facts([
    ["equity", number(standing?.equity)], ["return", change(standing?.return_pct, 2, " %")],
    ["trades", standing?.num_trades], ["won", standing?.num_wins], ["lost", standing?.num_losses],
    ["Sharpe", standing?.sharpe ? number(standing.sharpe) : null],
    ...(cost.length ? [["model calls, 30 d", sum("calls")], ["failed", sum("failures")], ["cost, 30 d", `$${number(sum("cost_usd"), 4)}`]] : []),
  ]));
}

/** Every table of `/api/analytics/{id}`, as it comes. */
function analytics(figures) {
  if (!figures) return h("p", { class: "faint" }, "Nothing to count yet.");
  const words = (key) => key.replace(/_table$/, "").replaceAll("_", " ");
  const flat = (value, under) => (value !== null && typeof value === "object"
    ? Object.entries(value).flatMap(([key, inner]) => flat(inner, under ? `${under} ${words(key)}` : words(key)))
    : [[under, value]]);
  return h("div", {}, Object.entries(figures).filter(([, value]) => value !== null && typeof value === "object")
    .map(([name, value]) => h("details", {}, h("summary", {}, words(name)), table([
      ["figure", ([key]) => key, "text"],
      ["value", ([, it]) => (typeof it === "number" ? number(it, Number.isInteger(it) ? 0 : 3) : it)],
    ], flat(value, ""), "Nothing to count yet."))));
}

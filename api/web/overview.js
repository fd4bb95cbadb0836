// All traders beside each other: curve, leaderboard, what is open, what happens.
import { lines, colour } from "./charts.js";
import { get, listen } from "./data.js";
import { amount, change, choice, coin, facts, h, link, number, price, table, when } from "./dom.js";
import { decisions, positions, trades } from "./tables.js";

const RANGES = { all: Infinity, "7 d": 7 * 86400, "24 h": 86400, "6 h": 6 * 3600 };
const SCALES = { "%": (value, capital) => ((value - capital) / capital) * 100, $: (value) => value };
const chosen = { range: "all", scale: "%" };
const FEED = 60;

export async function overview(show) {
  const feed = h("ul", { class: "feed" }, h("li", { class: "faint" }, "What happens appears here."));
  const parts = { summary: h("div"), curve: h("div"), board: h("div"), open: h("div"), closed: h("div"), said: h("div") };
  show(h("div", {},
    parts.summary,
    h("div", { class: "columns" },
      h("section", {}, h("h2", {}, "Equity"), parts.curve, h("h2", {}, "Leaderboard"), parts.board),
      h("section", {}, h("h2", {}, "Now"), feed)),
    h("h2", {}, "Open positions"), parts.open,
    h("h2", {}, "Closed trades"), parts.closed,
    h("h2", {}, "Decisions"), parts.said));
  const end = listen(["signal", "wakeup", "decision", "order", "fill"], (body, kind) => {
    if (kind !== "order" || isNews(body)) tell(feed, body, kind);
  });
  async function refresh() {
    const [board, totals, open, closed, said, sum, starts] = await Promise.all([
      get("leaderboard"), get("account-totals"), get("positions"), get("trades?limit=12"),
      get("decisions?limit=12"), get("account/summary"), get("since-inception-values")]);
    const capital = Object.fromEntries(starts.sinceInceptionValues.map((row) => [row.model_id, row.nav_since_inception]));
    parts.summary.replaceChildren(summary(sum));
    parts.board.replaceChildren(leaderboard(board.leaderboard, open));
    parts.open.replaceChildren(positions(open));
    parts.closed.replaceChildren(trades(closed.trades));
    parts.said.replaceChildren(decisions(said.decisions));
    const draw = () => parts.curve.replaceChildren(curve(totals.accountTotals, capital, draw));
    draw();
  }
  return { refresh, end };
}

function summary(sum) {
  return facts([
    ["traders", sum.traders], ["equity", number(sum.equity)], ["return", change(sum.return_pct, 2, " %")],
    ["unrealised", change(sum.unrealised)], ["fees", number(sum.fees)], ["funding", number(sum.funding)],
    ["margin used", number(sum.margin_used)], ["open positions", sum.open_positions],
    ["books", sum.balanced === null ? "not yet compared" : sum.balanced ? "balance" : h("span", { class: "bad" }, "DO NOT BALANCE")],
  ]);
}

function curve(rows, capital, draw) {
  const byTrader = new Map();
  const newest = rows.reduce((most, row) => Math.max(most, row.timestamp), 0);
  const value = SCALES[chosen.scale];
  for (const row of rows) {
    if (newest - row.timestamp > RANGES[chosen.range]) continue;
    if (!byTrader.has(row.model_id)) byTrader.set(row.model_id, []);
    byTrader.get(row.model_id).push([row.timestamp, value(row.dollar_equity, capital[row.model_id])]);
  }
  const series = [...byTrader.keys()].sort().map((name, index) =>
    ({ name, colour: colour(index), points: byTrader.get(name).sort(([a], [b]) => a - b) }));
  const label = (number_) => (chosen.scale === "%" ? `${number(number_, 2)} %` : number(number_, 0));
  const choose = (what) => (option) => { chosen[what] = option; draw(); };
  return h("div", {},
    choice(Object.keys(SCALES), chosen.scale, choose("scale")), " ",
    choice(Object.keys(RANGES), chosen.range, choose("range")),
    lines(series, label, "Equity of each trader over time"),
    h("div", { class: "legend" }, series.map((one) => {
      const stroke = h("i");
      stroke.style.background = one.colour;
      return h("a", { href: `#/trader/${encodeURIComponent(one.name)}` }, stroke, one.name);
    })));
}

function leaderboard(rows, open) {
  const held = Object.fromEntries(open.accountTotals.map((row) => [row.model_id, Object.keys(row.positions).length]));
  return table([
    ["trader", (row) => link("trader", row.id), "text"],
    ["equity", (row) => number(row.equity)],
    ["return", (row) => change(row.return_pct, 2, " %")],
    ["trades", (row) => row.num_trades],
    ["won", (row) => (row.num_trades ? `${number((row.num_wins / row.num_trades) * 100, 0)} %` : null)],
    ["gains", (row) => number(row.win_dollars)],
    ["losses", (row) => number(row.lose_dollars)],
    ["Sharpe", (row) => (row.sharpe ? number(row.sharpe) : null)],
    ["open", (row) => held[row.id] ?? 0],
  ], rows, "No traders yet: is the engine running?");
}

const WORDS = {
  signal: (it) => [h("b", {}, `${coin(it.symbol)} ${it.detector} ${it.edge}`), ` at ${price(it.value)}, score ${number(it.score)}`],
  wakeup: (it) => [link("trader", it.trader_id), " is woken (", link("cycle", it.cycle_id, `${it.mode} cycle`), ")"],
  decision: (it) => [link("trader", it.trader_id), " decides: ", link("cycle", it.cycle_id,
    it.refusal || it.actions.map(({ act, symbol }) => `${act.replaceAll("_", " ")} ${coin(symbol)}`).join(", ") || "hold")],
  order: (it) => [link("trader", it.trader_id), ` order ${it.purpose}: ${it.side} ${coin(it.symbol)} is ${it.state.toLowerCase().replaceAll("_", " ")}`,
    it.reason ? ` (${it.reason})` : ""],
  fill: (it) => [link("trader", it.trader_id), " fill: ", h("b", {}, `${it.side} ${amount(it.contracts * it.contract_value)} ${coin(it.symbol)} at ${price(it.price)}`)],
};

const states = new Map(); // of the newest orders; the venue says some states twice

/** Whether an order is in another state than when it was last told. */
function isNews({ client_order_id: id, state, filled }) {
  const now = `${state} ${filled}`;
  if (states.get(id) === now) return false;
  states.delete(id);
  states.set(id, now);
  if (states.size > FEED) states.delete(states.keys().next().value);
  return true;
}

function tell(feed, body, kind) {
  if (!feed.dataset.told) feed.replaceChildren();
  feed.dataset.told = "yes";
  feed.prepend(h("li", {}, h("time", {}, when(body.timestamp, true)), WORDS[kind](body)));
  while (feed.children.length > FEED) feed.lastChild.remove();
}

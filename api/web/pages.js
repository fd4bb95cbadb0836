// Views that are one table or one chart: markets, decisions, backtests.
import { candles } from "./charts.js";
import { get } from "./data.js";
import { amount, change, choice, coin, h, link, number, price, table, when } from "./dom.js";
import { decisions as decisionTable } from "./tables.js";

const TIMEFRAMES = ["1m", "5m", "15m", "1h", "4h", "1d"];
let timeframe = "1m";

/** Prices and funding of every symbol. */
export async function markets(show) {
  const body = h("div");
  show(h("div", {}, h("h1", {}, "Markets"), body));
  async function refresh() {
    const [prices, funding] = await Promise.all([get("market/prices"), get("market/funding")]);
    const rates = Object.fromEntries(funding.funding.map((row) => [coin(row.symbol), row]));
    body.replaceChildren(table([
      ["symbol", (row) => link("market", row.symbol), "text"],
      ["price", (row) => price(row.price)],
      ["seen", (row) => when(row.timestamp / 1000)],
      ["funding", (row) => change(rates[row.symbol] && rates[row.symbol].rate * 100, 4, " %")],
      ["due", (row) => when(rates[row.symbol] && rates[row.symbol].timestamp / 1000)],
    ], Object.values(prices.prices), "No prices yet."));
  }
  return { refresh, end: () => {} };
}

/** Candles of a symbol with the fills on them. */
export async function market(show, symbol) {
  const chart = h("div"), signals = h("div"), buttons = h("div");
  show(h("div", {}, h("h1", {}, symbol), buttons, chart, h("h2", {}, "Signals"), signals));
  async function refresh() {
    const [rows, fills, edges] = await Promise.all([
      get(`market/candles?symbol=${encodeURIComponent(symbol)}&timeframe=${timeframe}&limit=200`),
      get("fills?limit=200"), get("signals?limit=200")]);
    const marks = fills.fills.filter((fill) => coin(fill.symbol) === symbol).map((fill) => ({
      t: fill.timestamp, price: fill.price, up: fill.side === "buy",
      text: `${fill.trader_id}: ${fill.purpose} ${fill.side} ${amount(fill.contracts * fill.contract_value)} at ${price(fill.price)}` }));
    const choose = (option) => { timeframe = option; refresh(); };
    buttons.replaceChildren(choice(TIMEFRAMES, timeframe, choose));
    chart.replaceChildren(candles(rows.candles.map((row) => ({ ...row, t: row.timestamp / 1000 })), marks, `${symbol} ${timeframe}`),
      h("p", { class: "faint" }, "Triangles are fills: upward bought, downward sold."));
    signals.replaceChildren(table([
      ["at", (row) => when(row.timestamp), "text"], ["signal", (row) => `${row.detector} ${row.edge}`, "text"],
      ["value", (row) => price(row.value)], ["threshold", (row) => price(row.threshold)], ["price", (row) => price(row.price)],
      ["score", (row) => number(row.score)],
    ], edges.signals.filter((row) => coin(row.symbol) === symbol).slice(0, 30), "No signals yet."));
  }
  return { refresh, end: () => {} };
}

/** The newest decisions; older ones on demand. */
export async function decisions(show) {
  const body = h("div"), more = h("div", { class: "choice" });
  show(h("div", {}, h("h1", {}, "Decisions"), body, more));
  let pages = 1;
  async function refresh() {
    const rows = [];
    let before = "", next = null;
    for (let page = 0; page < pages; page += 1) {
      const answer = await get(`decisions?limit=50${before}`);
      rows.push(...answer.decisions);
      next = answer.nextBefore;
      if (next === null) break;
      before = `&before=${next}`;
    }
    body.replaceChildren(decisionTable(rows));
    more.replaceChildren(...(next === null ? [] : [h("button", { click: () => { pages += 1; refresh(); } }, "Older")]));
  }
  return { refresh, end: () => {} };
}

/** Backtests that were kept. */
export async function backtests(show) {
  const body = h("div");
  show(h("div", {}, h("h1", {}, "Backtests"), body));
  async function refresh() {
    const { backtests: rows } = await get("backtests");
    body.replaceChildren(...rows.map((run) => h("section", {}, h("h2", {}, `${run.name}, ${when(run.timestamp)}`),
      table([
        ["trader", (row) => row.trader_id, "text"], ["equity", (row) => number(row.equity)],
        ["return", (row) => change(row.return_pct, 2, " %")], ["trades", (row) => row.trades],
        ["won", (row) => (row.win_rate_pct === null ? null : `${number(row.win_rate_pct, 1)} %`)],
        ["fees", (row) => number(row.fees)], ["funding", (row) => number(row.funding)],
        ["deepest fall", (row) => `${number(row.max_drawdown_pct)} %`], ["Sharpe", (row) => number(row.sharpe)],
      ], run.metrics.traders ?? [], "No traders."),
      h("p", { class: "faint" }, `journal ${run.digest}`))));
    if (!rows.length) body.replaceChildren(h("p", { class: "faint" }, "None yet: edgewise backtest FILE --record NAME keeps one."));
  }
  return { refresh, end: () => {} };
}

/** Paper traders beside the live ones, over the last week. */
export async function shadow(show) {
  const body = h("div");
  show(h("div", {}, h("h1", {}, "Shadow and canary traders"),
    h("p", { class: "faint" }, "What would have been on paper, beside what was live, over the last seven days."), body));
  async function refresh() {
    const { shadows } = await get("shadow");
    body.replaceChildren(...shadows.map(({ paper, live, decisions: said }) => h("section", {},
      h("h2", {}, link("trader", live.trader_id), ` and ${paper.trader_id}`),
      table([
        ["account", ([name]) => name, "text"], ["profit", ([, it]) => change(it.pnl)], ["return", ([, it]) => change(it.return_pct, 2, " %")],
        ["trades", ([, it]) => it.trades], ["won", ([, it]) => it.wins], ["fees", ([, it]) => number(it.fees)],
        ["funding", ([, it]) => number(it.funding)], ["deepest fall", ([, it]) => `${number(it.max_drawdown_pct)} %`],
        ["Sharpe", ([, it]) => number(it.sharpe)], ["slippage", ([, it]) => it.slippage_bps === null ? null : `${number(it.slippage_bps)} bps`],
        ["wakeups", ([, it]) => it.wakeups],
      ], [["paper", paper], ["live", live]], ""),
      h("p", {}, `Decisions: ${said.agreeing} agree, ${said.differing} differ, ${said.only_paper} only on paper, ${said.only_live} only live.`),
      ...Object.entries(said.reasons).map(([reason, count]) => h("p", { class: "faint" }, `${count} × ${reason}`)))));
    if (!shadows.length) body.replaceChildren(h("p", { class: "faint" }, "None: manager.yaml gives no trader a rollout."));
  }
  return { refresh, end: () => {} };
}

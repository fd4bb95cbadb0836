// The causal chain of one decision: from signal to cent.
import { get } from "./data.js";
import { amount, change, coin, h, link, number, price, table, when } from "./dom.js";
import { acts, reasons } from "./tables.js";

export async function cycle(show, id) {
  const body = h("div");
  show(h("div", {}, h("h1", {}, `Cycle ${id}`), body));
  async function refresh() {
    const chain = await get(`cycles/${encodeURIComponent(id)}`);
    body.replaceChildren(head(chain, id), h("ol", { class: "chain" }, steps(chain).map(([title, content]) =>
      h("li", {}, h("h2", {}, title), content))));
  }
  return { refresh, end: () => {}, still: true };
}

function head({ cycle: row }, id) {
  return h("p", {}, link("trader", row.trader_id), ` was woken at ${when(row.timestamp)} UTC, in the ${row.mode} cycle, by ${reasons(row)}; `,
    h("b", {}, acts(row)), ". ", h("a", { href: `/api/cycles/${encodeURIComponent(id)}` }, "The whole as JSON"));
}

function steps(chain) {
  return [
    ["Signals", table([
      ["at", (row) => when(row.timestamp), "text"], ["signal", (row) => `${coin(row.symbol)} ${row.detector} ${row.edge}`, "text"],
      ["value", (row) => price(row.value)], ["threshold", (row) => price(row.threshold)], ["score", (row) => number(row.score)],
    ], chain.signals, "None: a timer woke it.")],
    ["Merged or refused since the wakeup before", table([
      ["at", (row) => when(row.timestamp), "text"], ["why", (row) => row.code.replaceAll("-", " "), "text"],
      ["what", (row) => subject(row.subject), "text"],
    ], chain.notes, "Nothing.")],
    ["What was asked and answered", said(chain)],
    ["Decisions", table([
      ["decision", (row) => `${row.act.replaceAll("_", " ")} ${coin(row.symbol)}`, "text"],
      ["confidence", (row) => number(row.confidence)], ["leverage", (row) => row.leverage && `${Number(row.leverage)}×`],
      ["notional", (row) => number(row.notional_usd)], ["stop", (row) => price(row.stop_loss)], ["target", (row) => price(row.take_profit)],
      ["because", (row) => row.justification, "wide"],
    ], chain.cycle.decisions ?? [], "None.")],
    ["Checks", checks(chain.validations)],
    ["Orders", table([
      ["sent", (row) => when(row.sent_at), "text"], ["order", (row) => `${row.purpose} ${row.side} ${coin(row.symbol)}`, "text"],
      ["contracts", (row) => amount(row.contracts)], ["filled", (row) => amount(row.filled)], ["at", (row) => price(row.average_price)],
      ["state", (row) => row.state.toLowerCase().replaceAll("_", " "), "text"], ["why", (row) => row.reason, "wide"],
      ["id", (row) => row.client_order_id, "text"],
    ], chain.orders, "None was sent.")],
    ["Fills", table([
      ["at", (row) => when(row.timestamp), "text"], ["fill", (row) => `${row.side} ${coin(row.symbol)}`, "text"],
      ["contracts", (row) => amount(row.contracts)], ["price", (row) => price(row.price)],
      ["fee", (row) => change(row.fee, 4)], ["as", (row) => (row.maker ? "maker" : "taker"), "text"],
    ], chain.fills, "None.")],
    ["Result", table([
      ["trade", (row) => `${row.side} ${coin(row.symbol)}`, "text"], ["entry", (row) => price(row.entry_price)],
      ["exit", (row) => price(row.exit_price)], ["closed by", (row) => row.exit_purpose, "text"], ["gross", (row) => change(row.gross)],
      ["fees", (row) => change(Number(row.entry_fees) + Number(row.exit_fees))], ["funding", (row) => change(row.funding)],
      ["net", (row) => change(row.net)],
    ], chain.trades, "Nothing is closed yet.")],
  ];
}

/** A signal by its key, `BTC-USDT-SWAP:rsi_1m:UP:<ns>`; anything else as it is. */
function subject(text) {
  const [symbol, detector, edge, ts] = text.split(":");
  return ts ? `${coin(symbol)} ${detector} ${edge}` : text;
}

function said(chain) {
  const parts = [["system prompt", chain.system_prompt], ["prompt", chain.user_prompt], ["reasoning", chain.reasoning], ["answer", chain.answer]]
    .filter(([, text]) => text);
  if (!parts.length) return h("p", { class: "faint" }, "Nothing was kept.");
  return h("div", {}, parts.map(([title, text]) => h("details", title === "reasoning" ? { open: "" } : {}, h("summary", {}, title), h("pre", {}, text))));
}

function checks(validations) {
  if (!validations.length) return h("p", { class: "faint" }, "Nothing to check.");
  return h("div", {}, validations.map((row) => h("details", row.approved ? {} : { open: "" },
    h("summary", {}, `${row.act.replaceAll("_", " ")} ${coin(row.symbol)}: `,
      h("b", { class: row.approved ? "won" : "lost" }, row.approved ? "approved" : row.reason)),
    table([
      ["check", (check) => check.name.replaceAll("_", " "), "text"],
      ["passed", (check) => h("span", { class: check.passed ? "won" : "lost" }, check.passed ? "yes" : "no"), "text"],
      ["with", (check) => check.detail, "wide"],
    ], row.checks, "No checks."))));
}

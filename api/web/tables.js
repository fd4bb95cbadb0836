// Tables that more than one view shows.
import { amount, change, coin, h, link, number, price, table, when } from "./dom.js";

const side = (text) => h("span", { class: text === "long" || text === "buy" ? "won" : "lost" }, text);

/** Rows of `/api/positions`, flat: one position with its trader. */
export function positions(answer) {
  const rows = answer.accountTotals.flatMap((trader) =>
    Object.values(trader.positions).map((held) => ({ ...held, trader: trader.model_id })));
  return table([
    ["trader", (row) => link("trader", row.trader), "text"],
    ["position", (row) => h("span", {}, side(row.quantity < 0 ? "short" : "long"), ` ${row.symbol} ${row.leverage}×`), "text"],
    ["size", (row) => amount(Math.abs(row.quantity))],
    ["entry", (row) => price(row.entry_price)],
    ["now", (row) => price(row.current_price)],
    ["unrealised", (row) => change(row.unrealized_pnl)],
    ["stop", (row) => price(row.exit_plan.stop_loss || null)],
    ["target", (row) => price(row.exit_plan.profit_target || null)],
    ["liquidation", (row) => price(row.liquidation_price || null)],
    ["margin", (row) => number(row.margin)],
    ["since", (row) => when(row.entry_time)],
  ], rows, "No open positions.");
}

/** Rows of `/api/trades`. */
export function trades(rows) {
  return table([
    ["closed", (row) => when(row.exit_time), "text"],
    ["trader", (row) => link("trader", row.model_id), "text"],
    ["trade", (row) => h("span", {}, side(row.side), ` ${row.symbol}`), "text"],
    ["size", (row) => amount(Math.abs(row.quantity))],
    ["entry", (row) => price(row.entry_price)],
    ["exit", (row) => price(row.exit_price)],
    ["by", (row) => row.exit_reason, "text"],
    ["held", (row) => `${number((row.exit_time - row.entry_time) / 60, 0)} min`],
    ["fees", (row) => number(row.total_commission_dollars)],
    ["net", (row) => change(row.realized_net_pnl)],
    ["why", (row) => (row.cycle_id ? link("cycle", row.cycle_id, "chain") : "–")],
  ], rows, "No closed trades yet.");
}

/** What a cycle decided, in a few words. */
export function acts(row) {
  if (row.status !== "decided") return row.refusal || row.error || row.status;
  const said = row.decisions ?? [];
  return said.map((one) => `${one.act.replaceAll("_", " ")} ${coin(one.symbol)}`).join(", ") || "hold";
}

/** Why a cycle was begun. */
export function reasons(row) {
  return row.reasons.map(({ kind, signal }) =>
    signal ? `${coin(signal.symbol)} ${signal.detector} ${signal.edge}` : kind.replaceAll("_", " ")).join(", ");
}

/** Rows of `/api/decisions`. */
export function decisions(rows) {
  return table([
    ["at", (row) => link("cycle", row.cycle_id, when(row.timestamp)), "text"],
    ["trader", (row) => link("trader", row.trader_id), "text"],
    ["woken by", reasons, "wide"],
    ["decided", acts, "wide"],
    ["by", (row) => row.model || row.decider, "text"],
    ["took", (row) => (row.latency_ms ? `${number(row.latency_ms / 1000, 1)} s` : null)],
    ["cost", (row) => (row.cost_usd ? `$${number(row.cost_usd, 4)}` : null)],
  ], rows, "No decisions yet.");
}

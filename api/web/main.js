// The page: which view is shown, what is above all of them, and when they read again.
import { get, listen, stream } from "./data.js";
import { h, price } from "./dom.js";
import { cycle } from "./cycle.js";
import { overview } from "./overview.js";
import { backtests, decisions, market, markets, shadow } from "./pages.js";
import { trader } from "./trader.js";

const VIEWS = { "": overview, trader, cycle, markets, market, decisions, shadow, backtests };
const EVERY_MS = 15_000, SOON_MS = 1_500;

const place = document.getElementById("view");
const health = document.getElementById("health");
const prices = document.getElementById("prices");
let current = null, serial = 0, soon = 0, live = false;

async function go() {
  const [name, id = ""] = location.hash.replace(/^#\//, "").split("/").map(decodeURIComponent);
  current?.end();
  current = null;
  const mine = (serial += 1);
  document.querySelectorAll("nav a").forEach((a) => a.classList.toggle("here", a.getAttribute("href") === `#/${name}`));
  const view = VIEWS[name];
  if (!view) return place.replaceChildren(h("p", { class: "note" }, `There is no view ${name}.`));
  const made = await view((content) => { if (mine === serial) place.replaceChildren(content); }, id);
  if (mine !== serial) return made.end();
  current = made;
  window.scrollTo(0, 0);
  return refresh();
}

async function refresh() {
  const mine = current;
  try {
    await Promise.all([mine?.refresh(), look()]);
    place.querySelector(":scope > .note")?.remove();
  } catch (error) {
    if (mine !== current) return;
    place.querySelector(":scope > .note")?.remove();
    place.prepend(h("p", { class: "note", role: "alert" }, `Not read: ${error.message}`));
  }
}

async function look() {
  const now = await get("health");
  const words = [now.status === "ok" ? "engine ok" : `engine ${now.status}`, live ? "live" : "not live"];
  if (now.environment) words.push(now.environment);
  if (now.engine) words.push(now.engine.trading_enabled ? "trading" : "trading off");
  if (now.engine?.entries_refused) words.push(`entries refused: ${now.engine.entries_refused}`);
  if (now.books && !now.books.balanced) words.push("BOOKS DIFFER");
  if (now.redis === "foreign") words.push("REDIS IS OF ANOTHER DATABASE");
  health.className = now.status === "ok" && (now.books?.balanced ?? true) ? "won" : "bad";
  health.textContent = words.join(" · ");
}

function tick(body) {
  prices.replaceChildren(...Object.entries(body).map(([symbol, value]) =>
    h("a", { href: `#/market/${encodeURIComponent(symbol)}` }, symbol, h("b", {}, price(value)))));
}

listen(["prices"], tick);
listen(["decision", "fill", "gap"], () => {
  if (current?.still) return;
  clearTimeout(soon);
  soon = setTimeout(refresh, SOON_MS);
});
stream((up) => { live = up; look().catch(() => {}); });
setInterval(() => { if (!document.hidden && !current?.still) refresh(); }, EVERY_MS);
window.addEventListener("hashchange", go);
get("crypto-prices").then(({ prices: rows }) =>
  tick(Object.fromEntries(Object.entries(rows).map(([symbol, row]) => [symbol, row.price]))), () => {});
go();

"""The text of the reader's queries. Nothing is ever put into it but parameters."""

from __future__ import annotations

from typing import Final


class Pages:
    """A question for rows newest first: `$1` is the `seq` to end before, `$2` how many, `$3` their trader.

    Two texts, of everybody and of one trader: a plan for both at once would be slow for one of them.
    """

    def __init__(self, rows: str, alias: str = "") -> None:
        self.of_all = f"{rows} where {alias}seq < $1 order by {alias}seq desc limit $2"
        self.of_trader = (
            f"{rows} where {alias}seq < $1 and {alias}trader_id = $3 order by {alias}seq desc limit $2"
        )


class JsonPages:
    """Pages that Postgres writes as JSON: one row with the text, how many rows it has, and the last `seq`.

    Nobody looks at these rows on their way, and to decode and encode each takes thrice as long as to ask.
    """

    def __init__(self, rows: str, alias: str = "") -> None:
        pages = Pages(rows, alias)
        self.of_all, self.of_trader = _as_json(pages.of_all), _as_json(pages.of_trader)


def _as_json(rows: str) -> str:
    return (
        "select coalesce(json_agg(page)::text, '[]') as rows, count(*) as count, min(page.seq) as last "  # noqa: S608
        f"from ({rows}) page"
    )


def _s(column: str) -> str:
    """Epoch seconds with microseconds of a nanosecond column."""
    return f"({column} / 1000)::double precision / 1e6"


TRADERS: Final = """
select t.trader_id, t.name, t.kind, t.model, t.account_id, t.config,
       coalesce(c.capital, 0) as capital, coalesce(c.ts_first, t.ts_created) as ts_inception,
       coalesce(n.invocations, 0) as invocations
from traders t
left join (select trader_id, sum(amount) as capital, min(ts) as ts_first from cash_flows group by 1) c
  using (trader_id)
left join (select trader_id, count(*) as invocations from decision_cycles group by 1) n using (trader_id)
order by t.trader_id"""

TRADER_IDS: Final = "select trader_id from traders order by trader_id"

NEWEST_PERFORMANCE: Final = """
select p.trader_id, p.ts, p.sharpe_ratio, p.view
from traders t
cross join lateral (select trader_id, ts, sharpe_ratio, view from trader_performance
                    where trader_id = t.trader_id order by ts desc limit 1) p"""

# One look into the index for each span of each trader, however many accounts lie between.
PERFORMANCE_SINCE: Final = """
select p.trader_id, p.ts, p.sharpe_ratio, p.view
from generate_series($1::bigint / $3::bigint, $2::bigint / $3::bigint) span
cross join traders t
cross join lateral (select trader_id, ts, sharpe_ratio, view from trader_performance
                    where trader_id = t.trader_id and ts >= greatest($1::bigint, span * $3::bigint)
                      and ts < (span + 1) * $3::bigint and equity is not null
                    order by ts desc limit 1) p
order by p.ts, p.trader_id"""

OPEN_POSITIONS: Final = """
select trader_id, symbol, position_side as side, contracts, coins, entry_price, leverage, margin, realised,
       fees, funding, liquidation_price, stop_loss, take_profit, confidence, risk_usd, invalidation,
       ts_opened, entry_client_order_id
from trader_positions join traders using (trader_id)
order by trader_id, symbol, position_side limit $1"""

CLOSED_TRADES: Final = Pages("select * from closed_trades")

TRADES_AFTER: Final = """
select seq, trader_id, trade_id, ts_exit, gross::float8 as gross, net::float8 as net,
       (-entry_fees - exit_fees)::float8 as fees,
       (abs(coins) * entry_price)::float8 as notional, (ts_exit - ts_entry) / 60e9::float8 as holding_mins,
       side = 'long' as is_long, leverage::float8 as leverage
from closed_trades where seq > $1 order by seq limit $2"""

TRADE_TOTALS: Final = """
select trader_id, count(*) as num_trades, count(*) filter (where net > 0) as num_wins,
       count(*) filter (where net <= 0) as num_losses,
       coalesce(sum(net) filter (where net > 0), 0) as win_dollars,
       coalesce(sum(net) filter (where net <= 0), 0) as lose_dollars
from closed_trades group by trader_id"""

CONVERSATIONS: Final = Pages(
    """
select c.seq, c.cycle_id, c.trader_id, c.decider, c.model, c.prompt_version, c.ts_created, c.ts_decided,
       l.system_prompt, l.user_prompt, l.answer, l.reasoning, c.decisions as actions, c.prices
from decision_cycles c join llm_conversations l on l.cycle_id = c.cycle_id and c.status <> 'pending'""",
    "c.",
)

_COUNTED: Final = """
select seq, cycle_id, trader_id, ts_created, status = 'pending' as is_open, decisions as actions
from decision_cycles"""
CYCLES_AFTER: Final = f"{_COUNTED} where seq > $1 order by seq limit $2"
CYCLES_OF: Final = f"{_COUNTED} where cycle_id = any($1::text[])"

_SIGNAL: Final = f"""
s.seq, s.signal_id, s.symbol, s.detector, s.feature, s.timeframe, s.edge, s.value, s.threshold, s.release,
s.score, s.price, {_s("s.ts_event")} as timestamp"""

SIGNALS: Final = JsonPages(f"select {_SIGNAL} from signals s", "s.")  # noqa: S608 - constants only

_DECISION: Final = f"""
seq, cycle_id, trader_id, mode, status, reasons, decider, model, prompt_version, prompt_digest, decisions,
prices, refusal, error, tokens_in, tokens_out, tokens_cached, cost_usd, latency_ms,
{_s("ts_created")} as timestamp, {_s("ts_decided")} as decided_at"""

DECISIONS: Final = Pages(f"select {_DECISION} from decision_cycles")  # noqa: S608 - constants only

WAKEUPS: Final = Pages(f"""
select seq, cycle_id, trader_id, mode, reasons, status, {_s("ts_created")} as timestamp
from decision_cycles""")  # noqa: S608

_INTENT: Final = f"""
intent_id, client_order_id, cycle_id, trader_id, account_id, symbol, side, position_side, purpose, order_type,
contracts, price, leverage, stop_loss, take_profit, decision_price, confidence, risk_usd, invalidation,
{_s("ts_created")} as timestamp"""

_ORDER: Final = f"""
o.seq, o.client_order_id, o.venue_order_id, i.cycle_id, o.trader_id, o.account_id, o.symbol, i.side,
i.position_side, i.purpose, i.order_type, o.state, o.venue_state, o.contracts, o.filled, i.price,
o.average_price, o.fees, o.reason, {_s("o.ts_created")} as timestamp, {_s("o.ts_sent")} as sent_at,
{_s("o.ts_acked")} as acked_at, {_s("o.ts_updated")} as updated_at
from trader_orders o join order_intents i using (client_order_id)"""

ORDERS: Final = JsonPages(f"select {_ORDER}", "o.")

_FILL: Final = f"""
seq, fill_id, client_order_id, venue_order_id, trader_id, account_id, symbol, side, position_side, purpose,
contracts, price, contract_value, fee, maker, {_s("ts_event")} as timestamp from trader_fills"""

FILLS: Final = JsonPages(f"select {_FILL}")

CAPITAL_MOVES: Final = Pages(
    f"select seq, flow_id, trader_id, account_id, kind, amount, {_s('ts')} as timestamp from cash_flows"  # noqa: S608
)

RISK_EVENTS: Final = JsonPages(
    f"select seq, event_id, trader_id, symbol, kind, detail, {_s('ts')} as timestamp from risk_events"  # noqa: S608
)

NEWEST_CHECKS: Final = f"""
select c.* from (select distinct account_id from traders) a
cross join lateral (select account_id, balanced, venue_equity, traders_equity, reserve, difference, detail,
                           {_s("ts")} as timestamp
                    from account_checks where account_id = a.account_id order by ts desc limit 1) c
order by c.account_id"""  # noqa: S608 - constants only

# A timeframe after the other: candles are found by symbol, timeframe and time, in that order.
LAST_CLOSES: Final = """
select k.symbol, k.timeframe, k.close, k.ts_open
from assets a
cross join lateral (
  select newest.* from unnest($1::text[]) frame
  cross join lateral (select symbol, timeframe, close, ts_open from klines
                      where symbol = a.symbol and timeframe = frame order by ts_open desc limit 1) newest
  order by newest.ts_open desc limit 1) k
where a.is_active"""

_MANY: Final = 100_000  # from so many rows on, the planner's estimate stands for a count that takes seconds
_SAMPLE: Final = 10_000


def _count(table: str) -> str:
    whole = f"'{table}'::regclass"
    months = f"(select inhrelid from pg_inherits where inhparent = {whole})"  # noqa: S608 - names of ours
    estimate = f"(select sum(reltuples)::bigint from pg_class where oid = {whole} or oid in {months})"  # noqa: S608
    exact = f"(select count(*) from {table})"  # noqa: S608 - names of ours
    return f"(select case when {estimate} > {_MANY} then {estimate} else {exact} end)"


COUNTS: Final = f"""
select {_count("signals")} as signals, {_count("trader_orders")} as orders,
       {_count("trader_fills")} as fills, {_count("closed_trades")} as trades,
       (select coalesce(jsonb_object_agg(status, round(n * greatest(1, total / {_SAMPLE}.0))::bigint), '{{}}')
        from (select status, count(*) as n from (
                select status from decision_cycles order by seq desc
                limit case when {_count("decision_cycles")} > {_MANY} then {_SAMPLE} else {_MANY} end) newest
              group by status) s,
             (select case when {_count("decision_cycles")} > {_MANY} then {_count("decision_cycles")}
                     else 0 end as total) t) as cycles"""  # noqa: S608 - names above

CYCLE: Final = f"select {_DECISION} from decision_cycles where cycle_id = $1"  # noqa: S608

CYCLE_CONVERSATION: Final = """
select system_prompt, user_prompt, answer, reasoning from llm_conversations where cycle_id = $1"""

CYCLE_SIGNALS: Final = f"""
select {_SIGNAL} from signals s join cycle_signals c using (signal_id, ts_event)
where c.cycle_id = $1 order by s.seq"""  # noqa: S608

CYCLE_NOTES: Final = f"""
select code, subject, {_s("ts")} as timestamp from wakeup_notes where cycle_id = $1 order by n"""  # noqa: S608

CYCLE_VERDICTS: Final = f"""
select cycle_id, trader_id, symbol, act, approved, reason, checks, {_s("ts")} as timestamp
from decision_validations where cycle_id = $1 order by symbol, act"""  # noqa: S608

CYCLE_INTENTS: Final = f"""
select {_INTENT} from order_intents where cycle_id = $1 order by ts_created, intent_id"""  # noqa: S608

CYCLE_ORDERS: Final = f"select {_ORDER} where i.cycle_id = $1 order by o.seq"

ORDER_FILLS: Final = f"select {_FILL} where client_order_id = any($1::text[]) order by seq"

CYCLE_CALLS: Final = f"""
select n, asked, alias, model, digest, answer, reasoning, cut, failure, detail, tokens_in, tokens_out,
       tokens_cached, cost_usd, latency_ms, {_s("ts_asked")} as asked_at, {_s("ts_answered")} as answered_at
from llm_calls where cycle_id = $1 order by n"""  # noqa: S608 - constants only

ORDER_TRADES: Final = f"""
select *, {_s("ts_entry")} as entry_time, {_s("ts_exit")} as exit_time from closed_trades
where entry_client_order_id = any($1::text[]) or exit_client_order_id = any($1::text[])
order by seq"""  # noqa: S608 - constants only

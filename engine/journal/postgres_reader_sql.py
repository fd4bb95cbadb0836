"""The text of the reader's queries. Nothing is ever put into it but parameters."""

from __future__ import annotations

from typing import Final


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

NEWEST_PERFORMANCE: Final = """
select p.trader_id, p.ts, p.view
from traders t
cross join lateral (select trader_id, ts, view from trader_performance
                    where trader_id = t.trader_id order by ts desc limit 1) p"""

PERFORMANCE_SINCE: Final = """
select distinct on (p.trader_id, p.ts / $2::bigint) p.trader_id, p.ts, p.view
from trader_performance p join traders using (trader_id)
where p.ts >= $1::bigint and p.equity is not null
order by p.trader_id, p.ts / $2::bigint, p.ts desc"""

HOURLY_EQUITY: Final = """
select distinct on (trader_id, ts / $1::bigint)
       trader_id, ts / $1::bigint as hour, equity::double precision as equity
from trader_performance where equity is not null
order by trader_id, ts / $1::bigint, ts desc"""

OPEN_POSITIONS: Final = """
select trader_id, symbol, position_side as side, contracts, coins, entry_price, leverage, margin, realised,
       fees, funding, liquidation_price, stop_loss, take_profit, confidence, risk_usd, invalidation,
       ts_opened, entry_client_order_id
from trader_positions join traders using (trader_id)
order by trader_id, symbol, position_side limit $1"""

CLOSED_TRADES: Final = """
select * from closed_trades
where ($1 = '' or trader_id = $1) and seq < $2 order by seq desc limit $3"""

TRADE_FIGURES: Final = """
select gross::float8 as gross, net::float8 as net, (-entry_fees - exit_fees)::float8 as fees,
       (abs(coins) * entry_price)::float8 as notional, (ts_exit - ts_entry) / 60e9::float8 as holding_mins,
       side = 'long' as is_long, leverage::float8 as leverage
from closed_trades where trader_id = $1 order by seq desc limit $2"""

TRADE_TOTALS: Final = """
select trader_id, count(*) as num_trades, count(*) filter (where net > 0) as num_wins,
       count(*) filter (where net <= 0) as num_losses,
       coalesce(sum(net) filter (where net > 0), 0) as win_dollars,
       coalesce(sum(net) filter (where net <= 0), 0) as lose_dollars
from closed_trades group by trader_id"""

CONVERSATIONS: Final = """
select c.seq, c.cycle_id, c.trader_id, c.decider, c.model, c.prompt_version, c.ts_created, c.ts_decided,
       l.system_prompt, l.user_prompt, l.answer, l.reasoning, c.decisions as actions, c.prices
from decision_cycles c join llm_conversations l using (cycle_id)
where ($1 = '' or c.trader_id = $1) and c.seq < $2 order by c.seq desc limit $3"""

CYCLE_ACTIONS: Final = """
select * from (
  select trader_id, cycle_id, ts_created, decisions as actions, seq from decision_cycles
  where trader_id = $1 order by seq desc limit $2) newest
order by seq"""

_SIGNAL: Final = f"""
s.seq, s.signal_id, s.symbol, s.detector, s.feature, s.timeframe, s.edge, s.value, s.threshold, s.release,
s.score, s.price, {_s("s.ts_event")} as timestamp"""

SIGNALS: Final = f"select {_SIGNAL} from signals s where s.seq < $1 order by s.seq desc limit $2"  # noqa: S608

_DECISION: Final = f"""
seq, cycle_id, trader_id, mode, status, reasons, decider, model, prompt_version, prompt_digest, decisions,
prices, refusal, error, tokens_in, tokens_out, tokens_cached, cost_usd, latency_ms,
{_s("ts_created")} as timestamp, {_s("ts_decided")} as decided_at"""

DECISIONS: Final = f"""
select {_DECISION} from decision_cycles
where ($1 = '' or trader_id = $1) and seq < $2 order by seq desc limit $3"""  # noqa: S608 - constants only

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

ORDERS: Final = f"""
select {_ORDER}
where ($1 = '' or o.trader_id = $1) and o.seq < $2 order by o.seq desc limit $3"""

_FILL: Final = f"""
seq, fill_id, client_order_id, venue_order_id, trader_id, account_id, symbol, side, position_side, purpose,
contracts, price, contract_value, fee, maker, {_s("ts_event")} as timestamp from trader_fills"""

FILLS: Final = f"""
select {_FILL}
where ($1 = '' or trader_id = $1) and seq < $2 order by seq desc limit $3"""

RISK_EVENTS: Final = f"""
select seq, event_id, trader_id, symbol, kind, detail, {_s("ts")} as timestamp from risk_events
where ($1 = '' or trader_id = $1) and seq < $2 order by seq desc limit $3"""  # noqa: S608

NEWEST_CHECKS: Final = """
select c.* from (select distinct account_id from traders) a
cross join lateral (select account_id, balanced, venue_equity, traders_equity, reserve, difference, detail, ts
                    from account_checks where account_id = a.account_id order by ts desc limit 1) c
order by c.account_id"""

LAST_CLOSES: Final = """
select k.symbol, k.timeframe, k.close, k.ts_open
from assets a
cross join lateral (select symbol, timeframe, close, ts_open from klines
                    where symbol = a.symbol order by ts_open desc limit 1) k
where a.is_active"""

_MANY: Final = 100_000  # from so many rows on, the planner's estimate stands for a count that takes seconds
_SAMPLE: Final = 10_000


def _count(table: str) -> str:
    estimate = f"(select reltuples::bigint from pg_class where oid = '{table}'::regclass)"  # noqa: S608 - names of ours
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
select {_SIGNAL} from signals s join cycle_signals c using (signal_id)
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

ORDER_TRADES: Final = """
select * from closed_trades
where entry_client_order_id = any($1::text[]) or exit_client_order_id = any($1::text[]) order by seq"""

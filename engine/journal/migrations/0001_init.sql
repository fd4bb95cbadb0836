-- The journal. Times are bigint UTC nanoseconds of engine time (ts_*), exact; tstz(ts) shows them to people.
-- Money, prices and sizes are numeric without a scale: exact. Fees and funding have the venue's sign:
-- negative was paid. `contracts` are venue contracts, `coins` base currency.

create function tstz(ts bigint) returns timestamptz language sql immutable strict as
$$ select to_timestamp(ts / 1e9) $$;

-- Partitions by month of a bigint nanosecond column. Called at start and daily; never a default partition.
create function ensure_partitions(parent text, from_ns bigint, months int) returns int language plpgsql as $$
declare
  start_at timestamptz := date_trunc('month', tstz(from_ns), 'UTC');
  made int := 0;
  name text;
begin
  for i in 0..months loop
    name := parent || to_char((start_at + make_interval(months => i)) at time zone 'UTC', '"_"YYYYMM');
    if to_regclass(name) is null then
      execute format(
        'create table %I partition of %I for values from (%s) to (%s)', name, parent,
        (extract(epoch from start_at + make_interval(months => i)) * 1000000000)::bigint,
        (extract(epoch from start_at + make_interval(months => i + 1)) * 1000000000)::bigint);
      made := made + 1;
    end if;
  end loop;
  return made;
end $$;

-- Drops months that ended before `before_ns`; returns how many.
create function drop_partitions(parent text, before_ns bigint) returns int language plpgsql as $$
declare
  dropped int := 0;
  child record;
begin
  for child in
    select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = parent::regclass
      and to_date(right(c.relname, 6), 'YYYYMM') + interval '1 month' <= tstz(before_ns) at time zone 'UTC'
  loop
    execute format('drop table %I', child.relname);
    dropped := dropped + 1;
  end loop;
  return dropped;
end $$;

create table traders (
  trader_id text primary key,
  name text not null,
  kind text not null,          -- model or strategy
  model text not null,         -- alias or strategy name
  account_id text not null,
  config jsonb not null,       -- as configured, without secrets
  ts_created bigint not null,
  ts_updated bigint not null
);

create table assets (
  symbol text primary key,
  base text not null,
  quote text not null,
  tick_size numeric not null check (tick_size > 0),
  lot_size numeric not null check (lot_size > 0),
  min_size numeric not null check (min_size > 0),
  contract_value numeric not null check (contract_value > 0),
  max_leverage numeric not null,
  is_active boolean not null,
  ts_updated bigint not null
);

create table klines (
  symbol text not null,
  timeframe text not null,
  ts_open bigint not null,
  open double precision not null,
  high double precision not null,
  low double precision not null,
  close double precision not null,
  volume double precision not null check (volume >= 0),
  primary key (symbol, timeframe, ts_open),
  check (high >= greatest(open, close, low) and low <= least(open, close, high))
) partition by range (ts_open);

create table indicators (
  symbol text not null,
  timeframe text not null,
  ts_open bigint not null,
  features jsonb not null,
  primary key (symbol, timeframe, ts_open)
) partition by range (ts_open);

-- Not partitioned: a signal is what a cycle refers to. Small: edges only.
create table signals (
  signal_id text primary key,
  symbol text not null,
  detector text not null,
  feature text not null,
  timeframe text not null,
  edge text not null check (edge in ('UP', 'DOWN', 'SPIKE', 'RECOVERED')),
  value double precision not null,
  threshold double precision not null,
  release double precision not null,
  score double precision not null check (score between 0 and 1),
  price double precision,
  ts_event bigint not null,
  ts_recv bigint not null,
  seq bigint generated always as identity
);
create index signals_newest on signals (seq desc);
create index signals_symbol on signals (symbol, ts_event desc);

-- A wakeup opens a cycle, its answer closes it.
create table decision_cycles (
  cycle_id text primary key,
  trader_id text not null references traders,
  mode text not null check (mode in ('long', 'short')),
  status text not null check (status in
    ('pending', 'decided', 'refused', 'timeout', 'unavailable', 'abandoned')),
  wakeup bytea not null,       -- the whole Wakeup, msgpack: a cycle can be replayed from it
  reasons jsonb not null,
  decider text not null default '',
  model text not null default '',
  prompt_version text not null default '',
  prompt_digest text not null default '',
  decisions jsonb not null default '[]',
  prices jsonb not null default '{}',
  refusal text not null default '',
  error text not null default '',
  tokens_in bigint not null default 0,
  tokens_out bigint not null default 0,
  tokens_cached bigint not null default 0,
  cost_usd numeric not null default 0,
  latency_ms bigint not null default 0,
  ts_created bigint not null,
  ts_started bigint not null default 0,
  ts_decided bigint not null default 0,
  seq bigint generated always as identity
);
create index decision_cycles_trader on decision_cycles (trader_id, seq desc);
create index decision_cycles_newest on decision_cycles (seq desc);
create index decision_cycles_open on decision_cycles (cycle_id) where status = 'pending';

create table cycle_signals (
  cycle_id text not null references decision_cycles,
  signal_id text not null references signals,
  primary key (cycle_id, signal_id)
);
create index cycle_signals_signal on cycle_signals (signal_id);

create table llm_conversations (
  cycle_id text primary key references decision_cycles,
  trader_id text not null references traders,
  system_prompt text not null,
  user_prompt text not null,
  answer text not null,
  reasoning text not null,
  ts bigint not null
);

create table decision_validations (
  cycle_id text not null references decision_cycles,
  trader_id text not null references traders,
  symbol text not null,
  act text not null,
  approved boolean not null,
  reason text not null,
  checks jsonb not null,
  ts bigint not null,
  primary key (cycle_id, symbol, act),
  check (approved = (reason = ''))
);
create index decision_validations_reason on decision_validations (reason) where not approved;

create table order_intents (
  intent_id text primary key,
  client_order_id text not null unique,
  cycle_id text references decision_cycles,  -- null: a breaker, protection or an operator asked
  trader_id text not null,
  account_id text not null,
  symbol text not null,
  side text not null check (side in ('buy', 'sell')),
  position_side text not null check (position_side in ('long', 'short')),
  purpose text not null check (purpose in ('entry', 'exit', 'stop', 'target', 'liquidation', 'external')),
  order_type text not null,
  contracts numeric not null check (contracts > 0),
  price numeric check (price > 0),
  leverage numeric not null check (leverage > 0),
  stop_loss numeric check (stop_loss > 0),
  take_profit numeric check (take_profit > 0),
  decision_price numeric,
  confidence numeric,
  risk_usd numeric,
  invalidation text not null,
  ts_created bigint not null,
  ts_expires bigint not null,
  check (purpose = 'external' or (side = 'buy') = ((position_side = 'long') = (purpose = 'entry')))
);
create index order_intents_cycle on order_intents (cycle_id);
create index order_intents_recent on order_intents (account_id, ts_created);

create table trader_orders (
  client_order_id text primary key references order_intents (client_order_id),
  trader_id text not null,
  account_id text not null,
  symbol text not null,
  state text not null check (state in
    ('PENDING_NEW', 'NEW', 'PARTIALLY_FILLED', 'FILLED', 'CANCELED', 'REJECTED', 'EXPIRED')),
  venue_state text not null,
  venue_order_id text not null,
  contracts numeric not null check (contracts > 0),
  filled numeric not null check (filled >= 0 and filled <= contracts),
  claimed numeric not null,
  average_price numeric,
  fees numeric not null,
  reason text not null,
  ts_created bigint not null,
  ts_sent bigint not null,
  ts_acked bigint not null,
  ts_updated bigint not null,
  seq bigint generated always as identity
);
create index trader_orders_open on trader_orders (account_id)
  where state in ('PENDING_NEW', 'NEW', 'PARTIALLY_FILLED');
create index trader_orders_newest on trader_orders (seq desc);
create index trader_orders_trader on trader_orders (trader_id, seq desc);

create table order_events (
  event_id bigint generated always as identity primary key,
  client_order_id text not null references trader_orders,
  state text not null,
  filled numeric not null,
  fill_id text,
  reason text not null,
  raw bytea,
  ts bigint not null
);
create index order_events_order on order_events (client_order_id, event_id);

create table trader_fills (
  account_id text not null,
  fill_id text not null,
  client_order_id text not null references trader_orders,
  venue_order_id text not null,
  trader_id text not null,
  symbol text not null,
  side text not null check (side in ('buy', 'sell')),
  position_side text not null check (position_side in ('long', 'short')),
  purpose text not null,
  contracts numeric not null check (contracts > 0),
  price numeric not null check (price > 0),
  contract_value numeric not null check (contract_value > 0),
  fee numeric not null,
  maker boolean not null,
  ts_event bigint not null,
  ts_recv bigint not null,
  seq bigint generated always as identity,
  primary key (account_id, fill_id)
);
create index trader_fills_recent on trader_fills (account_id, ts_event);
create index trader_fills_order on trader_fills (client_order_id);
create index trader_fills_booked on trader_fills (account_id, seq);
create index trader_fills_trader on trader_fills (trader_id, seq desc);

create table cash_flows (
  flow_id text primary key,
  trader_id text not null,
  account_id text not null,
  kind text not null check (kind in ('capital', 'deposit', 'withdrawal', 'rebalance')),
  amount numeric not null,
  ts bigint not null,
  seq bigint generated always as identity
);

create table funding_payments (
  payment_id text primary key,
  bill_id text not null,
  trader_id text not null,
  account_id text not null,
  symbol text not null,
  position_side text not null check (position_side in ('long', 'short')),
  amount numeric not null,
  contracts numeric not null check (contracts >= 0),
  ts_event bigint not null,
  seq bigint generated always as identity
);
create index funding_payments_bill on funding_payments (account_id, bill_id);

-- Open positions only; closed ones are closed_trades.
create table trader_positions (
  trader_id text not null,
  symbol text not null,
  position_side text not null check (position_side in ('long', 'short')),
  contracts numeric not null check (contracts > 0),
  coins numeric not null,
  entry_price numeric not null,
  leverage numeric not null,
  margin numeric not null,
  realised numeric not null,
  fees numeric not null,
  funding numeric not null,
  liquidation_price numeric,
  stop_loss numeric,
  take_profit numeric,
  confidence numeric,
  risk_usd numeric,
  invalidation text not null,
  entry_client_order_id text not null,
  ts_opened bigint not null,
  ts_updated bigint not null,
  primary key (trader_id, symbol, position_side)
);

create table closed_trades (
  trade_id text primary key,
  trader_id text not null,
  account_id text not null,
  symbol text not null,
  side text not null check (side in ('long', 'short')),
  contracts numeric not null check (contracts > 0),
  coins numeric not null,
  entry_price numeric not null,
  exit_price numeric not null,
  ts_entry bigint not null,
  ts_exit bigint not null,
  entry_fees numeric not null,
  exit_fees numeric not null,
  funding numeric not null,
  gross numeric not null,
  net numeric not null,
  leverage numeric not null,
  confidence numeric,
  exit_purpose text not null,
  entry_client_order_id text not null references trader_orders,
  exit_client_order_id text not null references trader_orders,
  entry_venue_order_id text not null,
  exit_venue_order_id text not null,
  entry_fill_id text not null,
  exit_fill_id text not null,
  entry_maker boolean not null,
  exit_maker boolean not null,
  entry_cycle_id text not null,
  exit_plan text not null,
  stop_loss numeric,
  take_profit numeric,
  seq bigint generated always as identity,
  check (net = gross + entry_fees + exit_fees + funding)
);
create index closed_trades_trader on closed_trades (trader_id, seq desc);
create index closed_trades_newest on closed_trades (seq desc);

create table trader_performance (
  trader_id text not null,
  ts bigint not null,
  capital numeric not null,
  cash numeric not null,
  equity numeric,              -- null while a position has no price
  available numeric not null,
  margin_used numeric not null,
  realised numeric not null,
  unrealised numeric,
  fees numeric not null,
  funding numeric not null,
  view bytea not null,         -- the whole AccountView, msgpack
  primary key (trader_id, ts)
) partition by range (ts);

create table account_checks (
  account_id text not null,
  ts bigint not null,
  balanced boolean not null,
  venue_equity numeric not null,
  traders_equity numeric not null,
  reserve numeric not null,
  difference numeric not null,
  detail text not null,
  primary key (account_id, ts)
) partition by range (ts);

create table balance_snapshots (
  account_id text not null,
  ts bigint not null,
  cash numeric not null,
  equity numeric not null,
  available numeric not null,
  primary key (account_id, ts)
) partition by range (ts);

create table exchange_positions (
  account_id text not null,
  symbol text not null,
  position_side text not null check (position_side in ('long', 'short', 'net')),
  contracts numeric not null,
  average_price numeric not null,
  ts_updated bigint not null,
  primary key (account_id, symbol, position_side)
);

create view exchange_orders as
  select account_id, venue_order_id, client_order_id, symbol, state, ts_created, ts_sent, ts_acked, ts_updated
  from trader_orders where venue_order_id <> '';

create table risk_events (
  event_id text primary key,
  trader_id text not null,
  symbol text not null,
  kind text not null,
  detail text not null,
  ts bigint not null,
  seq bigint generated always as identity
);
create index risk_events_newest on risk_events (seq desc);

create table candle_integrity_events (
  event_id bigint generated always as identity primary key,
  symbol text not null,
  timeframe text not null,
  kind text not null check (kind in ('gap', 'duplicate', 'repaired')),
  ts_from bigint not null,
  ts_to bigint not null,
  ts bigint not null
);

create table part_states (
  kind text not null,
  trader_id text not null,
  state bytea not null,
  ts bigint not null,
  primary key (kind, trader_id)
);

create table backtest_runs (
  run_id text primary key,
  name text not null,
  config jsonb not null,
  digest text not null,
  metrics jsonb not null,
  equity_curve jsonb not null,
  ts_created bigint not null
);

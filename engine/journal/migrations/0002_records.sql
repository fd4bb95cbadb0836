-- What the contract names and 0001 left out, and what a bulk write needs to know a row again.

-- Ratio of hourly returns so far (not annualised, risk-free rate 0) and winners in percent of closed trades.
alter table trader_performance
  add column pnl numeric generated always as (equity - capital) stored,
  add column sharpe_ratio double precision,
  add column win_rate double precision check (win_rate between 0 and 100);

alter table traders
  add column risk_params jsonb generated always as (coalesce(config -> 'risk_params', '{}')) stored;

alter table exchange_positions
  add column unrealised numeric,
  add column leverage numeric check (leverage > 0),
  add column liquidation_price numeric check (liquidation_price > 0);

alter table candle_integrity_events drop column event_id;
alter table candle_integrity_events
  add primary key (symbol, timeframe, kind, ts_from, ts_to),
  add check (ts_from < ts_to);

-- At most one row: what all traders together began with. A later start overwrites it.
create table initial_equities (
  only_row boolean primary key default true check (only_row),
  amount numeric not null check (amount > 0),
  ts bigint not null
);

alter table backtest_runs
  add column ts_from bigint not null,
  add column ts_to bigint not null,
  add check (ts_from <= ts_to);

-- A position from its first entry to flat, with the pair of prices and the profit that the contract names.
create view position_history as
  select trader_id, symbol, side, contracts, entry_price, exit_price, net as pnl, ts_entry, ts_exit
  from closed_trades
  union all
  select trader_id, symbol, position_side, contracts, entry_price, null, realised + fees + funding, ts_opened, null
  from trader_positions;

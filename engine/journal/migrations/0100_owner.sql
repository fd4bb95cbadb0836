-- A database belongs to one environment: candles, features, signals, instruments and the states of indicators are
-- kept by symbol, and those of another environment have other prices. The first engine that starts writes it.
create table database_owner (
  only_row boolean primary key default true check (only_row),
  database_id uuid not null default gen_random_uuid(), -- what a Redis is told it belongs to
  environment text not null check (environment <> ''),
  ts_claimed bigint not null
);

-- Each account of exchange.yaml is one account at the venue, and the other way round: the books of one are
-- compared with what the other holds.
create table venue_accounts (
  account_id text primary key,
  uid text not null unique check (uid <> ''),
  ts_claimed bigint not null
);

-- One row an account. A start writes it anew, so the former row need not be given to one.
drop table initial_equities;
create table initial_equities (
  account_id text primary key,
  amount numeric not null check (amount > 0),
  ts bigint not null
);

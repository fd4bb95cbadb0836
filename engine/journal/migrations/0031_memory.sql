-- What traders remember: an operator's rules, and closed trades with their reasons and how they ended.
create table memory_blocks (
  trader_id text not null references traders,
  label text not null check (label in ('principles', 'red_lines', 'output_rules')),
  text text not null,
  ts bigint not null,
  primary key (trader_id, label)
);

create table memory_episodes (
  trade_id text primary key references closed_trades,
  trader_id text not null,
  symbol text not null,
  side text not null check (side in ('long', 'short')),
  ts_entry bigint not null,
  ts_exit bigint not null,
  entry_price numeric not null,
  exit_price numeric not null,
  leverage numeric not null,
  net numeric not null,
  exit text not null,
  thesis text not null,
  invalidation text not null,
  close_reason text not null,
  words tsvector generated always as
    (to_tsvector('simple', thesis || ' ' || invalidation || ' ' || close_reason)) stored,
  seq bigint generated always as identity
);
create index memory_episodes_words on memory_episodes using gin (words);
create index memory_episodes_newest on memory_episodes (trader_id, ts_exit desc);
create index memory_episodes_seq on memory_episodes (trader_id, seq);

-- A stop that was moved after its entry. The newest one of an entry is where its stop belongs.
create table stop_moves (
  move_id text primary key,
  cycle_id text not null,
  trader_id text not null,
  account_id text not null,
  symbol text not null,
  position_side text not null check (position_side in ('long', 'short')),
  entry_client_order_id text not null,
  stop_loss numeric not null,
  ts_created bigint not null,
  seq bigint generated always as identity
);
create index stop_moves_of_account on stop_moves (account_id, seq);

-- Decision files: what was written to them, so that a file that was changed, cut or lost shows.
alter table decision_cycles add column filed boolean not null default false;
create index decision_cycles_unfiled on decision_cycles (seq) where not filed;
alter table closed_trades add column filed boolean not null default false;
create index closed_trades_unfiled on closed_trades (seq) where not filed;

create table decision_chain (
  trader_id text not null references traders,
  n bigint not null check (n > 0),
  kind text not null check (kind in ('cycle', 'outcome')),
  cycle_id text not null references decision_cycles,
  hash text not null check (length(hash) = 64),
  ts bigint not null,
  primary key (trader_id, n)
);
create index decision_chain_cycle on decision_chain (cycle_id);

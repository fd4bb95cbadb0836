-- Signals by month, as everything that comes with the market. Those that a cycle came from stay as long as
-- the cycle, so a month goes when it is empty. Names of the old table give way; its rows keep their numbers.
alter table cycle_signals drop constraint cycle_signals_signal_id_fkey;
drop index cycle_signals_signal;
alter table signals rename to signals_whole;
alter index signals_pkey rename to signals_whole_pkey;
alter sequence signals_seq_seq rename to signals_whole_seq_seq;

create table signals (
  signal_id text not null,
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
  recovers boolean not null default true, -- false: a cross, which no RECOVERED ends
  seq bigint generated always as identity,
  primary key (signal_id, ts_event)
) partition by range (ts_event);

-- Whole seconds first: a bigint of nanoseconds is more than a double holds, and a month's end would be lost.
select ensure_partitions('signals', (extract(epoch from month) * 1000000000)::bigint, 0)
from (select distinct date_trunc('month', to_timestamp(ts_event / 1000000000), 'UTC') as month from signals_whole) m;

insert into signals (signal_id, symbol, detector, feature, timeframe, edge, value, threshold, release, score, price,
                     ts_event, ts_recv, recovers, seq) overriding system value
select signal_id, symbol, detector, feature, timeframe, edge, value, threshold, release, score, price,
       ts_event, ts_recv, recovers, seq from signals_whole;
select setval(pg_get_serial_sequence('signals', 'seq'), max(seq)) from signals having max(seq) is not null;

alter table cycle_signals add column ts_event bigint;
update cycle_signals c set ts_event = s.ts_event from signals_whole s where s.signal_id = c.signal_id;
alter table cycle_signals alter column ts_event set not null;
drop table signals_whole;
alter table cycle_signals add foreign key (signal_id, ts_event) references signals;
create index cycle_signals_signal on cycle_signals (signal_id, ts_event);
create index signals_newest on signals (seq desc);
create index signals_symbol on signals (symbol, ts_event desc);
create index signals_age on signals (ts_event);

-- Drops months that ended before `before_ns` and have no row; returns how many. A month that others refer to
-- cannot be dropped as it is.
create function drop_empty_partitions(parent text, before_ns bigint) returns int language plpgsql as $$
declare
  dropped int := 0;
  used boolean;
  child record;
begin
  for child in
    select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = parent::regclass
      and case when c.relname ~ '_[0-9]{6}$'
               then to_date(right(c.relname, 6), 'YYYYMM') + interval '1 month' <= tstz(before_ns) at time zone 'UTC'
               else false end
  loop
    execute format('select exists (select from %I)', child.relname) into used;
    if not used then
      execute format('alter table %I detach partition %I', parent, child.relname);
      execute format('drop table %I', child.relname);
      dropped := dropped + 1;
    end if;
  end loop;
  return dropped;
end $$;

-- As before, but safe in whatever order the planner checks: only names that end in a month are read as one.
create or replace function drop_partitions(parent text, before_ns bigint) returns int language plpgsql as $$
declare
  dropped int := 0;
  child record;
begin
  for child in
    select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = parent::regclass
      and case when c.relname ~ '_[0-9]{6}$'
               then to_date(right(c.relname, 6), 'YYYYMM') + interval '1 month' <= tstz(before_ns) at time zone 'UTC'
               else false end
  loop
    execute format('drop table %I', child.relname);
    dropped := dropped + 1;
  end loop;
  return dropped;
end $$;

-- What belongs to a whole account is kept under its name, so that engines of several accounts share a database.
insert into part_states (kind, trader_id, state, ts)
select s.kind, '*' || t.account_id || case when s.trader_id = '*' then '' else '.paper' end, s.state, s.ts
from part_states s join (select distinct account_id from traders) t
  on (s.trader_id = '*.paper') = (right(t.account_id, 6) = '.paper')
where s.trader_id in ('*', '*.paper');
delete from part_states where trader_id in ('*', '*.paper');

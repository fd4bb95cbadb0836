-- Roles for a database of your own; the embedded one has them already. Run once as its owner, passwords yours:
--   psql "$EDGEWISE_POSTGRES_DSN" -v password="'...'" -f roles.sql
-- Then EDGEWISE_POSTGRES_RO_DSN names edgewise_api. It reads every table and can write none.
create role edgewise_api login password :password connection limit 20;
grant pg_read_all_data to edgewise_api;
alter role edgewise_api set default_transaction_read_only = on;
alter role edgewise_api set statement_timeout = '5s';

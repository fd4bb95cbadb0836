-- The API's role for a database of your own; the embedded one has it already. Run once as a superuser (its
-- owner may not make roles), password yours:
--   psql "postgresql://postgres@host/edgewise" -v password="'...'" -f roles.sql
-- Then EDGEWISE_POSTGRES_RO_DSN names edgewise_api. It reads every table and can write none.
create role edgewise_api login password :password connection limit 20;
grant pg_read_all_data to edgewise_api;
alter role edgewise_api set default_transaction_read_only = on;
alter role edgewise_api set statement_timeout = '5s';

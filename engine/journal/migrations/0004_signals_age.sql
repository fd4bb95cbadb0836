-- Signals are found by age, where old ones that woke nobody are deleted.
create index signals_age on signals (ts_event);

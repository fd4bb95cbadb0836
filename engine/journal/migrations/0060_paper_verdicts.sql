-- A cycle of a shadow or canary trader is judged twice: live, and on paper for the trader `<id>.paper`.
alter table decision_validations drop constraint decision_validations_pkey;
alter table decision_validations add primary key (cycle_id, trader_id, symbol, act);

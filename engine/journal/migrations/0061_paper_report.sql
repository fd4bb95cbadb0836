-- The comparison of paper and live looks at one trader's verdicts and cycles in a range of time.
create index decision_validations_span on decision_validations (trader_id, ts);
create index decision_cycles_span on decision_cycles (trader_id, ts_created);

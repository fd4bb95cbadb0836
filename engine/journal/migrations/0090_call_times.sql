-- When a model was asked and when it answered, engine time; 0 for calls of older versions.
alter table llm_calls
  add column ts_asked bigint not null default 0,
  add column ts_answered bigint not null default 0;

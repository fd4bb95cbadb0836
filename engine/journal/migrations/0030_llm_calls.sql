-- Every question to a model and its answer, found again by the digest of the question: a cycle can be
-- replayed without asking anybody.
create table llm_calls (
  cycle_id text not null references decision_cycles,
  n smallint not null,         -- 0 is the first question of the cycle
  trader_id text not null references traders,
  digest text not null,        -- sha256 of the messages
  alias text not null,
  model text not null,
  answer text not null,
  reasoning text not null,
  cut text not null,
  failure text not null,       -- '' when there is an answer
  detail text not null,
  tokens_in bigint not null,
  tokens_out bigint not null,
  tokens_cached bigint not null,
  cost_usd numeric not null,
  latency_ms bigint not null,
  ts bigint not null,
  seq bigint generated always as identity,
  primary key (cycle_id, n)
);
create index llm_calls_digest on llm_calls (digest, seq desc);
create index llm_calls_trader on llm_calls (trader_id, seq);

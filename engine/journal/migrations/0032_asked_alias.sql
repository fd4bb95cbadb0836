-- Several models may be asked the same question: each answer belongs to the alias that was asked.
alter table llm_calls add column asked text not null default '';

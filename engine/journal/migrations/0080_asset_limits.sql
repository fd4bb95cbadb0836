-- Largest orders of a swap, as the venue lists them; null where it names none.
alter table assets
  add column max_limit_size numeric,
  add column max_market_size numeric;

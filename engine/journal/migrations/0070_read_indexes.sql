-- What readers ask for stays quick after years: pages newest first, a cycle's trades, costs of a time.
create index trader_fills_newest on trader_fills (seq desc);
create index closed_trades_entry on closed_trades (entry_client_order_id);
create index closed_trades_exit on closed_trades (exit_client_order_id);
create index risk_events_trader on risk_events (trader_id, seq desc);
create index llm_calls_time on llm_calls (ts);

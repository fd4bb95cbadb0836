"""The journal in memory, for backtests and paper accounts: the same promises as in Postgres, and a digest."""

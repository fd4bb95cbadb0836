"""A venue without a wire: the Venue port in front of the matching core, for backtests and shadow accounts.

`venue` is the port, `reports` says in the port's words what the core tells.
"""

"""The journal in Postgres: what writes it, what reads it, and what keeps its tables in order.

Nobody else has the driver. `journal` puts the writers together, `reader` answers the API under a role that
cannot write, `migrate` brings a database up to date.
"""

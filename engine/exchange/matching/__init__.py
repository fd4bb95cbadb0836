"""A venue without sockets: orders, positions and money of accounts that trade one outside market.

`core` is the entry; `types` is what it is asked, `records` what it keeps and tells, `options` its rules.
"""

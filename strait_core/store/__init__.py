"""PostgreSQL, the only source of truth: the one impure package of the core.

Every function takes `conn` first; the caller owns the transaction. SQL stands in `sql/<noun>.sql`, one named block per
statement; what a function's name promises (`finish_if_held`) its SQL guards.
"""

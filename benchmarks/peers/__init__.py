"""Peers, each in an environment of its own, measured in the same run and on the same PostgreSQL as Strait."""

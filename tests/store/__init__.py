"""Statements and migrations on a real PostgreSQL."""

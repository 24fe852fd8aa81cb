"""Workflows: what one is, whether it is right, what its conditions and templates say. Pure."""

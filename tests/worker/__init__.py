"""Claim, slots, dispatch and drain."""

"""Tests that need programs which no wheel brings."""

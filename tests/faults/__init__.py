"""Killing and cutting things under load."""

"""The daemon's parts, one by one, on real servers."""

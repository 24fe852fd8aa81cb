"""Everything that leaves the daemon by HTTP."""

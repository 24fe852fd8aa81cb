"""The installed command, real processes, a real endpoint."""

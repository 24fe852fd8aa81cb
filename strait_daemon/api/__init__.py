"""The HTTP API: parse, authorize, call, shape. No SQL and no construction of parts: those come in `Deps`."""

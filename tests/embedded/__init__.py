"""The bundled servers: found, started, stopped, and brought back after a violent end."""

"""What the bundled servers raise: configuration errors that name the fault and the way out, never a password."""

from __future__ import annotations

from strait_core.errors import ConfigError


class EmbeddedError(ConfigError):
    """A bundled server cannot be found, started or stopped."""


class ServerInUseError(EmbeddedError):
    """Another live process holds this data directory: `pid` is its owner's, `port` its server's (None: starting)."""

    def __init__(self, message: str, *, hint: str, pid: int | None, port: int | None) -> None:
        super().__init__(message, hint=hint)
        self.pid = pid
        self.port = port

"""Keeps the daemon from calling what is not public: looks at URLs when they are saved, and at addresses when dialed.

A name is resolved once for a connection, all its addresses are checked, and the connection goes to one of exactly
those: there is no second look-up that could answer otherwise.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address
from typing import Any, Final

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from strait_core.address import Address, HostError, Openings, may_call, read_host, read_url
from strait_daemon.egress.lookup import Lookups

# How long saving a URL waits for its name; what does not resolve now is looked at when it is dialed.
SAVE_SECS: Final = 1.0

# The addresses of a name; OSError when there are none.
Lookup = Callable[[str], Awaitable[Sequence[str]]]


class Refused(OSError):  # noqa: N818 - a verdict rather than an error
    """The guard refuses to connect; the text says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Guard:
    """What this daemon may call; `lookup` resolves names, None = as the system does."""

    def __init__(self, openings: Openings, lookup: Lookup | None = None) -> None:
        self._openings = openings
        self._lookup = lookup or Lookups()

    async def refusal(self, url: str) -> str | None:
        """Why a URL may not be saved, as a phrase that follows the field's name; None when it may.

        A name without an answer within a second passes: it may come to be later, and is checked again then.
        """
        try:
            host = _spelled(url, self._openings)
            if isinstance(host, str):
                async with asyncio.timeout(SAVE_SECS):
                    await self.addresses(host)
        except HostError as error:
            return str(error)
        except Refused as refused:
            return f"must name a public host: {refused.reason}"
        except (OSError, UnicodeError):  # TimeoutError is an OSError
            return None
        return None

    def prepared(self, url: str) -> URL:
        """A saved URL, its host in the one spelling that was checked; raises Refused."""
        try:
            host = _spelled(url, self._openings)
        except HostError as error:
            raise Refused(str(error)) from None
        return URL(url).with_host(str(host))

    async def addresses(self, host: str) -> list[Address]:
        """All addresses of a host, each of them checked; raises Refused, or OSError when there are none."""
        try:
            read = read_host(host, self._openings)
        except HostError as error:
            raise Refused(str(error)) from None
        texts = [str(read)] if not isinstance(read, str) else await self._lookup(read)
        found = [ip_address(text.partition("%")[0]) for text in texts]
        if not found:
            raise OSError(f"{host} has no address")
        for address in found:
            if not may_call(address, self._openings):
                raise Refused(f"{host} resolves to {address}, which is not a public address")
        return found

    def open_socket(self, target: tuple[Any, ...]) -> socket.socket:
        """The socket for one connection: the last look, which nothing that is dialed can go around."""
        family, kind, protocol, _, to = target
        address = ip_address(str(to[0]).partition("%")[0])
        if not may_call(address, self._openings):
            raise Refused(f"{address} is not a public address")
        return socket.socket(family, kind, protocol)


class GuardedResolver(AbstractResolver):
    """The HTTP client's resolver: the addresses that the guard has checked, and no others."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Every address of `host`; raises OSError, which a refusal is too."""
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in await self._guard.addresses(host)
            if family in {socket.AF_UNSPEC, socket.AF_INET if address.version == 4 else socket.AF_INET6}
        ]

    async def close(self) -> None:
        """Nothing is held."""


def _spelled(url: str, openings: Openings) -> Address | str:
    """The host of a URL, on which both readers of URLs agree: the strict one, and the one that dials."""
    host = read_url(url, openings)
    try:
        dialed = URL(url).raw_host
    except (ValueError, UnicodeError):
        raise HostError("is not a URL") from None
    if not dialed or read_host(dialed, openings) != host:
        raise HostError("is not a URL that every reader understands alike")
    return host

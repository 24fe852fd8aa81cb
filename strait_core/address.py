"""Which hosts and IP addresses are public, however they are spelled. Pure: `egress/guard.py` resolves the names.

The tables follow the special-purpose registries of IANA (RFC 6890 and what has been added since). They are written out
here, because what the standard library calls global differs between Python versions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final
from urllib.parse import unquote, urlsplit

import idna

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MAX_HOST: Final = 253
# RFC 6761, 6762, 7686, 8375, and ICANN's reservation of `internal`: names that never mean a public host.
REFUSED_SUFFIXES: Final = ("localhost", "local", "internal", "invalid", "test", "onion", "home.arpa")


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ip_network(text) for text in texts)


LOOPBACK: Final = _networks("127.0.0.0/8", "::1/128")
# What ALLOW_PRIVATE_ENDPOINTS=true opens: loopback, private, carrier-grade NAT, unique local, link-local.
PRIVATE: Final = (
    *LOOPBACK,
    *_networks("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16"),
    *_networks("fc00::/7", "fe80::/10"),
)
# Where clouds keep the credentials of their machines: never opened, by no setting.
METADATA: Final = _networks(
    "169.254.169.0/24",  # nearly every cloud
    "169.254.170.0/24",  # AWS containers
    "169.254.0.23/32",  # Tencent
    "169.254.42.42/32",  # Scaleway
    "100.100.100.200/32",  # Alibaba
    "168.63.129.16/32",  # Azure's wire server, which has a public address
    "192.0.0.192/32",  # Oracle
    "fd00:ec2::/32",  # AWS
    "fd20:ce::/32",  # Google
    "fd00:42::42/128",  # Scaleway
    "fd00:c1::a9fe:a9fe/128",  # Oracle
    "fd00:a9fe:a9fe::/48",  # Akamai
)
_NOT_PUBLIC: Final = _networks(
    "0.0.0.0/8",  # this network; Linux takes 0.0.0.0 for loopback
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",  # protocol assignments
    "192.0.2.0/24",  # documentation
    "192.88.99.0/24",  # relays of 6to4
    "192.168.0.0/16",
    "198.18.0.0/15",  # benchmarking
    "198.51.100.0/24",  # documentation
    "203.0.113.0/24",  # documentation
    "224.0.0.0/4",  # multicast
    "240.0.0.0/4",  # reserved and broadcast
    "2001::/23",  # protocol assignments: Teredo, benchmarking, ORCHID
    "2001:db8::/32",  # documentation
    "3fff::/20",  # documentation
)
# The only part of IPv6 that is given out as public.
_GLOBAL: Final = IPv6Network("2000::/3")
_V4_AT_THE_END: Final = tuple(
    IPv6Network(text) for text in ("::ffff:0:0/96", "::ffff:0:0:0/96", "::/96", "64:ff9b::/96", "64:ff9b:1::/48")
)
_6TO4: Final = IPv6Network("2002::/16")
_TEREDO: Final = IPv6Network("2001::/32")
_ISATAP: Final = frozenset({0x0000_5EFE, 0x0200_5EFE})
_LABEL: Final = re.compile(r"[a-z0-9_-]{1,63}\Z")
_NUMBER: Final = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)\Z")


class HostError(ValueError):
    """A host that may not be called, and why: a phrase that follows the name of a field."""


@dataclass(frozen=True, slots=True)
class Openings:
    """What is opened beyond the public internet: nothing, all that is private, or what the networks name.

    Cloud metadata stays closed whatever stands here.
    """

    private: bool = False
    networks: tuple[Network, ...] = ()

    def opens(self, address: Address) -> bool:
        """Whether a setting opens this address."""
        return _within(address, self.networks) or (self.private and _within(address, PRIVATE))

    def __str__(self) -> str:
        return "true" if self.private else ",".join(map(str, self.networks)) or "false"

    @property
    def loopback(self) -> bool:
        """Whether the name `localhost` may be called."""
        return self.opens(IPv4Address("127.0.0.1")) or self.opens(IPv6Address("::1"))


CLOSED: Final = Openings()
LOOPBACK_ONLY: Final = Openings(networks=LOOPBACK)


def read_openings(text: str) -> Openings:
    """What ALLOW_PRIVATE_ENDPOINTS says: true, false, or a comma list of networks; ValueError names the fault."""
    word = text.strip().lower()
    if word in {"true", "1", "yes", "on"}:
        return Openings(private=True)
    if word in {"", "false", "0", "no", "off"}:
        return CLOSED
    try:
        return Openings(networks=tuple(ip_network(part.strip()) for part in text.split(",") if part.strip()))
    except ValueError as error:
        raise ValueError(
            f"{error}; give true, false, or networks separated by commas, like 10.20.0.0/16,fd12:3456::/32"
        ) from None


def may_call(address: Address, openings: Openings = CLOSED) -> bool:
    """Whether the address, and every IPv4 address that it carries inside, is public or opened."""
    inside = carried(address)
    if any(_within(one, METADATA) for one in (address, *inside)):
        return False
    return all(may_call(one, openings) for one in inside) and (is_public(address) or openings.opens(address))


def is_public(address: Address) -> bool:
    """Whether the address belongs to the public internet."""
    if _within(address, _NOT_PUBLIC) or _within(address, METADATA):
        return False
    if isinstance(address, IPv4Address):
        return True
    return address in _GLOBAL and all(map(is_public, carried(address)))


def carried(address: Address) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses inside an IPv6 one: mapped, compatible, NAT64, 6to4, Teredo (server and client), ISATAP."""
    if isinstance(address, IPv4Address):
        return ()
    bits = int(address)
    last = IPv4Address(bits & 0xFFFF_FFFF)
    found: list[IPv4Address] = []
    if bits > 1 and any(address in network for network in _V4_AT_THE_END):
        found.append(last)
    if address in _6TO4:
        found.append(IPv4Address(bits >> 80 & 0xFFFF_FFFF))
    if address in _TEREDO:
        found += [IPv4Address(bits >> 64 & 0xFFFF_FFFF), IPv4Address(int(last) ^ 0xFFFF_FFFF)]
    if bits >> 32 & 0xFFFF_FFFF in _ISATAP:
        found.append(last)
    return tuple(found)


def _within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)


def read_url(url: str, openings: Openings = CLOSED) -> Address | str:
    """The host of a URL that may be called: an address, or a name in its one spelling; HostError says why not.

    A name that passes has still to be resolved, and every address that it has to pass `may_call`.
    """
    if "\\" in url or any(c <= " " or c == "\x7f" for c in url):
        raise HostError("must not contain backslashes, blanks or control characters")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise HostError("is not a URL") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise HostError("must be an http:// or https:// URL with a host")
    if "@" in unquote(parts.netloc):
        raise HostError("must not carry a user name or password; use headers")
    return read_host(host, openings)


@lru_cache(1_024)
def read_host(text: str, openings: Openings = CLOSED) -> Address | str:
    """A host by any of its spellings: the address it means, or its name in lower-case ASCII; HostError says why not."""
    host = unquote(text)
    if ":" in host or "%" in host or host.startswith("["):
        return _checked(_ipv6(host), text, openings)
    name = _ascii(host)
    readings = _ipv4_readings(name)
    if readings is None:
        _check_name(name, openings)
        return name
    for address in readings:
        _checked(address, text, openings)
    return readings[0]


def _checked(address: Address, text: str, openings: Openings) -> Address:
    if not may_call(address, openings):
        said = str(address) if str(address) == text else f"{text[:100]} ({address})"
        raise HostError(f"must name a public address, and {said} is none")
    return address


def _ipv6(host: str) -> IPv6Address:
    if "%" in host:
        raise HostError("must not carry a zone id or a doubly encoded host")
    try:
        return IPv6Address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise HostError("is not a URL: its host is no IPv6 address") from None


def _ascii(host: str) -> str:
    """A name as DNS has it: UTS 46 mapping, then A-labels, without the dot of the root."""
    try:
        mapped = idna.uts46_remap(host, std3_rules=False, transitional=False)
        labels = mapped.removesuffix(".").split(".")
        name = ".".join(label if label.isascii() else idna.alabel(label).decode() for label in labels)
    except (UnicodeError, ValueError):
        raise HostError("is not a URL: its host is no name of the internet") from None
    if len(name) > MAX_HOST or not all(_LABEL.match(label) for label in name.split(".")):
        raise HostError("is not a URL: its host is no name of the internet")
    return name


def _ipv4_readings(name: str) -> list[IPv4Address] | None:
    """Every address that a reader may take the name for, that of inet_aton first; None when it is a name."""
    parts = name.split(".")
    if not _NUMBER.match(parts[-1]):
        return None
    octal, decimal = _ipv4(parts, octal=True), _ipv4(parts, octal=False)
    if octal is None or decimal is None:
        raise HostError("is not a URL: its host looks like an IPv4 address and is none")
    return [octal] if octal == decimal else [octal, decimal]


def _ipv4(parts: list[str], *, octal: bool) -> IPv4Address | None:
    """One to four numbers as inet_aton reads them: the last one fills what the others leave."""
    if len(parts) > 4:
        return None
    numbers = []
    for part in parts:
        if not _NUMBER.match(part):
            return None
        hexadecimal = part.startswith("0x")
        base = 16 if hexadecimal else 8 if octal and part.startswith("0") else 10
        try:
            numbers.append(int(part.removeprefix("0x") or "0" if hexadecimal else part, base))
        except ValueError:
            return None
    *heads, tail = numbers
    if any(number > 255 for number in heads) or tail >= 256 ** (4 - len(heads)):
        return None
    return IPv4Address(sum(number << 8 * (3 - at) for at, number in enumerate(heads)) + tail)


def _check_name(name: str, openings: Openings) -> None:
    if name == "localhost" and openings.loopback:
        return
    if "." not in name:
        if not openings.private:
            raise HostError(f"must name a public host, and {name[:100]!r} is a name of this network only")
        return
    for suffix in REFUSED_SUFFIXES:
        if name == suffix or name.endswith(f".{suffix}"):
            raise HostError(f"must name a public host, and names under {suffix!r} are none")

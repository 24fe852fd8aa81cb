"""Which hosts and addresses are public: a corpus of hostile URLs, and the tables on both sides of their borders."""

# ruff: noqa: SIM905 - lists of addresses read best as words
from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strait_core import address
from strait_core.address import CLOSED, LOOPBACK_ONLY, HostError, Openings, may_call, read_host, read_openings, read_url
from tests.support.hostile_urls import HOSTILE, PUBLIC

ALL_OPEN = Openings(private=True)
METADATA = """169.254.169.254 169.254.170.2 169.254.170.23 100.100.100.200 168.63.129.16 192.0.0.192 fd00:ec2::254
fd20:ce::254 ::ffff:169.254.169.254 64:ff9b::a9fe:a9fe 2002:a9fe:a9fe::1""".split()


def test_the_corpus_is_large_and_says_nothing_twice():
    """At least 150 different URLs."""
    assert len(set(HOSTILE)) == len(HOSTILE) >= 150


@pytest.mark.parametrize("url", HOSTILE)
def test_no_hostile_url_passes(url: str):
    """Every URL of the corpus is refused, with words that say why."""
    with pytest.raises(HostError) as refusal:
        read_url(url)
    assert str(refusal.value).startswith(("must ", "is not "))


@pytest.mark.parametrize(("url", "host"), PUBLIC.items())
def test_what_is_public_passes_in_its_one_spelling(url: str, host: str):
    """Names as DNS has them, addresses as addresses, also under setting that open more."""
    for openings in (CLOSED, LOOPBACK_ONLY, ALL_OPEN):
        assert str(read_url(url, openings)) == host


@given(st.integers(0, 2**32 - 1))
def test_no_spelling_of_an_address_hides_it(number: int):
    """Dword, hexadecimal, octal, short and dotted spellings pass or fail as the plain address does."""
    plain = IPv4Address(number)
    a, b, c, d = plain.packed
    spellings = [
        str(number), hex(number), f"0{number:o}", f"{a}.{number & 0xFFFFFF}", f"{a}.{b}.{number & 0xFFFF}",
        f"0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}", f"{a}.{b}.{c}.{d}.", f"[::ffff:{plain}]", f"[64:ff9b::{plain}]",
        f"[2002:{a:02x}{b:02x}:{c:02x}{d:02x}::1]",
    ]  # fmt: skip
    for spelling in spellings:
        try:
            read = read_host(spelling)
        except HostError:
            continue
        assert address.is_public(plain), spelling
        assert read == plain or plain in address.carried(read)  # type: ignore[arg-type]


@given(st.integers(0, 2**128 - 1))
def test_outside_the_global_range_no_ipv6_address_is_public(number: int):
    """2000::/3 is all that is given out."""
    found = IPv6Address(number)
    if number >> 125 != 1:
        assert not may_call(found)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str):
    """No text makes the reader fail in another way, and what it reads, it reads again as the same."""
    try:
        host = read_host(text)
    except HostError:
        return
    assert read_host(str(host)) == host


@pytest.mark.parametrize(
    ("inside", "outside"),
    [
        ("10.255.255.255", "11.0.0.0"), ("10.0.0.0", "9.255.255.255"), ("0.255.255.255", "1.0.0.0"),
        ("100.64.0.0", "100.63.255.255"), ("100.127.255.255", "100.128.0.0"), ("127.0.0.0", "126.255.255.255"),
        ("127.255.255.255", "128.0.0.0"), ("169.254.0.0", "169.253.255.255"), ("169.254.255.255", "169.255.0.0"),
        ("172.16.0.0", "172.15.255.255"), ("172.31.255.255", "172.32.0.0"), ("192.168.0.0", "192.167.255.255"),
        ("192.168.255.255", "192.169.0.0"), ("198.18.0.0", "198.17.255.255"), ("198.19.255.255", "198.20.0.0"),
        ("224.0.0.0", "223.255.255.255"), ("2001:db8:ffff::", "2001:db9::"), ("2001:1ff::", "2001:200::"),
        ("3fff:fff::", "3fff:1000::"), ("1fff::", "2000::"), ("4000::", "3ffe::1"),
    ],
)  # fmt: skip
def test_the_borders_of_the_tables(inside: str, outside: str):
    """The last address that is closed and the first beside it."""
    assert not may_call(ip_address(inside))
    assert may_call(ip_address(outside))


@pytest.mark.parametrize("text", METADATA)
@pytest.mark.parametrize(
    "openings", [ALL_OPEN, read_openings("0.0.0.0/0,::/0"), read_openings("169.254.0.0/16,fd00::/8")]
)
def test_metadata_is_never_opened(text: str, openings: Openings):
    """No setting opens where clouds keep credentials, whatever address carries it."""
    assert not may_call(ip_address(text), openings)


def test_true_opens_what_is_private_and_nothing_else():
    """Loopback, private, carrier-grade NAT, unique local, link-local, single-label names; the rest stays closed."""
    for text in "127.0.0.1 ::1 10.1.2.3 172.16.0.1 192.168.1.1 100.64.0.1 169.254.1.1 fd12::1 fe80::1".split():
        assert may_call(ip_address(text), ALL_OPEN), text
    for (
        text
    ) in "0.0.0.0 192.0.2.1 198.18.0.1 224.0.0.1 240.0.0.1 255.255.255.255 :: ff02::1 fec0::1 2001:db8::1".split():
        assert not may_call(ip_address(text), ALL_OPEN), text
    assert [read_host(name, ALL_OPEN) for name in ("web", "localhost", "0x7f.1")] == [
        "web",
        "localhost",
        ip_address("127.0.0.1"),
    ]
    for name in ("x.local", "x.internal", "a.localhost", "x.onion"):
        with pytest.raises(HostError, match="names under"):
            read_host(name, ALL_OPEN)


def test_a_list_opens_only_what_it_names():
    """Networks and single addresses; no names, except localhost where loopback is named."""
    openings = read_openings("10.20.0.0/16, 127.0.0.1,fd12:3456::/32")
    assert [may_call(ip_address(t), openings) for t in ("10.20.1.1", "127.0.0.1", "fd12:3456::1")] == [True] * 3
    assert [may_call(ip_address(t), openings) for t in ("10.21.0.1", "127.0.0.2", "fd12:3457::1", "::1")] == [False] * 4
    assert read_host("localhost", openings) == "localhost"
    with pytest.raises(HostError):
        read_host("web", openings)
    with pytest.raises(HostError):
        read_host("localhost", read_openings("10.0.0.0/8"))


def test_a_carrier_that_is_opened_opens_nothing_inside():
    """A NAT64 prefix that a list names reaches public IPv4 addresses, not private ones."""
    openings = read_openings("64:ff9b::/96")
    assert may_call(ip_address("64:ff9b::808:808"), openings)
    assert not may_call(ip_address("64:ff9b::a00:1"), openings)


@pytest.mark.parametrize(
    ("text", "read"),
    [("true", ALL_OPEN), ("TRUE", ALL_OPEN), ("1", ALL_OPEN), ("false", CLOSED), ("", CLOSED), ("0", CLOSED)],
)
def test_words_of_the_setting(text: str, read: Openings):
    """True and false as people write them."""
    assert read_openings(text) == read


@pytest.mark.parametrize("text", ["maybe", "10.0.0.0/33", "10.0.0.1/8", "10.0.0.0/8;127.0.0.1", "localhost"])
def test_a_list_that_makes_no_sense_is_refused(text: str):
    """With words that show how one looks."""
    with pytest.raises(ValueError, match=r"true, false, or networks"):
        read_openings(text)

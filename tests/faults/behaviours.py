"""What endpoints do, drawn at random, and what each of it must make of a run: thousands of behaviours and their oracle.

A behaviour is a list of pieces (bytes to send, pauses, how it ends) and the endings that are right for it: usually one,
a few where HTTP leaves a client the choice.
"""

from __future__ import annotations

import gzip
import json
import random
import zlib
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

MEBIBYTE: Final = 1024 * 1024
ANY: Final = object()


@dataclass(frozen=True)
class Ending:
    """What is stored of the run: its state, the class of its error, the HTTP status, its result, whether that is cut."""

    status: str
    error_class: str | None = None
    http_status: int | None = None
    result: Any = ANY
    truncated: bool = False

    def fits(self, run: dict[str, Any], attempt: dict[str, Any]) -> bool:
        """Whether the run ended so."""
        told = (run["status"], run["error_class"], attempt["http_status"], run["result_truncated"])
        wanted = (self.status, self.error_class, self.http_status, self.truncated)
        return told == wanted and (self.result is ANY or run["result"] == self.result)


@dataclass(frozen=True)
class Behaviour:
    """Pieces to send one after the other (a number is a pause), how the connection ends, and what that must lead to."""

    family: str
    pieces: Sequence[bytes | float]
    endings: Sequence[Ending]
    # close: properly; reset: at once; keep: serve the next request; hang: say no more.
    after: str = "close"


def completed(result: Any = ANY, status: int = 200, *, truncated: bool = False) -> Ending:
    """A 2xx."""
    return Ending("completed", None, status, result, truncated)


PROTOCOL: Final = Ending("dead_letter", "protocol")
CONNECTION: Final = Ending("dead_letter", "connection")
TIMED_OUT: Final = Ending("timed_out", "timeout")
BROKEN: Final = (PROTOCOL, CONNECTION)


# Who closes a connection says so, or the next run may already be on it: no fault of any answer.
GOODBYE: Final = {"close": ["Connection: close"], "keep": []}


def head(status: str, *lines: str | bytes) -> bytes:
    """The head of a response."""
    rest = [line if isinstance(line, bytes) else line.encode() for line in lines]
    return b"\r\n".join([f"HTTP/1.1 {status}".encode(), *rest]) + b"\r\n\r\n"


def whole(status: str, body: bytes, *lines: str | bytes) -> bytes:
    """A whole response with its length."""
    return head(status, f"Content-Length: {len(body)}", *lines) + body


def result_of(body: bytes) -> tuple[Any, bool]:
    """What a 2xx body is as a result, by another way than the daemon's."""
    cut = len(body) > MEBIBYTE
    kept = body[:MEBIBYTE]
    if not body:
        return None, False
    if not cut and _is_json(kept):
        return json.loads(kept), False
    try:
        return {"text": kept.decode()}, cut
    except UnicodeDecodeError as error:
        # A character that the cut went through is left out.
        if cut and error.start >= len(kept) - 3 and error.reason == "unexpected end of data":
            return {"text": kept[: error.start].decode()}, True
        return {"base64": b64encode(kept).decode()}, cut


def _is_json(body: bytes) -> bool:
    def refuse(word: str) -> Any:
        raise ValueError(word)

    try:
        value = json.loads(body.decode(), parse_constant=refuse)
    except (ValueError, RecursionError):
        return False
    try:
        # Half of a surrogate pair is no text that could be passed on.
        json.dumps(value, ensure_ascii=False).encode()
    except (UnicodeEncodeError, RecursionError):
        return False
    return _depth(value) <= 128 and not body.startswith(b"\xef\xbb\xbf")


def _depth(value: Any) -> int:
    deepest, level = 0, [value]
    while level:
        inside: list[Any] = []
        for one in level:
            inside += one.values() if isinstance(one, dict) else one if isinstance(one, list) else []
        if any(isinstance(one, dict | list) for one in level):
            deepest += 1
        level = inside
    return deepest


def answered(body: bytes, status: int = 200) -> Ending:
    """The ending of a response with that body."""
    if 200 <= status < 300:
        result, cut = result_of(body)
        return completed(result, status, truncated=cut)
    return Ending("dead_letter", error_class(status), status, None)


def error_class(status: int) -> str:
    """The class of a status that is no 2xx."""
    if status == 429:
        return "rate_limited"
    if status in {401, 403}:
        return "auth"
    return "server" if status >= 500 else "client" if status >= 400 else "redirect"


# -- bodies -----------------------------------------------------------------------------------------------------------

_NUMBERS: Final = ["1e400", "-0", "9" * 4000, "1" + "0" * 300 + ".5", "0.1e-9999", "123456789012345678901234567890"]
_STRINGS: Final = [
    r'"\ud800"',
    r'"\udfff\ud800"',
    r'"\u0000"',
    '"\\n\\t\x7f"',
    r'"\u2028"',
    '"' + "é" * 500 + '"',
    r'"\/"',
]


def _json_body(dice: random.Random) -> bytes:
    value = dice.choice([*_STRINGS, "[]", "{}", "true", "null", " \n 7 ", *(n for n in _NUMBERS if len(n) < 4000)])
    for _ in range(dice.choice([0, 1, 5, 126, 127, 128, 129, 1000])):
        value = dice.choice([f"[{value}]", f'{{"a":{value}}}'])
    return value.encode()


def _odd_body(dice: random.Random) -> bytes:
    return dice.choice([
        b"", b"NaN", b"Infinity", b"{'a': 1}", b"[1,]", b'{"a":1', b"\x00", b"\x00" * 300, b"\xff\xfe{\x00}\x00", b"\xef\xbb\xbf{}",
        b"\xed\xa0\x80", b"\xc0\x80", b"plain words", b"<html></html>", b'{"a":1}{"b":2}', b"\x1b[2J\x07", b'"\t"', b"01", b"1e",
        "\u2028\u202e\U0010ffff".encode(), bytes(range(256)), dice.randbytes(dice.randint(1, 4_000)), b"[" * 5_000, b'"' * 999,
    ])  # fmt: skip


def _long_body(dice: random.Random) -> bytes:
    size = MEBIBYTE + dice.choice([-1, 0, 1, 2, 3, 70_000])
    return dice.choice(
        [b"x" * size, b"\x00" * size, ("é" * size).encode()[:size], b'"' + b"y" * (size - 2) + b'"', b"\xff" * size]
    )


def _body(dice: random.Random) -> bytes:
    return dice.choices([_json_body, _odd_body, _long_body], [6, 6, 1])[0](dice)


# -- families: each draws one behaviour ---------------------------------------------------------------------------------


def plain(dice: random.Random) -> Behaviour:
    """Any status with any body."""
    status = dice.choice([200, 200, 200, 201, 202, 203, 206, 226, 299, dice.randint(200, 999)])
    body = b"" if status in {204, 304} else _body(dice)
    lines: list[str] = dice.choice(
        [[], ["Content-Type: application/json"], ["Content-Type: text/plain; charset=utf-16"]]
    )
    after = dice.choice(["keep", "close"])
    return Behaviour("plain", [whole(f"{status} X", body, *lines, *GOODBYE[after])], [answered(body, status)], after)


def told(dice: random.Random) -> Behaviour:
    """What a response may say about repeating it."""
    status = dice.choice([200, 400, 418, 429, 500, 503])
    no = dice.choice(["no", "NO", " no ", "yes", "maybe", ""])
    after = dice.choice(
        ["0", "-1", "9" * 5_000, "soon", "Wed, 21 Oct 9999 07:28:00 GMT", "Thu, 32 Foo 2020", "1e9", "\xb2", ""]
    )
    lines: list[str | bytes] = [f"X-Strait-Retry: {no}", b"Retry-After: " + after.encode("latin-1")]
    ending = answered(b"{}", status)
    if no.strip().lower() == "no" and status != 200:
        ending = Ending("failed", error_class(status), status, None)
    return Behaviour("told", [whole(f"{status} X", b"{}", *lines)], [ending], "keep")


def redirected(dice: random.Random) -> Behaviour:
    """Redirects, to places where nobody may go."""
    status = dice.choice([300, 301, 302, 303, 305, 307, 308])
    to = dice.choice(
        ["http://169.254.169.254/", "file:///etc/passwd", "//", "http://[::1", "/" * 9_000, "\x7f", "gopher://x"]
    )
    ending = Ending("dead_letter", "redirect", status)
    return Behaviour("redirected", [whole(f"{status} X", b"", f"Location: {to}")], [ending], "keep")


def chunked(dice: random.Random) -> Behaviour:
    """Chunks, with extensions and trailers, in pieces that fit nothing."""
    body = _body(dice)
    sizes = [dice.randint(1, 70_000) for _ in range(200)]
    parts, rest = [], body
    for size in sizes:
        if rest:
            extension = dice.choice([b"", b";a=b", b';a="b"'])
            parts.append(b"%x%s\r\n%s\r\n" % (len(rest[:size]), extension, rest[:size]))
            rest = rest[size:]
    trailers = dice.choice([b"", b"", b"X-Trailer: 1\r\n", b"Content-Length: 5\r\n"])
    after = dice.choice(["keep", "close"])
    stream = (
        head("200 OK", "Transfer-Encoding: chunked", *GOODBYE[after]) + b"".join(parts) + b"0\r\n" + trailers + b"\r\n"
    )
    if rest:
        stream = whole("200 OK", body, *GOODBYE[after])
    at = dice.randint(1, len(stream))
    # A length that comes behind the chunks may be taken for an attack.
    endings = [answered(body), PROTOCOL] if b"Length: 5" in stream else [answered(body)]
    return Behaviour("chunked", [stream[:at], 0.001, stream[at:]], endings, after)


def bad_chunks(dice: random.Random) -> Behaviour:
    """Chunks that are none."""
    bad = dice.choice([
        b"zz\r\nabc\r\n0\r\n\r\n", b"-1\r\nabc\r\n", b"3\r\nabcdef\r\n0\r\n\r\n", b"ffffffffffffffffff\r\nabc", b"\r\n\r\n",
        b"0x3\r\nabc\r\n0\r\n\r\n", b"5 \x00\r\nabcde\r\n0\r\n\r\n",
    ])  # fmt: skip
    begun = head("200 OK", "Transfer-Encoding: chunked")
    pieces: list[bytes | float] = dice.choice([[begun + bad], [begun, 0.01, bad], [begun + b"2\r\n[1\r\n", 0.01, bad]])
    return Behaviour("bad_chunks", pieces, BROKEN, dice.choice(["close", "keep"]))


def wrong_length(dice: random.Random) -> Behaviour:
    """A length that is too long, or no length at all."""
    body = b'{"a":1}'
    kind = dice.choice(["short", "short", "words", "negative", "two", "both"])
    line = {
        "words": "Content-Length: seven",
        "negative": "Content-Length: -7",
        "two": "Content-Length: 7\r\nContent-Length: 8",
    }
    if kind == "short":
        promised = len(body) + dice.choice([1, 1000, 2**31, 2**63 - 1])
        return Behaviour("wrong_length", [head("200 OK", f"Content-Length: {promised}") + body], [PROTOCOL, CONNECTION])
    if kind == "both":
        both = (
            head("200 OK", "Content-Length: 3", "Transfer-Encoding: chunked", *GOODBYE["close"])
            + b"7\r\n"
            + body
            + b"\r\n0\r\n\r\n"
        )
        return Behaviour("wrong_length", [both], [PROTOCOL, completed({"a": 1})])
    return Behaviour("wrong_length", [head("200 OK", line[kind]) + body], [PROTOCOL])


def more_than_said(dice: random.Random) -> Behaviour:
    """Bytes after the response's end, another response even: whoever calls next must not hear them."""
    poison = whole("599 POISON", b"poison")
    extra = dice.choice([poison, poison * 3, b"x" * 100, b"\r\n" + poison, poison[:-3]])
    # The answer before it counts, or cannot be trusted any more.
    endings = [completed({"a": 1}), PROTOCOL, CONNECTION]
    return Behaviour("more_than_said", [whole("200 OK", b'{"a":1}') + extra], endings, "keep")


def until_closed(dice: random.Random) -> Behaviour:
    """A body that ends with the connection."""
    body = _body(dice)
    version = dice.choice(
        [b"HTTP/1.0 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", b"HTTP/1.1 200 \r\n\r\n"]
    )
    return Behaviour("until_closed", [version + body], [answered(body)])


def packed(dice: random.Random) -> Behaviour:
    """Compressed, some of it to a thousandth."""
    name = dice.choice(["gzip", "deflate", "x-unknown", "identity"])
    body = dice.choice([_body(dice), b"a" * dice.choice([2, 20]) * MEBIBYTE, b"\x00" * 30 * MEBIBYTE])
    if name in {"x-unknown", "identity"}:
        body = body[:1000]
    squeezed = gzip.compress(body) if name == "gzip" else zlib.compress(body) if name == "deflate" else body
    return Behaviour("packed", [whole("200 OK", squeezed, f"Content-Encoding: {name}")], [answered(body)], "keep")


def badly_packed(dice: random.Random) -> Behaviour:
    """Not what its encoding says."""
    good = gzip.compress(b"x" * 10_000)
    body = dice.choice([b"not packed at all", good[: len(good) // 2] + b"\xff" * 40, b"\x1f\x8b\x08" + b"\xee" * 60])
    encoding = dice.choice(["gzip", "br", "zstd", "deflate"])
    return Behaviour("badly_packed", [whole("200 OK", body, f"Content-Encoding: {encoding}")], [PROTOCOL])


def cut_off(dice: random.Random) -> Behaviour:
    """The connection ends, kindly or not, anywhere in the response."""
    stream = whole("200 OK", b"z" * dice.choice([10, 100_000]), "X-Some: header")
    at = dice.choice([0, 1, 5, 12, 16, 20, 40, len(stream) // 2, len(stream) - 1])
    return Behaviour("cut_off", [stream[:at]], BROKEN, dice.choice(["close", "reset"]))


def no_http(dice: random.Random) -> Behaviour:
    """Bytes that are no HTTP/1 response."""
    noise = dice.choice([
        b"<html>HTTP/0.9</html>\r\n", b"\x15\x03\x01\x00\x02\x02\x28", b"SSH-2.0-OpenSSH_9\r\n", b"ICY 200 OK\r\n\r\n", b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n", b"HTTP/1.1 20 OK\r\n\r\n", b"HTTP/1.1 2000 OK\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x00" * 500,
        dice.randbytes(200), b"\r\n\r\n\r\n", b"HTTP/x.y 200 OK\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"A" * 100_000,
    ])  # fmt: skip
    return Behaviour("no_http", [noise], BROKEN, dice.choice(["close", "reset"]))


def headers(dice: random.Random) -> Behaviour:
    """Too many headers, too long ones, and lines that are none."""
    kind = dice.choice(["many", "long", "line", "bad", "odd"])
    body = b'{"a":1}'
    if kind == "many":
        lines: list[str | bytes] = [f"X-{n}: y" for n in range(dice.choice([300, 5_000]))]
        return Behaviour("headers", [whole("200 OK", body, *lines)], [PROTOCOL])
    if kind == "long":
        return Behaviour(
            "headers", [whole("200 OK", body, "X-Long: " + "y" * dice.choice([20_000, 2_000_000]))], BROKEN
        )
    if kind == "line":
        return Behaviour("headers", [whole("200 " + "O" * dice.choice([20_000, 1_000_000]), body)], BROKEN)
    if kind == "bad":
        line = dice.choice([b"no colon", b"X Y: z", b": z", b"X-N\x00L: z", b"X: \x00", b"\xff\xfe: z"])
        return Behaviour("headers", [whole("200 OK", body, line)], [PROTOCOL])
    line = dice.choice(
        [b"X-Latin: caf\xe9", b"X-Utf: \xe2\x82\xac", b"X-Empty:", b"Set-Cookie: a=b; Domain=evil", b"Connection: x, y"]
    )
    return Behaviour("headers", [whole("200 OK", body, line)], [completed({"a": 1})], "keep")


def interim(dice: random.Random) -> Behaviour:
    """1xx responses before the real one; many of them."""
    flood = dice.choice([head("100 Continue"), head("103 Early Hints", "Link: </x>"), head("102 Processing")])
    return Behaviour("interim", [flood * dice.choice([1, 3, 50]), whole("200 OK", b"1")], [completed(1)], "keep")


def empty(dice: random.Random) -> Behaviour:
    """Responses without a body, whatever they say."""
    status = dice.choice([204, 304])
    lines = dice.choice([[], ["Content-Length: 0"], ["Content-Type: application/json"]])
    return Behaviour("empty", [head(f"{status} X", *lines)], [answered(b"", status)], "keep")


def dripping(dice: random.Random) -> Behaviour:
    """Byte by byte, but in time."""
    stream = whole("200 OK", b'{"slow": true}')
    at = dice.randrange(len(stream) - 8)
    drops: list[bytes | float] = [stream[:at]]
    for byte in stream[at : at + 8]:
        drops += [0.005, bytes([byte])]
    return Behaviour("dripping", [*drops, stream[at + 8 :]], [completed({"slow": True})], "keep")


def hanging(dice: random.Random) -> Behaviour:
    """Says nothing more at some point, or drips on for ever."""
    stream = whole("200 OK", b"w" * 5_000)
    at = dice.choice([0, 3, 20, 40, len(stream) - 1])
    drip: list[bytes | float] = [0.2, b"w"] * 100 if at > 40 and dice.random() < 0.5 else []
    if drip:
        return Behaviour("hanging", [head("200 OK", "Content-Length: 5000"), *drip], [TIMED_OUT], "hang")
    return Behaviour("hanging", [stream[:at]], [TIMED_OUT], "hang")


FAMILIES: Final[Sequence[tuple[Callable[[random.Random], Behaviour], int]]] = [
    (plain, 20), (told, 8), (redirected, 4), (chunked, 10), (bad_chunks, 6), (wrong_length, 6), (more_than_said, 6),
    (until_closed, 6), (packed, 4), (badly_packed, 4), (cut_off, 8), (no_http, 8), (headers, 8), (interim, 4), (empty, 4),
    (dripping, 3),
]  # fmt: skip


def draw(count: int, seed: int) -> list[Behaviour]:
    """So many behaviours, each family in proportion; one in fifty hangs until its time is over."""
    dice = random.Random(seed)
    weights = [weight for _, weight in FAMILIES]
    makers = dice.choices([make for make, _ in FAMILIES], weights, k=count - count // 50)
    drawn = [make(dice) for make in makers] + [hanging(dice) for _ in range(count // 50)]
    dice.shuffle(drawn)
    return drawn

"""From an endpoint's answer to an outcome and a result: pure, and never at a loss.

Any bytes an endpoint can send end in a result or an error that PostgreSQL stores and a terminal can show.
"""

from __future__ import annotations

import codecs
import re
from base64 import b64encode
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, NamedTuple, assert_never

import msgspec

from strait_core.retry import parse_retry_after
from strait_core.run import Outcome, OutcomeKind
from strait_core.schema import Judge
from strait_daemon.egress.client import Answer, EgressError

MAX_ERROR: Final = 1_000
MAX_DEPTH: Final = 128
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
# Braces become brackets, and all else goes.
_ONE_KIND: Final = bytes.maketrans(b"{}", b"[]")
_OTHERS: Final = bytes(set(range(256)) - set(b"[]{}"))
_SUCCESS: Final = Outcome(OutcomeKind.SUCCESS)
_NULL: Final = "null"
_UNREACHABLE: Final = frozenset({"dns", "tls", "connection"})
_FAILURES: Final = _UNREACHABLE | {"protocol", "server"}
_Utf8: Final = codecs.getincrementaldecoder("utf-8")
_json: Final = msgspec.json.Decoder(msgspec.Raw)


class Ending(NamedTuple):
    """How an attempt ended: the outcome, what is stored of it, and how long the endpoint asked to be left alone."""

    outcome: Outcome
    result: str | None = None
    truncated: bool = False
    http_status: int | None = None
    error_class: str | None = None
    error: str | None = None
    retry_after: timedelta | None = None


def of_answer(answer: Answer, never_retry: frozenset[int], now: Callable[[], datetime]) -> Ending:
    """The ending that an HTTP answer means; `now` is asked only when the answer names a date."""
    status = answer.status
    if 200 <= status < 300:
        result, truncated = _result(answer)
        return Ending(_SUCCESS, result=result, truncated=truncated, http_status=status)
    told_not_to = answer.headers.get("X-Strait-Retry", "").strip().lower() == "no"
    return Ending(
        Outcome(OutcomeKind.ERROR, final=told_not_to or status in never_retry),
        http_status=status,
        error_class=_class_of(status),
        error=clean(f"HTTP {status}: {answer.body[:MAX_ERROR].decode('utf-8', 'replace').strip() or 'no body'}"),
        retry_after=parse_retry_after(answer.headers.get("Retry-After"), now()),
    )


def judged(ending: Ending, judge: Judge | None) -> Ending:
    """A success whose result is not as the job's schema says is an error, retried like any other."""
    if judge is None or ending.result is None:
        return ending
    faults = judge.faults("", ending.result)
    if not faults:
        return ending
    said = "; ".join(f"{fault.pointer or 'the result'}: {fault.message}" for fault in faults)
    return Ending(
        Outcome(OutcomeKind.ERROR),
        http_status=ending.http_status,
        error_class="result_schema",
        error=clean(f"result_schema: {said}"),
    )


def of_error(error: EgressError) -> Ending:
    """The ending of an attempt that got no answer; an address that may not be called is not tried again."""
    return Ending(
        Outcome(OutcomeKind.ERROR, final=error.kind == "ssrf"),
        error_class=error.kind,
        error=clean(f"{error.kind} error: {error}"),
    )


def asks_fallback(ending: Ending) -> bool:
    """Whether the endpoint left the work to be done elsewhere: nobody could be reached, or it has no room (429).

    An endpoint that has the request and is slow, answers badly or says no may be doing the work.
    """
    return not ending.outcome.final and (ending.http_status == 429 or ending.error_class in _UNREACHABLE)


def speaks_well(ending: Ending) -> bool | None:
    """Whether the endpoint is there and works; None when the ending says nothing of that.

    An endpoint that says no (4xx), or too much (429), is well. Our own faults, lost workers and addresses that may not
    be called say nothing.
    """
    match ending.outcome.kind:
        case OutcomeKind.SUCCESS:
            return True
        case OutcomeKind.TIMEOUT:
            return False
        case OutcomeKind.ERROR:
            return None if ending.error_class == "ssrf" else ending.error_class not in _FAILURES
        case OutcomeKind.LOST | OutcomeKind.FAULT:
            return None
        case _:
            assert_never(ending.outcome.kind)


def at_fallback(ending: Ending, why: str) -> Ending:
    """An ending that the fallback made; its error tells of both."""
    if ending.error is None:
        return ending
    return _adding(ending, f" (at the fallback; the endpoint itself: {why[: MAX_ERROR // 3]})")


def given_up(ending: Ending, streak: int) -> Ending:
    """An ending after which the run is not tried again, because its error comes every time."""
    return _adding(ending, f" (given up: the same error {streak} times in a row)")


def _adding(ending: Ending, said: str) -> Ending:
    return ending._replace(error=(ending.error or "")[: MAX_ERROR - len(said)] + said)


def of_timeout(timeout_secs: int) -> Ending:
    """The ending of an attempt whose time ran out."""
    return Ending(
        Outcome(OutcomeKind.TIMEOUT), error_class="timeout", error=f"timeout: no answer within {timeout_secs} s"
    )


def of_loss(reason: str) -> Ending:
    """The ending of an attempt whose worker was cut off, so that nobody knows what its endpoint did."""
    return Ending(Outcome(OutcomeKind.LOST), error_class="lost", error=f"lost: {reason}")


def of_fault(error: Exception) -> Ending:
    """The ending of an attempt that failed through our own fault."""
    return Ending(
        Outcome(OutcomeKind.FAULT), error_class="system", error=clean(f"system: {type(error).__name__}: {error}")
    )


def clean(text: str) -> str:
    """One line of at most 1,000 characters, without control characters."""
    return _CONTROL.sub(" ", text)[:MAX_ERROR]


def _class_of(status: int) -> str:
    if status == 429:
        return "rate_limited"
    if status in {401, 403}:
        return "auth"
    if status >= 500:
        return "server"
    return "client" if status >= 400 else "redirect"


def _result(answer: Answer) -> tuple[str, bool]:
    """A response body as JSON text: JSON as it is, nothing as null, else wrapped as text or base 64."""
    body = answer.body
    if not body:
        return _NULL, answer.truncated
    try:
        # A body cut at its bound may end inside a character, which is left out.
        text = _Utf8("strict").decode(body) if answer.truncated else body.decode()
    except UnicodeDecodeError:
        return msgspec.json.encode({"base64": b64encode(body).decode()}).decode(), answer.truncated
    if not answer.truncated and is_sound_json(body):
        return text, False
    return msgspec.json.encode({"text": text}).decode(), answer.truncated


def is_sound_json(body: bytes) -> bool:
    """Whether the bytes are one JSON value, nested at most 128 deep."""
    try:
        _json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return False
    if body.count(b"{") + body.count(b"[") <= MAX_DEPTH:
        return True
    # What is sound is cut at its quotes once no escape is left, so that every other part is no string. Each round takes
    # the innermost brackets out: a loop over a mebibyte of them would hold everybody up.
    brackets = b"".join(body.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2]).translate(_ONE_KIND, _OTHERS)
    for _ in range(MAX_DEPTH):
        brackets = brackets.replace(b"[]", b"")
        if not brackets:
            return True
    return False

"""The one mapping from errors to HTTP: RFC 9457 problems with stable codes."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from msgspec import UNSET

from strait_core.errors import (
    AuthError,
    BudgetError,
    ConflictError,
    DeadlineError,
    ForbiddenError,
    GoneError,
    HeadTooLargeError,
    MethodNotAllowedError,
    NotFoundError,
    PreconditionError,
    RateLimitedError,
    StraitError,
    TooLargeError,
    UnavailableError,
    UnsupportedMediaError,
    ValidationError,
)
from strait_core.store.faults import Broken
from strait_core.wire import FaultItem, Problem
from strait_daemon.api.operation import PROBLEM, Headers, Reply, encode
from strait_daemon.api.strict import MOST_FAULTS

STATUSES: Final[Mapping[type[StraitError], int]] = {
    AuthError: 401,
    ForbiddenError: 403,
    NotFoundError: 404,
    MethodNotAllowedError: 405,
    DeadlineError: 408,
    ConflictError: 409,
    GoneError: 410,
    PreconditionError: 412,
    TooLargeError: 413,
    UnsupportedMediaError: 415,
    ValidationError: 422,
    BudgetError: 429,
    HeadTooLargeError: 431,
    RateLimitedError: 429,
    UnavailableError: 503,
}
INTERNAL: Final = "internal"
RETRY_SECS: Final = 1.0
MAX_DETAIL: Final = 2_000


def problem(error: StraitError, request_id: str, headers: Headers = ()) -> Reply:
    """The answer to an error that Strait raised on purpose."""
    status = next((STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES), 500)
    if status == 500:
        return internal(request_id)
    if isinstance(error, RateLimitedError | UnavailableError):
        wait = error.retry_after if error.retry_after is not None else RETRY_SECS
        headers = (*headers, (b"retry-after", b"%d" % max(1, round(wait))))
    if isinstance(error, AuthError):
        headers = (*headers, (b"www-authenticate", b"Bearer"))
    if isinstance(error, TooLargeError | DeadlineError):
        # Part of the body may never have been read; what follows on the connection would be taken for a request.
        headers = (*headers, (b"connection", b"close"))
    body = Problem(
        type=f"/docs#{error.code}",
        title=HTTPStatus(status).phrase,
        status=status,
        code=error.code,
        detail=_cut(error.message),
        request_id=request_id,
        hint=error.hint,
        errors=_items(error),
    )
    return Reply(status, encode(body), PROBLEM, headers)


def _items(error: StraitError) -> list[FaultItem]:
    if not isinstance(error, ValidationError):
        return UNSET  # type: ignore[return-value]  # absent unless the input is at fault
    return [FaultItem(pointer=fault.pointer, message=fault.message) for fault in error.faults[:MOST_FAULTS]]


def _cut(text: str) -> str:
    return text if len(text) <= MAX_DETAIL else f"{text[:MAX_DETAIL]} …"


def internal(request_id: str) -> Reply:
    """The answer to a fault of our own: nothing of what went wrong, only where to find it in the log."""
    body = Problem(
        type=f"/docs#{INTERNAL}",
        title=HTTPStatus.INTERNAL_SERVER_ERROR.phrase,
        status=500,
        code=INTERNAL,
        detail="the server failed to answer; its log has the reason under this request id",
        request_id=request_id,
    )
    return Reply(500, encode(body), PROBLEM)


def known_error(error: Exception) -> StraitError | None:
    """An error that stands for one of ours: the database is away, or cannot take more now."""
    if isinstance(error, StraitError):
        return error
    if isinstance(error, (*Broken, TimeoutError)):
        return UnavailableError(
            "the database does not answer now", hint="try again in a moment", retry_after=RETRY_SECS
        )
    return None

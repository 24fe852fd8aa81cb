"""Every error Strait raises on purpose, in one tree.

    StraitError                  code
    ├── UsageError               usage                   the command line is wrong
    ├── ConfigError              config                  settings, files, environment
    ├── AuthError                unauthenticated         no or bad credential
    ├── ForbiddenError           forbidden               a good credential, for something else
    ├── NotFoundError            not_found
    ├── ConflictError            conflict                the object's state forbids it
    │   └── PreconditionError    precondition_failed     it is no longer what If-Match names
    ├── GoneError                gone                    what the credential spoke for is over
    ├── ValidationError          validation              the input is wrong; carries every fault
    ├── TooLargeError            too_large               a body over its bound
    │   └── HeadTooLargeError    head_too_large          a request line with its headers over theirs
    ├── UnsupportedMediaError    unsupported_media_type
    ├── MethodNotAllowedError    method_not_allowed
    ├── RateLimitedError         rate_limited            carries retry_after
    │   └── BudgetError          budget_exceeded         there is no money left
    ├── UnavailableError         unavailable             server, network or database; carries retry_after
    ├── RunFailedError           run_not_completed       the watched run did not succeed
    ├── PartialError             partial                 some of a bulk was done
    └── DeadlineError            timeout                 a wait ran out

Errors are raised here and in the shells, and mapped once to HTTP (`strait_daemon/api/app.py`) and once to exit codes
(`strait_cli/main.py`). No message may carry a secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with an input: a JSON pointer (`""` = the whole body) and what to do about it."""

    pointer: str
    message: str


def escape_pointer(token: str) -> str:
    """One token of a JSON pointer (RFC 6901 §3)."""
    return token.replace("~", "~0").replace("/", "~1")


class StraitError(Exception):
    """Something went wrong that a person can act on: `message` says what and why, `hint` what to do next."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(StraitError):
    """The command line cannot be understood."""

    code = "usage"


class ConfigError(StraitError):
    """A setting, a file or the environment keeps the program from starting."""

    code = "config"


class AuthError(StraitError):
    """The request carries no credential, or a wrong one."""

    code = "unauthenticated"


class ForbiddenError(StraitError):
    """The credential is good, but speaks for something else."""

    code = "forbidden"


class GoneError(StraitError):
    """What the credential spoke for is over."""

    code = "gone"


class NotFoundError(StraitError):
    """The named thing does not exist, or not for this credential."""

    code = "not_found"


class ConflictError(StraitError):
    """The thing exists, but its present state forbids the operation."""

    code = "conflict"


class PreconditionError(ConflictError):
    """The thing has changed since the caller looked."""

    code = "precondition_failed"


class ValidationError(StraitError):
    """The input is wrong; `faults` lists every semantic fault at once."""

    code = "validation"

    def __init__(self, faults: list[Fault], message: str | None = None, *, hint: str | None = None) -> None:
        super().__init__(message or _summary(faults), hint=hint)
        self.faults = faults


class TooLargeError(StraitError):
    """A body is longer than its bound."""

    code = "too_large"


class HeadTooLargeError(TooLargeError):
    """The request line and the headers are longer than their bound."""

    code = "head_too_large"


class UnsupportedMediaError(StraitError):
    """A body that is not JSON."""

    code = "unsupported_media_type"


class MethodNotAllowedError(StraitError):
    """The path exists, the method on it does not."""

    code = "method_not_allowed"


class _RetryableError(StraitError):
    """An error after which trying again makes sense; `retry_after` is in seconds, None = no advice."""

    def __init__(self, message: str, *, hint: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class RateLimitedError(_RetryableError):
    """Too many requests; try again after `retry_after` seconds."""

    code = "rate_limited"


class BudgetError(RateLimitedError):
    """A run, or its project, has spent all that it may."""

    code = "budget_exceeded"


class UnavailableError(_RetryableError):
    """The server, the network or the database cannot answer now."""

    code = "unavailable"


class RunFailedError(StraitError):
    """The watched run ended in a state other than completed."""

    code = "run_not_completed"


class PartialError(StraitError):
    """Only a part of a bulk operation was done."""

    code = "partial"


class DeadlineError(StraitError):
    """A wait ended before what it waited for."""

    code = "timeout"


def _summary(faults: list[Fault]) -> str:
    """Faults as one line: `name: must not be empty; timeout_secs: must be …`."""
    return "; ".join(f"{f.pointer.lstrip('/') or 'body'}: {f.message}" for f in faults)

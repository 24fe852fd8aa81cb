"""What every body shares: how a request is read, how a list is paged, how a fault is told."""

from __future__ import annotations

from typing import Generic, TypeVar

from msgspec import UNSET, Struct, UnsetType

T = TypeVar("T")


class Request(Struct, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """A request body; every field may be absent unless its type says otherwise."""


class Page(Struct, Generic[T], kw_only=True):
    """One page of a list, newest first; `next_cursor` is null on the last."""

    data: list[T]
    next_cursor: str | None


class FaultItem(Struct, kw_only=True):
    """One entry of a problem's `errors`: a JSON pointer and a message."""

    pointer: str
    message: str


class Problem(Struct, kw_only=True):
    """An error body (RFC 9457, application/problem+json) with a stable `code`."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str
    hint: str | None = None
    errors: list[FaultItem] | UnsetType = UNSET

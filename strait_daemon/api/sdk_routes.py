"""The routes of the SDK, as data: what an endpoint may do with the run token of its attempt."""

from __future__ import annotations

from typing import Any, Final

from strait_daemon.api import sdk
from strait_daemon.api.operation import Operation

SDK: Final = "/sdk/v1/runs/{run}"


def of_attempt(method: str, end: str, **rest: Any) -> Operation:
    """An operation that takes the run token of a live attempt."""
    return Operation(method=method, path=SDK + end, tag="sdk", by_token=True, **rest)


ROUTES: Final = (
    of_attempt(
        "GET",
        "/payload",
        handle=sdk.get_payload,
        name="sdkGetPayload",
        summary="Read the run's payload, as it was sent.",
        returns=Any,
    ),
)

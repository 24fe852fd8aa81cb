"""The OpenAPI document and a page that shows it, served from the package itself."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any, Final

from strait_daemon.api.context import Api
from strait_daemon.api.openapi import document
from strait_daemon.api.operation import Call, Handler, Headers, Operation, Reply, encode

PAGE_POLICY: Final[Headers] = (
    (
        b"content-security-policy",
        (
            b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self';"
            b" frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
        ),
    ),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-cache"),
)


@cache
def _asset(name: str) -> bytes:
    return files("strait_daemon.api").joinpath("assets", name).read_bytes()


def _page(name: str, media: str) -> Handler:
    async def show(_: Api, __: Call) -> Reply:
        return Reply(200, _asset(name), media.encode(), PAGE_POLICY)

    return show


@cache
def _document(version: str, metrics_public: bool) -> bytes:
    # Imported late: the route table has this module's own routes in it.
    from strait_daemon.api.routes import all_routes  # noqa: PLC0415

    return encode(document(all_routes(metrics_public=metrics_public), version))


async def openapi(api: Api, _: Call) -> Reply:
    """GET /openapi.json."""
    return Reply(200, _document(api.deps.version, api.deps.metrics_public))


def _asset_route(path: str, name: str, media: str) -> Operation:
    return Operation(
        method="GET",
        path=path,
        handle=_page(name, media),
        name=f"get:{path}",
        summary="",
        returns=str,
        media=media,
        secured=False,
        listed=False,
    )


ROUTES: Final = (
    Operation(
        method="GET",
        path="/openapi.json",
        handle=openapi,
        name="getOpenApi",
        summary="This document.",
        tag="ops",
        returns=dict[str, Any],
        secured=False,
    ),
    _asset_route("/docs", "docs.html", "text/html; charset=utf-8"),
    _asset_route("/docs/docs.js", "docs.js", "text/javascript; charset=utf-8"),
    _asset_route("/docs/docs.css", "docs.css", "text/css; charset=utf-8"),
)

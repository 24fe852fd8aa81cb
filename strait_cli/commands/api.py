"""`strait api`: any request to the API, with the settings in force."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Final

import typer

from strait_cli import body, exact
from strait_cli.session import Session
from strait_cli.verbs import leaf, verb
from strait_core.errors import StraitError, UsageError

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD")

app = leaf()


@verb(
    app,
    "api",
    examples=(
        "strait api /v1/stats",
        "strait api GET /v1/runs --query status=failed --query limit=5 --jq '.data[].id'",
        "strait api POST /v1/jobs/hello-world/trigger --set payload.greeting=hi",
        "strait api PATCH /v1/jobs/hello-world --data @change.json",
        "strait api /v1/runs --paginate -o jsonl",
    ),
)
def api(
    session: Session,
    method: Annotated[
        str, typer.Argument(metavar="METHOD", help="GET, POST, PUT, PATCH, DELETE; or the path at once.")
    ],
    path: Annotated[str | None, typer.Argument(metavar="PATH", help="What follows the server: /v1/jobs.")] = None,
    *,
    data: Annotated[
        str | None, typer.Option("--data", "-d", metavar="JSON", help="The body: JSON, @file or - (as it is).")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="A.B=VALUE", help="Set one value of the body; repeatable.")
    ] = None,
    query: Annotated[
        list[str] | None, typer.Option("--query", metavar="NAME=VALUE", help="A query parameter; repeatable.")
    ] = None,
    paginate: Annotated[bool, typer.Option("--paginate", help="Follow a list to its end, as one list.")] = False,
) -> None:
    """Send one request and print the answer as JSON.

    Without METHOD it is a GET, or a POST when there is a body. A POST carries an Idempotency-Key and is repeated like
    any other command's.
    """
    content = body.payload_text(data, set_ or [], edit=False, flag="--data")
    verb_, place = _target(method, path, has_body=content is not None)
    parameters = _parameters(query or [])
    if session.given.get("format") is None:
        # What has no columns has no table.
        session.given = {**session.given, "format": "json"}
    if paginate:
        if verb_ != "GET":
            raise UsageError("--paginate goes with a GET")
        from strait_cli.client import MOST_PAGES, PAGE  # noqa: PLC0415 - requests, not help

        pages = session.api.pages(place, parameters, limit=MOST_PAGES * PAGE)
        session.out.items(pages, (), name="id")
        return
    sent = None if content is None else content.encode()
    key = str(uuid.uuid4()) if verb_ == "POST" else None
    _show(session, session.api.send(verb_, place, query=parameters, body=sent, key=key))


def _target(method: str, path: str | None, *, has_body: bool) -> tuple[str, str]:
    """Method and path; the path alone will do."""
    if path is None:
        method, path = ("POST" if has_body else "GET"), method
    name = method.upper()
    if name not in METHODS:
        raise UsageError(f'"{method}" is no method', hint=f"one of {', '.join(METHODS)}")
    if not path.startswith("/") or path.startswith("//"):
        # A whole URL would take the key to whatever server it names.
        raise UsageError(
            f'"{path}" is no path of the API', hint="begin with a slash: /v1/jobs; --server names the server"
        )
    if path.partition("?")[0].endswith("/stream"):
        raise UsageError("a stream does not end", hint="strait runs watch RUN -o jsonl")
    return name, path


def _parameters(texts: list[str]) -> dict[str, Any]:
    """Query parameters; a name that comes again is sent again."""
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"--query {text}: not NAME=VALUE")
        found[name] = [*found[name], value] if name in found else [value]
    return found


def _show(session: Session, answer: Any) -> None:
    if not answer.content:
        session.out.note(f"HTTP {answer.status_code}, nothing to show")
        return
    if "json" not in answer.headers.get("content-type", ""):
        session.out.drawing(answer.text)
        return
    try:
        shown = exact.loads(answer.content)
    except ValueError as error:
        raise StraitError(f"the answer is not JSON: {error}") from error
    if isinstance(shown, dict):
        session.out.item(shown)
    else:
        session.out.items(shown, ())


APPS: Final = {"api": app}

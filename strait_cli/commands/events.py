"""`strait events`: what runs wait for, and what was sent."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from strait_cli import body
from strait_cli.columns import SENT_EVENT
from strait_cli.commands.trigger import request_of
from strait_cli.paths import path_of
from strait_cli.refs import event_ref
from strait_cli.session import Session
from strait_cli.verbs import noun, verb

Event = Annotated[str, typer.Argument(metavar="EVENT", help="The event's key, its id or a unique prefix of that.")]

app = noun("See what runs wait for, and send it.")


@verb(
    app,
    "list",
    examples=("strait events list --status waiting", "strait events list --prefix order: -o json"),
)
def list_events(
    session: Session,
    status: Annotated[
        str | None,
        typer.Option("--status", help="waiting, received or canceled.", metavar="STATUS", show_default=False),
    ] = None,
    prefix: Annotated[
        str | None, typer.Option("--prefix", help="Only keys that begin so.", metavar="TEXT", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.", metavar="N")] = 50,
) -> None:
    """List events that runs wait for or that were sent within a day, newest first."""
    wanted = {"status": status, "prefix": prefix}
    filters = {name: value for name, value in wanted.items() if value is not None}
    pages = session.api.pages("/v1/events", filters, limit=limit)
    session.out.items(pages, SENT_EVENT)
    session.more(pages)


@verb(app, "get", examples=("strait events get order:42 --project shop",))
def get(session: Session, event: Event) -> None:
    """Show an event: who waits for it, or what came."""
    session.out.item(session.api.get(path_of("events", event_ref(session.api, event))), SENT_EVENT)


@verb(
    app,
    "send",
    examples=(
        "strait events send order:42 --payload '{\"paid\": true}' --project shop",
        "strait events send order:42 --set paid=true --project shop",
        "strait events send order: --by-prefix --project shop",
    ),
)
def send(
    session: Session,
    key: Annotated[str, typer.Argument(metavar="KEY", help="The event's key.")],
    payload: Annotated[
        str | None, typer.Option("--payload", help="JSON, @file or -.", metavar="JSON", show_default=False)
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", help="Set one value in the payload: a.b=1.", metavar="PATH=VALUE", show_default=False),
    ] = None,
    *,
    edit: Annotated[bool, typer.Option("--edit", help="Write the payload in your editor.")] = False,
    by_prefix: Annotated[bool, typer.Option("--by-prefix", help="To every awaited key that begins with KEY.")] = False,
) -> None:
    """Send an event to the runs that wait for it, and to those that begin to within a day.

    The same payload again is the same event; another payload under the key is refused for a day.
    """
    text = body.payload_text(payload, sets or (), edit=edit)
    where = path_of("events", "prefix", key, "send") if by_prefix else path_of("events", key, "send")
    sent = session.api.post(where, request_of({}, text))
    if not by_prefix:
        session.out.item(sent, SENT_EVENT, row=True)
        session.out.note(f"delivered: {sent['delivered']}, on its way: {sent['waits']}")
        return
    session.out.items(sent["data"], SENT_EVENT)
    for conflict in sent["conflicts"]:
        session.out.note(f"event {conflict} was sent within a day with another payload; it stays")


@verb(app, "cancel", examples=("strait events cancel order:42 --project shop",))
def cancel(session: Session, event: Event) -> None:
    """Tell the runs that wait for an event that it will not come; they go on."""
    path = path_of("events", event_ref(session.api, event), "cancel")
    session.out.item(session.api.post(path), SENT_EVENT, row=True)


APPS: Final = {"events": app}

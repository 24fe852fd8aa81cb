"""One deed to many runs, or workflow runs, in one request: which are meant, which are left and why, and a dry run.

A call is one transaction over at most a page of them, so no lock is held for longer than that takes; a filter goes
through any number of them page by page.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, Protocol, TypeVar
from uuid import UUID

from msgspec import UNSET, Struct

from strait_core import ids
from strait_core.errors import Fault, ValidationError
from strait_core.ids import Prefix
from strait_core.store.idempotency import Scope
from strait_core.store.pool import Conn
from strait_core.store.workflow_live import Brought
from strait_core.wire.bulk import Skipped
from strait_daemon.api import query
from strait_daemon.api.context import Api
from strait_daemon.api.idempotency import answered_once
from strait_daemon.api.operation import Call, Reply, reply
from strait_daemon.api.turns import retried, wait_briefly

SAMPLE: Final = 10
W = TypeVar("W")
W_contra = TypeVar("W_contra", contravariant=True)
P = TypeVar("P", bound="Place")


class Place(Protocol):
    """Where one of them stands."""

    @property
    def status(self) -> str:
        """Its state."""

    @property
    def project_id(self) -> str:
        """Whose it is."""


class Select(Protocol[W_contra]):
    """Ids of those that a filter chooses, newest first, older than `before`."""

    async def __call__(self, conn: Conn, where: W_contra, *, limit: int, before: UUID | None) -> Sequence[UUID]:
        """Read them."""


@dataclass(frozen=True, slots=True)
class Kind(Generic[P, W]):
    """What the many are: what they are called, how many a call takes, where they stand and how they are shown.

    `narrow` turns what a filter says of them into what the store asks for; it is given a filter without faults.
    """

    prefix: Prefix
    noun: str
    most_ids: int
    page: int
    places: Callable[[Conn, Sequence[UUID]], Awaitable[Mapping[UUID, P]]]
    shown: Callable[[Conn, Sequence[UUID]], Awaitable[Sequence[Struct]]]
    narrow: Callable[[Conn, Call, Any, frozenset[Any]], Awaitable[W]]
    outcome: Callable[..., Struct]


@dataclass(frozen=True, slots=True)
class Deed(Generic[P, W]):
    """What is done to many: which states it takes, why it leaves one in such a state, and how they are found."""

    kind: Kind[P, W]
    # The name under which idempotency keys are kept.
    route: str
    takes: frozenset[Any]
    refuses: Callable[[P], str | None]
    select_ids: Select[W]
    count: Callable[[Conn, W], Awaitable[int]]

    def why_not(self, place: P | None) -> str | None:
        """Why one that stands there is left as it is; None when nothing speaks against it."""
        if place is None:
            return f"there is no such {self.kind.noun}"
        if place.status not in self.takes:
            return f"it is {place.status}"
        return self.refuses(place)


# Does it to these, and answers why some of them were left.
Act = Callable[[Conn, Sequence[UUID], datetime, Brought], Awaitable[Mapping[UUID, str]]]


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Those of one call, why some of them are left, and the cursor to the rest."""

    ids: Sequence[UUID]
    why: Mapping[UUID, str]
    cursor: str | None

    @property
    def ready(self) -> list[UUID]:
        return [one for one in self.ids if one not in self.why]


async def carry_out(api: Api, call: Call, deed: Deed[P, W], act: Act) -> tuple[Reply, Brought]:
    """Do it to all that the request means, or say what would be done; the answer, and what came of it."""
    _check(call.body, deed.kind)
    if call.body.dry_run is True:
        return await _rehearse(api, call, deed), Brought()
    brought = Brought()

    async def work(conn: Conn) -> Reply:
        nonlocal brought
        brought, why = Brought(), dict[UUID, str]()
        chosen = await _choose(conn, call, deed)
        if chosen.ready:
            await wait_briefly(conn)
            why.update(await act(conn, chosen.ready, api.deps.clock.now(), brought))
        why.update(chosen.why)
        return reply(
            deed.kind.outcome(
                matched=len(chosen.ids),
                done=len(chosen.ids) - len(why),
                skipped=_skipped(deed.kind, chosen.ids, why),
                next_cursor=chosen.cursor,
            )
        )

    said = f"the {deed.kind.noun}s keep moving; nothing was done"
    scope = Scope(call.project or "*", deed.route)
    return await retried(lambda: answered_once(api, call, scope, work), said), brought


async def mine(conn: Conn, call: Call, kind: Kind[P, W], chosen: Sequence[UUID]) -> dict[UUID, P]:
    """Where these stand, without those of another project than the request's."""
    places = await kind.places(conn, chosen)
    return {one: place for one, place in places.items() if call.project in {None, place.project_id}}


def _check(body: Any, kind: Kind[P, W]) -> None:
    faults: list[Fault] = []
    if (body.ids is UNSET) == (body.filter is UNSET):
        faults.append(Fault("", "needs either ids or filter"))
    if isinstance(body.ids, list) and not 1 <= len(body.ids) <= kind.most_ids:
        faults.append(Fault("/ids", f"must have from 1 to {kind.most_ids} entries"))
    if body.cursor is not UNSET and body.filter is UNSET:
        faults.append(Fault("/cursor", "works only with filter"))
    if faults:
        raise ValidationError(faults)


async def _rehearse(api: Api, call: Call, deed: Deed[P, W]) -> Reply:
    """What would be done: all that match are counted, the newest are shown."""
    async with api.connection() as conn:
        if call.body.filter is UNSET:
            chosen = await _choose(conn, call, deed)
            ready, matched = chosen.ready, len(chosen.ids)
            skipped = _skipped(deed.kind, chosen.ids, chosen.why)
        else:
            where = await _where(conn, call, deed)
            matched, skipped = await deed.count(conn, where), []
            ready = list(await deed.select_ids(conn, where, limit=SAMPLE, before=None))
        sample = await deed.kind.shown(conn, ready[:SAMPLE])
    return reply(deed.kind.outcome(matched=matched, done=0, skipped=skipped, sample=sample))


async def _choose(conn: Conn, call: Call, deed: Deed[P, W]) -> _Chosen:
    """Those that one call is about."""
    body, page, cursor = call.body, deed.kind.page, None
    chosen: Sequence[UUID]
    if body.filter is UNSET:
        chosen = _ids(body.ids, deed.kind)
    else:
        where = await _where(conn, call, deed)
        before = query.read_cursor("/cursor", body.cursor) if isinstance(body.cursor, str) else None
        found = await deed.select_ids(conn, where, limit=page + 1, before=before)
        chosen, cursor = query.cut(found, page, query.id_cursor)
    places = await mine(conn, call, deed.kind, chosen)
    return _Chosen(chosen, {one: why for one in chosen if (why := deed.why_not(places.get(one)))}, cursor)


def _ids(texts: Sequence[str], kind: Kind[P, W]) -> list[UUID]:
    parsed = [ids.parse(kind.prefix, text) for text in texts]
    faults = [Fault(f"/ids/{at}", f"is not a {kind.noun}'s id") for at, one in enumerate(parsed) if one is None]
    if faults:
        raise ValidationError(faults)
    return list(dict.fromkeys(one for one in parsed if one is not None))


def _skipped(kind: Kind[P, W], chosen: Sequence[UUID], why: Mapping[UUID, str]) -> list[Skipped]:
    return [Skipped(id=ids.spell(kind.prefix, one), reason=why[one]) for one in chosen if one in why]


async def _where(conn: Conn, call: Call, deed: Deed[P, W]) -> W:
    """What the filter means; it must narrow to something, and to states that the deed takes."""
    said = call.body.filter
    if faults := _filter_faults(call, said, deed):
        raise ValidationError(faults)
    return await deed.kind.narrow(conn, call, said, deed.takes)


def _filter_faults(call: Call, said: Struct, deed: Deed[P, W]) -> list[Fault]:
    faults: list[Fault] = []
    given: dict[str, Any] = {
        name: value for name in said.__struct_fields__ if (value := getattr(said, name)) is not UNSET
    }
    if not given and call.project is None:
        faults.append(Fault("/filter", "must name something, or the request a project"))
    faults += [Fault(f"/filter/{name}", "must not be empty") for name, value in given.items() if value in ("", [], {})]
    if call.project is not None and given.get("project_id", call.project) != call.project:
        faults.append(Fault("/filter/project_id", "differs from the project that the query or the header names"))
    if given.get("status") and not deed.takes & set(given["status"]):
        faults.append(Fault("/filter/status", f"must be one or more of {', '.join(sorted(deed.takes))}"))
    if given.get("batch_id") and ids.parse(Prefix.BATCH, given["batch_id"]) is None:
        faults.append(Fault("/filter/batch_id", "is not a batch's id"))
    if given.get("id_prefix") and ids.prefix_range(deed.kind.prefix, given["id_prefix"]) is None:
        faults.append(Fault("/filter/id_prefix", f"is not the beginning of a {deed.kind.noun}'s id"))
    faults += [
        Fault(f"/filter/{name}", "must carry a UTC offset, like 2030-01-31T09:00:00Z")
        for name in ("created_after", "created_before")
        if name in given and given[name].tzinfo is None
    ]
    return faults

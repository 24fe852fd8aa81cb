"""`strait runs bulk-cancel`, `bulk-replay`, `dlq` and `export`: many runs at once."""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TextIO, TypeAlias

import typer

from strait_cli.ask import confirm
from strait_cli.columns import RUN
from strait_cli.filters import query_of, selection_of
from strait_cli.output import dump
from strait_cli.paths import path_of
from strait_cli.progress import Progress
from strait_cli.refs import filters, run_id
from strait_cli.session import Session
from strait_cli.table import Column, Style, cell
from strait_core.errors import PartialError, StraitError, UsageError

if TYPE_CHECKING:
    from strait_cli.client import Client

Columns: TypeAlias = Sequence[Column]
_SHOWN: Final = 20
_LENGTH: Final = re.compile(r"([0-9]{1,9})\s*([smhd]?)")
_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}

Runs = Annotated[
    list[str] | None, typer.Argument(metavar="RUN", help="Ids, prefixes, @last or @failed; none with filters.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Count and show, change nothing.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="At most so many.", metavar="N")]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of runs that a request may be about many of."""

    path: str
    word: str
    example: str
    columns: Columns
    # The field that says what a run is of.
    slug: str
    # How many ids a request may name.
    most: int
    ref: Callable[[Client, str], str]
    selection: Callable[[Mapping[str, Any]], dict[str, Any]]


RUNS: Final = Kind(
    "runs", "run", "strait runs bulk-cancel --job hello --dry-run", RUN, "job_slug", 1_000, run_id, selection_of
)


def bulk_cancel(
    session: Session, runs: Runs = None, *, dry_run: DryRun = False, yes: Yes = False, given: dict[str, Any]
) -> None:
    """Cancel many runs: those named, or all that match the filters and are not over.

    Exit 10 when some of them were left as they are.
    """
    bulk(session, RUNS, "cancel", runs or [], given, dry_run=dry_run, yes=yes)


def bulk_replay(
    session: Session, runs: Runs = None, *, dry_run: DryRun = False, yes: Yes = False, given: dict[str, Any]
) -> None:
    """Run many runs again that did not succeed: those named, or all that match the filters.

    Exit 10 when some of them were left as they are.
    """
    bulk(session, RUNS, "replay", runs or [], given, dry_run=dry_run, yes=yes)


def bulk(
    session: Session, kind: Kind, deed: str, runs: list[str], given: dict[str, Any], *, dry_run: bool, yes: bool
) -> None:
    """Do something to many runs: those named, or those that the filters choose; told first, and asked."""
    if bool(runs) == bool(given):
        raise UsageError("name runs, or filters that choose them: one of the two", hint=kind.example)
    path = path_of(kind.path, f"bulk-{deed}")
    pages = _pages(session, kind, runs, given)
    rehearsal = _joined([session.api.post(path, {**page, "dry_run": True}) for page in pages])
    count = rehearsal["matched"] - len(rehearsal["skipped"])
    if dry_run:
        _show_rehearsal(session, kind, deed, rehearsal, count)
        return
    if count:
        confirm(f"{deed} {_counted(kind, count)}{_of(kind, rehearsal)}", yes=yes)
    outcome = _carried_out(session, path, deed, pages, count) if count else {**rehearsal, "done": 0}
    _show_outcome(session, deed, outcome)


def _counted(kind: Kind, count: int) -> str:
    return f"{count} {kind.word}{'' if count == 1 else 's'}"


def _pages(session: Session, kind: Kind, runs: list[str], given: dict[str, Any]) -> list[dict[str, Any]]:
    """The bodies of the requests: ids, as many as one may name, or the one filter."""
    if given:
        return [{"filter": kind.selection(filters(session.api, given))}]
    ids = list(dict.fromkeys(kind.ref(session.api, one) for one in runs))
    return [{"ids": ids[at : at + kind.most]} for at in range(0, len(ids), kind.most)]


def _joined(answers: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "matched": sum(one["matched"] for one in answers),
        "done": sum(one["done"] for one in answers),
        "skipped": [skipped for one in answers for skipped in one["skipped"]],
        "sample": [run for one in answers for run in one.get("sample", ())],
    }


def _of(kind: Kind, rehearsal: dict[str, Any]) -> str:
    slugs = sorted({run[kind.slug] for run in rehearsal["sample"]})
    return f" (of {', '.join(slugs[:3])}{' and others' if len(slugs) > 3 else ''})" if slugs else ""


def _carried_out(session: Session, path: str, deed: str, pages: list[dict[str, Any]], count: int) -> dict[str, Any]:
    """Page by page; what was done before an error stays done, and is told."""
    answers: list[dict[str, Any]] = []
    with Progress(session, deed, count) as progress:
        for page in pages:
            cursor: str | None = None
            while True:
                try:
                    answer = session.api.post(path, page if cursor is None else {**page, "cursor": cursor})
                except StraitError as error:
                    done = sum(one["done"] for one in answers)
                    if not done:
                        raise
                    raise PartialError(
                        f"{done} of {count} done, then: {error.message}", hint="run it again for the rest"
                    ) from error
                answers.append(answer)
                progress.at(sum(one["done"] for one in answers))
                cursor = answer["next_cursor"]
                if cursor is None:
                    break
    return _joined(answers)


def _show_rehearsal(session: Session, kind: Kind, deed: str, rehearsal: dict[str, Any], count: int) -> None:
    if session.out.is_json or session.out.is_raw or session.out.view.format == "yaml":
        session.out.item(rehearsal)
    else:
        session.out.items(rehearsal["sample"], kind.columns)
    session.out.note(f"would {deed} {_counted(kind, count)}; nothing was changed")
    _say_skipped(session, rehearsal)


def _show_outcome(session: Session, deed: str, outcome: dict[str, Any]) -> None:
    told = {name: outcome[name] for name in ("matched", "done", "skipped")}
    if session.out.view.format in {"table", "wide"} and not session.out.is_raw:
        session.out.line(f"{deed}: {outcome['done']} of {outcome['matched']} done")
    else:
        session.out.item(told, name="done")
    _say_skipped(session, outcome)
    if outcome["skipped"]:
        raise PartialError(
            f"{len(outcome['skipped'])} of {outcome['matched']} not done", hint="the reasons stand above"
        )


def _say_skipped(session: Session, outcome: dict[str, Any]) -> None:
    for one in outcome["skipped"][:_SHOWN]:
        session.out.note(f"left {one['id']}: {one['reason']}")
    if len(outcome["skipped"]) > _SHOWN:
        session.out.note(f"left {len(outcome['skipped']) - _SHOWN} more")


def dlq(session: Session, limit: Limit = 50, *, given: dict[str, Any]) -> None:
    """List dead letters, newest first: runs whose every attempt failed, kept until you replay or forget them.

    `strait runs replay` brings back one of them, `strait runs bulk-replay --status dead_letter` many.
    """
    pages = session.api.pages(path_of("runs", "dlq"), query_of(filters(session.api, given)), limit=limit)
    session.out.items(pages, RUN)
    session.more(pages)


def export(
    session: Session,
    file: Annotated[str, typer.Argument(metavar="FILE", help="Where to: .jsonl or .csv; - for standard output.")],
    limit: Limit = 1_000_000,
    include: Annotated[
        str | None,
        typer.Option("--include", help="Add payload, result or both: payload,result.", metavar="FIELDS"),
    ] = None,
    *,
    given: dict[str, Any],
) -> None:
    """Write runs to a file, newest first: JSON lines, or CSV with the columns of `-o wide`."""
    kind = _kind(file, session)
    query = query_of(filters(session.api, given)) | ({"include": include} if include else {})
    pages = session.api.pages("/v1/runs", query, limit=limit)
    count = 0
    with ExitStack() as stack:
        progress = stack.enter_context(Progress(session, "exported", None))
        sink = sys.stdout if file == "-" else stack.enter_context(_opened(Path(file)))
        for count, text in enumerate(_lines(pages, kind), 1):
            sink.write(text)
            progress.at(count)
    count -= kind == "csv"
    session.out.note(f"{count} runs{'' if file == '-' else f' in {file}'}")
    session.more(pages)


def _kind(file: str, session: Session) -> str:
    suffix = Path(file).suffix.lstrip(".") if file != "-" else session.out.view.format
    kind = "jsonl" if suffix in {"jsonl", "ndjson"} or (file == "-" and suffix == "table") else suffix
    if kind not in {"jsonl", "csv"}:
        raise UsageError(f"{file}: exports are .jsonl or .csv", hint="with - as FILE: -o jsonl or -o csv")
    return kind


def _opened(path: Path) -> TextIO:
    try:
        return path.open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def _lines(runs: Iterator[dict[str, Any]], kind: str) -> Iterator[str]:
    if kind == "jsonl":
        yield from (f"{dump(run)}\n" for run in runs)
        return
    style = Style("iso", color=False, now=datetime.now(UTC), width=None)
    yield _row(column.field for column in RUN)
    for run in runs:
        yield _row(cell(column.value(run), column, style) for column in RUN)


def _row(cells: Iterable[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def reschedule(
    session: Session,
    run: Annotated[str, typer.Argument(metavar="RUN", help="Id, unique prefix of one, @last or @failed.")],
    at: Annotated[str | None, typer.Option("--at", help="The new time: 2030-01-31T09:00:00Z.", metavar="TIME")] = None,
    within: Annotated[
        str | None, typer.Option("--in", help="So long from now: 30s, 5m, 2h, 1d.", metavar="LENGTH")
    ] = None,
) -> None:
    """Move the time of a run that waits for one: a delayed run, or one that awaits a retry."""
    if (at is None) == (within is None):
        raise UsageError("say when: --at TIME or --in LENGTH", hint="--in 5m, or --at 2030-01-31T09:00:00Z")
    when = at if within is None else (datetime.now(UTC) + timedelta(seconds=_seconds(within))).isoformat()
    path = path_of("runs", run_id(session.api, run), "reschedule")
    session.out.item(session.api.post(path, {"scheduled_at": when}), RUN, row=True)


def _seconds(text: str) -> int:
    found = _LENGTH.fullmatch(text)
    if found is None:
        raise UsageError(f'--in: "{text}" is no length of time', hint="30s, 5m, 2h, 1d, or seconds")
    return int(found[1]) * _UNITS[found[2] or "s"]

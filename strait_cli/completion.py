"""What a shell offers when somebody presses TAB: fast, silent when the server is not there, never an error.

The first word is answered from the static tree, further words from the outline of the commands; neither loads the
parser. Slugs and ids come from the server by http.client, which loads in a third of the time of the real client, and
are waited for very shortly.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from strait_cli import tree

if TYPE_CHECKING:
    from strait_cli.outline import Command, Option

Candidate = tuple[str, str]
FILES: Final = (":files", "")
# A wait that a person at the prompt does not notice, with the start of Python still inside 300 ms.
_WAIT_SECS: Final = 0.15
_MOST: Final = 50
# What ids, slugs, steps and projects consist of, and nothing that a shell would act on.
_PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.@")


def complete(words: Sequence[str], shell: str) -> int:
    """Print the candidates for the last word; always exit code 0."""
    try:
        for value, text in candidates(_rejoined(words)):
            sys.stdout.write(f"{value}\t{text}\n" if text and shell != "bash" else f"{value}\n")
    except BrokenPipeError:
        raise
    except Exception:  # noqa: BLE001, S110 - at the prompt, nothing is better than a traceback
        pass
    return 0


def candidates(words: Sequence[str]) -> Iterable[Candidate]:
    """What may stand where the last of the words is being typed; only what begins like it."""
    *before, current = words or [""]
    at = next((n for n, word in enumerate(before) if tree.canonical(word) in tree.NOUNS), None)
    if at is None and not _awaits_value(before):
        topics = ((topic, "") for topic in tree.TOPICS) if before[-1:] == ["help"] else ()
        return _matching([*topics, *_first_words(current)], current)
    return _in_command(before, at, current)


def _rejoined(words: Sequence[str]) -> list[str]:
    """bash takes `--output=json` apart at the equals sign; here it is one flag and its value again."""
    joined: list[str] = []
    for word in words:
        if word == "=" and joined and joined[-1].startswith("--"):
            continue
        name, equals, value = word.partition("=")
        joined += [name, value] if equals and name.startswith("--") else [word]
    if words and words[-1] == "=":
        joined.append("")
    return joined


def _first_words(current: str) -> Iterator[Candidate]:
    if not current.startswith("-"):
        yield from ((name, noun.summary) for name, noun in tree.NOUNS.items())
        yield "help", "Explain a command or a topic"
        yield from ((name, text) for name, text in _aliases() if " " not in name)
        return
    for names, text in (*tree.GLOBAL_FLAGS, ("--mode", "run the daemon"), ("--version", "show the version")):
        yield from ((part.split()[0], text) for part in names.split(", ") if part.startswith("--"))
    yield "--help", "show help"


def _aliases() -> Iterator[Candidate]:
    from strait_cli import configfile, files  # noqa: PLC0415 - as above

    if "[aliases]" in (files.read_text(files.config_file()) or ""):
        yield from configfile.aliases().items()


def _awaits_value(before: Sequence[str]) -> bool:
    """Whether the word before is a global flag that wants a value."""
    return bool(before) and before[-1] in tree.VALUED


def _wants_value(command: Command, before: Sequence[str]) -> bool:
    """Whether the word before is a flag of this command that wants a value."""
    return bool(before) and any(before[-1] in one.names and one.has_value for one in command.options)


def _matching(found: Iterable[Candidate], current: str) -> Iterator[Candidate]:
    return ((value, text) for value, text in found if value.startswith(current) or (value, text) == FILES)


def _in_command(before: Sequence[str], at: int | None, current: str) -> Iterable[Candidate]:
    from strait_cli import outline  # noqa: PLC0415 - the first word needs no outline

    path = [] if at is None else [tree.canonical(before[at])]
    command = outline.read(path[0] if path else "")
    rest = [] if at is None else list(before[at + 1 :])
    if command is None:
        return []
    while verbs := command.verbs:
        place = next((n for n, word in enumerate(rest) if tree.VERB_ALIASES.get(word, word) in verbs), None)
        if place is None:
            if not current.startswith("-") and not _wants_value(command, before):
                return _matching(((name, one.text) for name, one in verbs.items()), current)
            break
        name = tree.VERB_ALIASES.get(rest[place], rest[place])
        command, rest = verbs[name], rest[place + 1 :]
        path.append(name)
    return _in_verb(command, tuple(path), rest, before, current)


def _in_verb(
    command: Command, path: tuple[str, ...], rest: Sequence[str], before: Sequence[str], current: str
) -> Iterable[Candidate]:
    options = {name: one for one in command.options for name in one.names}
    wanted = options.get(before[-1]) if before else None
    if wanted is not None and wanted.has_value:
        if wanted.parameter == "unset":
            return _matching(((name, "") for name in _unsettable(command)), current)
        return _values(wanted.parameter, path, before, current)
    if current.startswith("-"):
        used = {
            name
            for one in command.options
            if not one.is_repeatable and set(one.names) & set(rest)
            for name in one.names
        }
        flags = [(name, one.text) for name, one in options.items() if name.startswith("--") and name not in used]
        return _matching([*flags, ("--help", "Show help.")], current)
    position = _positionals(rest, options)
    if not command.arguments or (position >= len(command.arguments) and not command.arguments[-1].is_many):
        return []
    return _values(command.arguments[min(position, len(command.arguments) - 1)].parameter, path, before, current)


def _unsettable(command: Command) -> Iterator[str]:
    """What `update --unset` takes: the fields that have a flag, but those that are never empty."""
    never = {"name", "slug", "endpoint_url", "file", "steps", "unset"}
    return (one.parameter for one in command.own if one.parameter not in never)


def _positionals(rest: Sequence[str], options: Mapping[str, Option]) -> int:
    """How many of the words before the cursor are arguments, and not flags or their values."""
    count, skip = 0, False
    for word in rest:
        if skip:
            skip = False
        elif word in options:
            skip = options[word].has_value
        elif not word.startswith("-"):
            count += 1
    return count


def _values(name: str, path: tuple[str, ...], before: Sequence[str], current: str) -> Iterable[Candidate]:
    """The values of a parameter, by its name; those of a comma-separated list go on after the comma."""
    if current.startswith("@") and name in {"payload", "items", "api_key", "database"}:
        return [FILES]
    head, comma, last = current.rpartition(",")
    if name in {"status", "until"} and comma:
        return ((f"{head},{value}", text) for value, text in _matching(_fixed(name, path), last))
    if path == ("alias", "delete"):
        return _matching(_aliases(), current)
    maker = _DYNAMIC.get(name)
    if maker is not None and path[:1] != ("completion",):
        return _matching(_harmless(maker(before, current)), current)
    return _matching(_fixed(name, path), current)


def _harmless(found: Iterable[Candidate]) -> Iterator[Candidate]:
    """What a server offers, fit for the prompt: no value that a shell could act on, no text that drives a terminal."""
    for value, text in found:
        if value and set(value) <= _PLAIN and not value.startswith("-"):
            yield value, "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def _fixed(name: str, path: tuple[str, ...]) -> Iterator[Candidate]:
    """Values that need no server."""
    from strait_cli import configfile  # noqa: PLC0415 - as above
    from strait_cli.context import DEFAULT_SERVER  # noqa: PLC0415

    if name == "context" or (path[:1] == ("context",) and name == "name" and path[1:] != ("create",)):
        yield from ((one, fields.get("server", DEFAULT_SERVER)) for one, fields in configfile.contexts().items())
    elif name in {"db", "file", "files", "folder"}:
        yield FILES
    elif name in {"timezone", "cron_timezone"}:
        from strait_core.wallclock import zone_names  # noqa: PLC0415 - reads the tz database's list

        yield from ((zone, "") for zone in sorted(zone_names()))
    else:
        yield from ((str(value), "") for value in _words().get(name, ()))


def _words() -> Mapping[str, Iterable[str]]:
    """Parameters that take one of a few words."""
    from strait_cli.context import COLORS, FIELDS, FORMATS, TIME_FORMATS  # noqa: PLC0415 - as above
    from strait_core.retry import RetryStrategy  # noqa: PLC0415
    from strait_core.rule import DstGap, DstOverlap  # noqa: PLC0415
    from strait_core.run import Status  # noqa: PLC0415
    from strait_core.schedule import MisfirePolicy, OverlapPolicy  # noqa: PLC0415

    return {
        "format": FORMATS,
        "color": COLORS,
        "time_format": TIME_FORMATS,
        "status": Status,
        "until": Status,
        "retry_strategy": RetryStrategy,
        "version_policy": ("pin", "latest"),
        "completion": ("response", "callback"),
        "misfire_policy": MisfirePolicy,
        "overlap_policy": OverlapPolicy,
        "calendar_mode": ("exclude", "only"),
        "calendar_roll": ("none", "next", "previous"),
        "dst_gap": DstGap,
        "dst_overlap": DstOverlap,
        "roll": ("none", "next", "previous"),
        "mode": ("all", "api", "worker"),
        "setting": FIELDS,
        "shell": ("bash", "zsh", "fish"),
        "drawn_as": ("ascii", "mermaid", "dot", "json"),
        "include": ("payload", "result", "payload,result"),
        "framework": ("fastapi", "flask", "none"),
    }


def _jobs(before: Sequence[str], current: str) -> Iterator[Candidate]:
    del current
    for job in _fetch("/v1/jobs", {}, before):
        yield job["slug"], job["name"]


def _runs(before: Sequence[str], current: str) -> Iterator[Candidate]:
    from datetime import UTC, datetime  # noqa: PLC0415 - as above

    from strait_cli import times  # noqa: PLC0415

    yield "@last", "the newest run"
    yield "@failed", "the newest run that failed"
    if current.startswith("@"):
        return
    query = {"id_prefix": current} if current.startswith("run_") else {}
    now = datetime.now(UTC)
    for run in _fetch("/v1/runs", query, before):
        yield run["id"], f"{run['job_slug']} · {run['status']} · {times.shown(run['created_at'], 'relative', now)}"


def _schedules(before: Sequence[str], current: str) -> Iterator[Candidate]:
    del current
    for one in _fetch("/v1/schedules", {}, before):
        yield one["slug"], f"{one['cron']} {one['timezone']} · {one['state']}"


def _calendars(before: Sequence[str], current: str) -> Iterator[Candidate]:
    del current
    for one in _fetch("/v1/calendars", {}, before):
        yield one["slug"], ""


def _workflows(before: Sequence[str], current: str) -> Iterator[Candidate]:
    del current
    for one in _fetch("/v1/workflows", {}, before):
        yield one["slug"], one["name"]


def _workflow_runs(before: Sequence[str], current: str) -> Iterator[Candidate]:
    yield "@last", "the newest workflow run"
    if not current.startswith("@"):
        for run in _fetch("/v1/workflow-runs", {}, before):
            yield run["id"], f"{run['workflow_slug']} · {run['status']}"


def _steps(before: Sequence[str], current: str) -> Iterator[Candidate]:
    del current
    run = next((word for word in before if word.startswith("wfr_")), None)
    if run is None:
        run = next((one["id"] for one in _fetch("/v1/workflow-runs", {}, before)), None)
    for step in _fetch(f"/v1/workflow-runs/{run}/steps", {}, before) if run else ():
        yield step["step_ref"], f"{step['step_type']} · {step['status']}"


def _workers(before: Sequence[str], current: str) -> Iterator[Candidate]:
    del current
    for worker in _fetch("/v1/workers", {}, before):
        yield worker["id"], f"{worker['host']} pid {worker['pid']}"


def _projects(before: Sequence[str], current: str) -> Iterator[Candidate]:
    del current
    jobs = _fetch("/v1/jobs", {}, before, scoped=False)
    yield from ((name, "") for name in dict.fromkeys(job["project_id"] for job in jobs))


_DYNAMIC: Final[Mapping[str, Callable[[Sequence[str], str], Iterator[Candidate]]]] = {
    "job": _jobs,
    "job_id": _jobs,
    "run": _runs,
    "runs": _runs,
    "worker": _workers,
    "schedule": _schedules,
    "calendar": _calendars,
    "workflow": _workflows,
    "workflow_id": _workflows,
    "workflow_run": _workflow_runs,
    "step": _steps,
    "project": _projects,
}


def _fetch(path: str, query: Mapping[str, str], before: Sequence[str], *, scoped: bool = True) -> list[dict[str, Any]]:
    """One page of a list, or nothing: whoever does not answer at once is not asked again."""
    import http.client  # noqa: PLC0415 - as above
    import json  # noqa: PLC0415
    from urllib.parse import urlencode, urlsplit  # noqa: PLC0415

    from strait_cli.context import read_layers  # noqa: PLC0415
    from strait_cli.keys import find_key  # noqa: PLC0415

    flags = _settings(before)
    layers = read_layers(flags)
    url = urlsplit(layers.value("server").text or "")
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    key, project = find_key(layers), layers.value("project").text
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    if project and scoped:
        headers["X-Project-Id"] = project
    target = f"{url.path.rstrip('/')}{path}?{urlencode({**query, 'limit': _MOST})}"
    with closing(kind(url.hostname or "", url.port, timeout=_WAIT_SECS)) as connection:
        connection.request("GET", target, headers=headers)
        response = connection.getresponse()
        data: list[dict[str, Any]] = json.loads(response.read())["data"] if response.status == 200 else []
    return data


def _settings(before: Sequence[str]) -> dict[str, str]:
    """The settings that the words typed so far give by flag; a key on standard input is not waited for."""
    names = {
        "--server": "server",
        "--api-key": "api_key",
        "--project": "project",
        "--project-id": "project",
        "--context": "context",
    }
    found = {names[flag]: value for flag, value in pairwise(before) if flag in names}
    return {name: value for name, value in found.items() if value != "-"}

"""How a failure looks: what happened, why, what to do next; as JSON where JSON was asked for.

Also what the server and the parser say, turned into the one error tree.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from strait_cli.output import dump, terminal_of
from strait_cli.table import dressed, safe
from strait_core.errors import StraitError, UsageError, ValidationError


class ProblemError(Exception):
    """What the server answered, kept as the cause of the error it became."""

    def __init__(self, status: int, code: str, request_id: str | None) -> None:
        super().__init__(f"HTTP {status} {code}")
        self.status = status
        self.code = code
        self.request_id = request_id


class Shown(Exception):  # noqa: N818 - a remark on an error, not one itself
    """The cause of an error whose facts are on stdout already: only its exit code is left to give."""


def usage(error: Any) -> UsageError:
    """The parser's own complaint as a usage error, with the command's help as the way out."""
    message = error.format_message()
    possible = getattr(error, "possibilities", None)
    if possible:
        message = message.split(" (Possible", maxsplit=1)[0].split(" Did you mean", maxsplit=1)[0]
        return UsageError(message, hint=f"did you mean {' or '.join(sorted(possible))}?")
    context = getattr(error, "ctx", None)
    return UsageError(message, hint=f"{context.command_path} --help" if context else None)


def cannot_write(fault: OSError) -> StraitError:
    """What the system said when the output, or a file of ours, could not be written or read."""
    where = f" ({fault.filename})" if fault.filename else ""
    return StraitError(f"{fault.strerror or fault}{where}", hint="make room or choose another place, then run it again")


def own_fault(fault: Exception) -> StraitError:
    """What nobody foresaw, as an error that can be reported."""
    return StraitError(f"a fault of strait's own: {fault!r}", hint="STRAIT_TRACEBACK=1 shows where; please report it")


def show(error: StraitError, words: Sequence[str]) -> None:
    """Print an error: a JSON document on stdout when `-o json` is in force, else a panel on stderr."""
    if isinstance(error.__cause__, Shown):
        return
    if _wants_json(words, os.environ):
        sys.stdout.write(dump(as_json(error), indent=None if _format(words, os.environ) == "jsonl" else 2) + "\n")
        return
    color = terminal_of(sys.stderr, _in_force(words, os.environ, "color", ("--color",)) or "auto", os.environ).color
    sys.stderr.write(panel(error, color=color))


def panel(error: StraitError, *, color: bool = False) -> str:
    """What, why, what next."""
    faults = error.faults if isinstance(error, ValidationError) else []
    what = "the input is not valid" if faults else error.message
    lines = [dressed("error", "1;31", color) + f": {safe(what)}"]
    lines += [
        f"  {safe(fault.pointer.lstrip('/').replace('/', '.') or 'body')}: {safe(fault.message)}" for fault in faults
    ]
    if error.hint:
        lines.append(dressed("next", "1;36", color) + f": {safe(error.hint)}")
    cause = error.__cause__
    if isinstance(cause, ProblemError) and cause.request_id and cause.status >= 500:
        lines.append(dressed(f"request: {safe(cause.request_id)}", "2", color))
    return "\n".join(lines) + "\n"


def as_json(error: StraitError) -> dict[str, Any]:
    """`{"error": {code, message, hint, request_id}}`, and `faults` where the input is wrong."""
    cause = error.__cause__
    problem = cause if isinstance(cause, ProblemError) else None
    body: dict[str, Any] = {
        "code": problem.code if problem else error.code,
        "message": error.message,
        "hint": error.hint,
        "request_id": problem.request_id if problem else None,
    }
    if isinstance(error, ValidationError):
        body["faults"] = [{"pointer": fault.pointer, "message": fault.message} for fault in error.faults]
    return {"error": body}


def say_interrupted() -> None:
    """End the line in which Ctrl-C was typed."""
    if sys.stderr.isatty():
        sys.stderr.write("\n")


def _wants_json(words: Sequence[str], environ: Mapping[str, str]) -> bool:
    raw = any(word.partition("=")[0] in {"--jq", "--template"} for word in words)
    return _format(words, environ) in {"json", "jsonl"} and not raw


def _format(words: Sequence[str], environ: Mapping[str, str]) -> str | None:
    return _in_force(words, environ, "format", ("-o", "--output"))


def _in_force(words: Sequence[str], environ: Mapping[str, str], field: str, flags: tuple[str, ...]) -> str | None:
    """The value of a setting, read without the parser, which may be what has failed."""
    from strait_cli.context import FIELDS, read_layers  # noqa: PLC0415 - errors are rare

    named = _word_after(words, flags)
    if named is not None:
        return named
    context = _word_after(words, ("--context",))
    try:
        return read_layers({"context": context} if context else {}, environ=environ, lenient=True).value(field).text
    except (StraitError, OSError):
        return next((environ[name] for name in FIELDS[field].variables if environ.get(name)), None)


def _word_after(words: Sequence[str], names: tuple[str, ...]) -> str | None:
    found = None
    for at, word in enumerate(words):
        if word == "--":
            break
        if word in names and at + 1 < len(words):
            found = words[at + 1]
        name, equals, value = word.partition("=")
        if equals and name in names:
            found = value
        if "-o" in names and word.startswith("-o") and word != "-o" and not word.startswith("--"):
            found = word[2:].removeprefix("=")
    return found

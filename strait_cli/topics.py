"""What is true of all commands: `strait help exit-codes`, `environment`, `formats`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

EXIT_CODES: Final[tuple[tuple[int, str], ...]] = (
    (0, "all went well"),
    (1, "it failed for a reason that has no code of its own; `diff`: there are differences"),
    (2, "usage: an unknown command or flag, a missing argument, nobody there to confirm"),
    (3, "configuration: a file, a setting or a context is wrong"),
    (4, "the key was refused, or there is none"),
    (5, "there is no such thing"),
    (6, "conflict: it exists already, or is in a state that does not allow this"),
    (7, "validation: the server, or a check before it, refused what was given"),
    (8, "the server or the network did not answer, or asks to come back later"),
    (9, "the run that was watched or waited for did not succeed"),
    (10, "partly done: some of many were, and some were not"),
    (124, "the time given by --timeout was over first"),
    (130, "interrupted with ctrl-C"),
    (141, "whoever read the output has gone"),
)
_OTHER_VARIABLES: Final[tuple[tuple[str, str], ...]] = (
    ("STRAIT_CONTEXT", "the context in force (--context)"),
    ("NO_COLOR", "any value: no colours"),
    ("FORCE_COLOR", "any value: colours, in a pipe too"),
    ("EDITOR, VISUAL", "the editor of `edit` and --edit"),
    ("COLUMNS", "the width of tables and help"),
    ("XDG_CONFIG_HOME", "where strait/config.toml is (~/.config)"),
    ("XDG_DATA_HOME", "where keys without a keyring and the data of `strait dev` are (~/.local/share)"),
    ("STRAIT_TRACEBACK", "any value: where a fault of strait's own comes from"),
)


def _exit_codes() -> str:
    rows = "\n".join(f"  {code:<5}{text}" for code, text in EXIT_CODES)
    return f"""Exit codes

{rows}

With `-o json` a failure is an object on stdout: {{"error": {{"code", "message", "hint", "request_id"}}}}.
"""


def _environment() -> str:
    from strait_cli.context import FIELDS  # noqa: PLC0415 - only for this topic

    rows = [(", ".join(one.variables), _of(one.name, one.default)) for one in FIELDS.values()]
    lines = "\n".join(f"  {name:<34}{text}" for name, text in (*rows, *_OTHER_VARIABLES))
    return f"""Variables of the command line

{lines}

A flag outranks a variable, that the folder's .strait.toml, that the context, that the default;
`strait config explain` shows where each value came from.
The variables of the daemon (DATABASE_URL, REDIS_URL, INTERNAL_SECRET, …) are in docs/settings.md.
"""


def _of(name: str, default: str | None) -> str:
    flag = {"format": "output"}.get(name, name).replace("_", "-")
    return f"--{flag}" + (f" ({default})" if default else "")


def _formats() -> str:
    return """Output

  -o table     aligned columns at a terminal, less of them where it is narrow; tab-separated in a pipe
  -o wide      the same with more columns
  -o json      what the API says; a list is one array
  -o jsonl     one object a line
  -o yaml, csv
  -o name      ids only, one a line (names where there are no ids)

  --fields a,b.c       only these fields, in this order
  --sort -created_at   order; - for descending
  --jq EXPR            filter the JSON with jq, as if of -o json
  --template TEXT      a line per object: '{{id}} {{created_at | relative}}'
  --no-headers         tables without their first line
  --time-format STYLE  relative (a terminal's default), iso (a pipe's), local, utc
  --color WHEN         auto, always, never

Data goes to stdout and talk to stderr, always; -q leaves out the talk. JSON is never coloured.
"""


_TEXTS: Final[Mapping[str, Callable[[], str]]] = {
    "exit-codes": _exit_codes,
    "environment": _environment,
    "formats": _formats,
}


def text_of(topic: str) -> str:
    """The page of a topic that `tree.TOPICS` names."""
    return _TEXTS[topic]()

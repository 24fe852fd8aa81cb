"""The command tree as data: what exists, where it lives and what it is for.

Completion, the root help and typo suggestions read this table, so none of them imports a command. Nothing is imported
here beyond the standard library's lightest parts: `strait --help` is this module and a write.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

PROGRAM: Final = "strait"


class Noun(NamedTuple):
    """One top-level command: the module that holds it (below `strait_cli.commands`) and its line in the help."""

    module: str
    summary: str
    section: str
    aliases: tuple[str, ...] = ()


_START, _WORK, _CODE, _OPERATE, _ME = "Start", "Jobs and runs", "Config as code", "Operate", "This command line"

NOUNS: Final[dict[str, Noun]] = {
    "dev": Noun("start", "Start PostgreSQL, the daemon and a sample endpoint; no settings", _START),
    "demo": Noun("demo", "Watch one job go from nothing to completed, then leave", _START),
    "serve": Noun("start", "Run the daemon against your own PostgreSQL", _START, ("server",)),
    "migrate": Noun("migrate", "Show and apply database migrations", _START),
    "init": Noun("init", "Write the first files of a project", _START),
    "doctor": Noun("doctor", "Look whether all is well, with the fix for what is not", _START),
    "version": Noun("version", "Show the versions of this command line and of the server", _START),
    "jobs": Noun("jobs", "Create, change, trigger and pause jobs", _WORK, ("job", "j")),
    "runs": Noun("runs", "List, watch, cancel and replay runs", _WORK, ("run", "r")),
    "workflows": Noun("workflows", "Create, change, compare and draw workflows", _WORK, ("workflow", "wf")),
    "schedules": Noun("schedules", "See, pause and fire schedules; what their ticks came to", _WORK, ("schedule",)),
    "calendars": Noun("calendars", "Named sets of days for schedules to go by", _WORK, ("calendar",)),
    "trigger": Noun("trigger", "Start a run of a job (short for `jobs trigger`)", _WORK),
    "cron": Noun("cron", "Check, explain and simulate cron expressions offline; backfill", _WORK),
    "wait": Noun("wait", "Wait until runs or workflow runs have ended", _WORK),
    "workflow-runs": Noun(
        "workflow_runs", "Watch, cancel and retry workflow runs", _WORK, ("workflow-run", "wr", "wfr")
    ),
    "approvals": Noun("approvals", "What workflows ask: list, approve, reject", _WORK, ("approval",)),
    "validate": Noun("manifests", "Judge a manifest (strait.yaml) without a server", _CODE),
    "diff": Noun("manifests", "Show what applying a manifest would change", _CODE),
    "apply": Noun("manifests", "Make a project what a manifest says", _CODE),
    "export": Noun("manifests", "Write a project as a manifest", _CODE),
    "schema": Noun("manifests", "Print the JSON Schema of manifests, for editors", _CODE),
    "trace": Noun("trace", "Where one run's time went, attempt by attempt", _OPERATE),
    "top": Noun("top", "Watch the queue: what waits, what runs, who works", _OPERATE),
    "dashboard": Noun("dashboard", "A live view of everything, on the whole terminal", _OPERATE),
    "listen": Noun("listen", "Every state that runs come to, as it happens", _OPERATE),
    "stats": Noun("stats", "Queue depth, rates and worker capacity", _OPERATE, ("stat",)),
    "changes": Noun("changes", "The feed of everything that changes", _OPERATE),
    "workers": Noun("workers", "List and drain worker processes", _OPERATE, ("worker",)),
    "events": Noun("events", "What runs wait for: list, send, cancel", _WORK, ("event",)),
    "budgets": Noun("budgets", "What projects may spend in a day: see and set", _OPERATE, ("budget",)),
    "webhooks": Noun("webhooks", "Deliveries of webhooks: list, repeat, test", _OPERATE, ("webhook",)),
    "login": Noun("login", "Keep a server's key, after trying it", _ME),
    "logout": Noun("login", "Forget the key of the context in force", _ME),
    "whoami": Noun("login", "Which server, with which key, and whether it is accepted", _ME),
    "context": Noun("context", "Named servers, and which one is used", _ME, ("contexts", "ctx")),
    "config": Noun("config", "Settings: values, where each came from, trust", _ME),
    "alias": Noun("alias", "Commands of your own", _ME, ("aliases",)),
    "api": Noun("api", "Send any request, with the settings in force", _ME),
    "completion": Noun("completion", "Completion for bash, zsh and fish", _ME, ("completions",)),
}
VERB_ALIASES: Final[dict[str, str]] = {"ls": "list", "rm": "delete"}
ALIASES: Final[dict[str, str]] = {alias: name for name, noun in NOUNS.items() for alias in noun.aliases}

# The flags every command takes: long name, whether it takes a value, and the line of the root help.
GLOBAL_FLAGS: Final[tuple[tuple[str, str], ...]] = (
    ("--server URL", "the API (STRAIT_SERVER; http://127.0.0.1:8080)"),
    ("--api-key KEY", "the credential, @file, - or env:NAME (STRAIT_API_KEY)"),
    ("--project ID", "work in one project (STRAIT_PROJECT); else read all"),
    ("--context NAME", "use a named context (STRAIT_CONTEXT)"),
    ("-o, --output FORMAT", "table wide json jsonl yaml csv name (STRAIT_FORMAT)"),
    ("--fields A,B", "only these fields"),
    ("--jq EXPR", "filter the JSON"),
    ("--template TEXT", "a line per object: '{{id}} {{created_at | relative}}'"),
    ("--sort FIELD", "order by a field; -FIELD for descending"),
    ("--no-headers", "tables without their first line"),
    ("--time-format STYLE", "relative, iso, local or utc (STRAIT_TIME_FORMAT)"),
    ("--color WHEN", "auto, always or never (STRAIT_COLOR, NO_COLOR)"),
    ("--request-timeout SECS", "seconds for one request (STRAIT_REQUEST_TIMEOUT; 30)"),
    ("-q, --quiet", "no talk on stderr, only data and errors"),
    ("-v, --verbose", "show each request on stderr"),
)

# The global flags that are followed by a value.
VALUED: Final = frozenset(
    part.split()[0] for names, _ in GLOBAL_FLAGS if names[-1].isupper() for part in names.split(", ")
)

_EXAMPLES: Final = (
    "strait dev",
    "strait jobs create --name Hello --slug hello --endpoint http://127.0.0.1:9000/",
    'strait trigger hello --payload \'{"greeting": "hi"}\' --wait',
    "strait runs list --status failed,dead_letter --limit 20",
    "strait runs watch @last",
)


# What stands for the rest of the documentation that is not about one command: `strait help TOPIC`.
TOPICS: Final = ("exit-codes", "environment", "formats")


def command_place(words: Sequence[str]) -> int | None:
    """Where among typed words the command stands: behind global flags and their values; None when there is none."""
    at = 0
    while at < len(words) and words[at].startswith("-"):
        at += 2 if words[at] in VALUED else 1
    return at if at < len(words) else None


def canonical(name: str) -> str:
    """The full name of a top-level command, whatever alias it was typed as."""
    return ALIASES.get(name, name)


def root_help() -> str:
    """What `strait --help` prints."""
    lines = ["Usage: strait [FLAGS] COMMAND [ARGS]...", "", "A durable job orchestrator on PostgreSQL alone.", ""]
    for section in dict.fromkeys(noun.section for noun in NOUNS.values()):
        lines.append(f"{section}:")
        lines += [f"  {name:<15}{noun.summary}" for name, noun in NOUNS.items() if noun.section == section]
        lines.append("")
    lines.append("Flags, accepted anywhere after `strait`:")
    lines += _rows([*GLOBAL_FLAGS, ("--version", "show the version"), ("-h, --help", "show this help, or a command's")])
    lines += ["", "Examples:", *(f"  {example}" for example in _EXAMPLES), ""]
    lines.append("`strait --mode all|api|worker` is `strait serve --mode …`.")
    lines.append("Help of a command: `strait jobs create --help`; all of it: `strait --llms`")
    lines.append(f"Further: `strait help {TOPICS[0]}`, and so with {' and '.join(TOPICS[1:])}")
    return "\n".join(lines) + "\n"


def _rows(pairs: list[tuple[str, str]]) -> list[str]:
    return [f"  {left:<24}{right}" for left, right in pairs]

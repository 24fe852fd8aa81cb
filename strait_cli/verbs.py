"""What turns a plain function into a verb: the global flags, the session, the examples.

A verb is a function whose first parameter is the `Session`; the rest become arguments and flags. The parser accepts
options of a command only behind its name, so every group and every verb declares the global flags, and the innermost
mention counts.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Annotated, Any, Final

import typer

from strait_cli.groups import LocalVerb, Nouns, Verb, Verbs
from strait_cli.session import Session

CONNECTION: Final = "Connection and talk"
OUTPUT: Final = "Output"


def _flag(kind: type, *names: str, help: str, panel: str, metavar: str | None = None) -> Any:  # noqa: A002
    option = typer.Option(*names, help=help, rich_help_panel=panel, metavar=metavar, show_default=False)
    return Annotated[kind | None, option]


GLOBALS: Final[Mapping[str, Any]] = {
    "server": _flag(str, "--server", help="The API's URL.", panel=CONNECTION, metavar="URL"),
    "api_key": _flag(str, "--api-key", help="Credential: text, @file, - or env:NAME.", panel=CONNECTION, metavar="KEY"),
    "project": _flag(str, "--project", "--project-id", help="Work in this project.", panel=CONNECTION, metavar="ID"),
    "context": _flag(str, "--context", help="Use this named context.", panel=CONNECTION, metavar="NAME"),
    "request_timeout": _flag(
        float, "--request-timeout", help="Seconds one request may take.", panel=CONNECTION, metavar="SECS"
    ),
    "quiet": Annotated[
        bool, typer.Option("-q", "--quiet", help="No talk on stderr.", rich_help_panel=CONNECTION, show_default=False)
    ],
    "verbose": Annotated[
        bool,
        typer.Option("-v", "--verbose", help="Show each request.", rich_help_panel=CONNECTION, show_default=False),
    ],
    "format": _flag(
        str,
        "-o",
        "--output",
        help="table, wide, json, jsonl, yaml, csv or name.",
        panel=OUTPUT,
        metavar="FORMAT",
    ),
    "fields": _flag(str, "--fields", help="Only these fields: a,b.c", panel=OUTPUT, metavar="A,B"),
    "jq": _flag(str, "--jq", help="Filter the JSON.", panel=OUTPUT, metavar="EXPR"),
    "template": _flag(
        str,
        "--template",
        help="A line per object: '{{id}} {{created_at | relative}}'. "
        "Filters: json, upper, lower, relative, iso, local, utc.",
        panel=OUTPUT,
        metavar="TEXT",
    ),
    "sort": _flag(str, "--sort", help="Order by a field; -FIELD descending.", panel=OUTPUT, metavar="FIELD"),
    "no_headers": Annotated[
        bool,
        typer.Option("--no-headers", help="No first line.", rich_help_panel=OUTPUT, show_default=False),
    ],
    "time_format": _flag(str, "--time-format", help="relative, iso, local or utc.", panel=OUTPUT, metavar="STYLE"),
    "color": _flag(str, "--color", help="auto, always or never.", panel=OUTPUT, metavar="WHEN"),
}
_SWITCHES: Final = ("quiet", "verbose", "no_headers")


def _global_parameters() -> list[inspect.Parameter]:
    return [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=False if name in _SWITCHES else None,
            annotation=annotation,
        )
        for name, annotation in GLOBALS.items()
    ]


def _take(context: typer.Context, values: dict[str, Any]) -> dict[str, Any]:
    """Move the global flags out of `values`; what an outer command was given holds unless named again."""
    mine = {name: values.pop(name) for name in GLOBALS}
    given = {**(context.obj or {}), **{name: value for name, value in mine.items() if value}}
    context.obj = given
    return given


def _with_signature(function: Callable[..., None], parameters: Sequence[inspect.Parameter]) -> Callable[..., None]:
    context = inspect.Parameter("context_", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    all_parameters = [context, *parameters, *_global_parameters()]
    function.__signature__ = inspect.Signature(all_parameters)  # type: ignore[attr-defined]
    function.__annotations__ = {one.name: one.annotation for one in all_parameters}
    return function


def leaf() -> typer.Typer:
    """A top-level command without verbs: `verb(leaf, name)` gives it its one function."""
    return typer.Typer(add_completion=False, rich_markup_mode=None)


def noun(
    help: str,  # noqa: A002 - the parser's word
    *,
    invoke: Callable[..., None] | None = None,
    examples: Sequence[str] = (),
    root: bool = False,
) -> typer.Typer:
    """A group of verbs; with `invoke` the group itself does something when no verb follows."""
    app = typer.Typer(
        cls=Nouns if root else Verbs,
        help=help,
        epilog="\n".join(examples),
        add_completion=False,
        rich_markup_mode=None,
        invoke_without_command=invoke is not None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    def callback(context_: typer.Context, **values: Any) -> None:
        given = _take(context_, values)
        if invoke is not None and context_.invoked_subcommand is None:
            with closing(Session(given)) as session:
                invoke(session, **values)

    app.callback()(_with_signature(callback, _own_parameters(invoke) if invoke else []))
    return app


def verb(
    app: typer.Typer,
    name: str,
    *,
    examples: Sequence[str] = (),
    extra: Mapping[str, Any] | None = None,
    lenient: bool = False,
    local: bool = False,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add a function to a group as the verb `name`.

    `extra` are further optional flags (name → annotation) that reach the function as the one dict `given`, without
    those that were not typed. `lenient` verbs run even when the active context does not exist, `local` ones leave the
    global flags out of their help.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = _own_parameters(function)
        more = [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
            for key, annotation in (extra or {}).items()
        ]

        def callback(context_: typer.Context, **values: Any) -> None:
            session = Session(_take(context_, values), lenient=lenient)
            if extra is not None:
                values["given"] = {key: value for key in extra if (value := values.pop(key)) is not None}
            with closing(session):
                function(session, **values)

        callback.__doc__ = function.__doc__
        app.command(
            name,
            cls=LocalVerb if local else Verb,
            epilog="\n".join(examples),
            context_settings={"help_option_names": ["-h", "--help"]},
        )(_with_signature(callback, [*own, *more]))
        return function

    return decorate


def _own_parameters(function: Callable[..., None]) -> list[inspect.Parameter]:
    """The function's parameters but the session and `given`; all by keyword, as the parser passes them."""
    _, *rest = inspect.signature(function, eval_str=True).parameters.values()
    return [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in rest if one.name != "given"]

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


def option(name: str | tuple[str, str], text: str, metavar: str = "TEXT", *, panel: str | None = None) -> Any:
    """A flag without a default worth showing."""
    names = (name,) if isinstance(name, str) else name
    return typer.Option(*names, help=text, rich_help_panel=panel, metavar=metavar, show_default=False)


def flag(kind: Any, name: str | tuple[str, str], text: str, metavar: str = "TEXT", *, panel: str | None = None) -> Any:
    """The type of a flag that is None unless it was typed."""
    return Annotated[kind | None, option(name, text, metavar, panel=panel)]


GLOBALS: Final[Mapping[str, Any]] = {
    "server": flag(str, "--server", "The API's URL.", "URL", panel=CONNECTION),
    "api_key": flag(str, "--api-key", "Credential: text, @file, - or env:NAME.", "KEY", panel=CONNECTION),
    "project": flag(str, ("--project", "--project-id"), "Work in this project.", "ID", panel=CONNECTION),
    "context": flag(str, "--context", "Use this named context.", "NAME", panel=CONNECTION),
    "request_timeout": flag(float, "--request-timeout", "Seconds one request may take.", "SECS", panel=CONNECTION),
    "quiet": Annotated[
        bool, typer.Option("-q", "--quiet", help="No talk on stderr.", rich_help_panel=CONNECTION, show_default=False)
    ],
    "verbose": Annotated[
        bool,
        typer.Option("-v", "--verbose", help="Show each request.", rich_help_panel=CONNECTION, show_default=False),
    ],
    "format": flag(str, ("-o", "--output"), "table, wide, json, jsonl, yaml, csv or name.", "FORMAT", panel=OUTPUT),
    "fields": flag(str, "--fields", "Only these fields: a,b.c", "A,B", panel=OUTPUT),
    "jq": flag(str, "--jq", "Filter the JSON.", "EXPR", panel=OUTPUT),
    "template": flag(
        str,
        "--template",
        "A line per object: '{{id}} {{created_at | relative}}'. "
        "Filters: json, upper, lower, relative, iso, local, utc.",
        "TEXT",
        panel=OUTPUT,
    ),
    "sort": flag(str, "--sort", "Order by a field; -FIELD descending.", "FIELD", panel=OUTPUT),
    "no_headers": Annotated[
        bool,
        typer.Option("--no-headers", help="No first line.", rich_help_panel=OUTPUT, show_default=False),
    ],
    "time_format": flag(str, "--time-format", "relative, iso, local or utc.", "STYLE", panel=OUTPUT),
    "color": flag(str, "--color", "auto, always or never.", "WHEN", panel=OUTPUT),
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

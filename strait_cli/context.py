"""What a command works with: every setting, its value, and where the value came from.

Each field is looked up in the same order: flag, environment, the local file, the context, the default. The local file
(`.strait.toml` in the working directory) may come from anybody's repository, so it sets project and format only; server
and key are taken from it after `strait config trust`, for that very content.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from strait_cli import files, trust
from strait_cli.paths import is_loopback
from strait_core.errors import ConfigError, NotFoundError, UsageError

FORMATS: Final = ("table", "wide", "json", "jsonl", "yaml", "csv", "name")
COLORS: Final = ("auto", "always", "never")
TIME_FORMATS: Final = ("relative", "iso", "local", "utc")
DEFAULT_SERVER: Final = "http://127.0.0.1:8080"


class Source(StrEnum):
    """The layers a value may come from, the strongest first."""

    FLAG = "flag"
    ENV = "env"
    LOCAL = "local file"
    CONTEXT = "context"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Field:
    """One setting: its variables (the first that is set counts), default, permitted values and key in files."""

    name: str
    variables: tuple[str, ...]
    default: str | None
    choices: tuple[str, ...] = ()
    key: str = ""
    guarded: bool = False

    @property
    def in_file(self) -> str:
        """Its name in config.toml and .strait.toml."""
        return self.key or self.name


FIELDS: Final[Mapping[str, Field]] = {
    one.name: one
    for one in (
        Field("server", ("STRAIT_SERVER",), DEFAULT_SERVER, guarded=True),
        Field("api_key", ("STRAIT_API_KEY", "INTERNAL_SECRET"), None, key="key", guarded=True),
        Field("project", ("STRAIT_PROJECT",), None),
        Field("format", ("STRAIT_FORMAT",), "table", FORMATS),
        Field("time_format", ("STRAIT_TIME_FORMAT",), None, TIME_FORMATS),
        Field("color", ("STRAIT_COLOR",), "auto", COLORS),
        Field("request_timeout", ("STRAIT_REQUEST_TIMEOUT",), "30"),
    )
}
# A stranger's folder may say what is shown and of which project, nothing else.
LOCAL_FIELDS: Final = ("project", "format")


@dataclass(frozen=True, slots=True)
class Value:
    """A setting's value and its origin: the layer, and within it the variable, the file or the context."""

    text: str | None
    source: Source
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Layers:
    """Everything a setting may come from, read once: the layers of one invocation."""

    flags: Mapping[str, str]
    environ: Mapping[str, str]
    local: Mapping[str, str]
    local_path: Path
    contexts: Mapping[str, Mapping[str, str]]
    active: Value
    warnings: tuple[str, ...] = field(default=())

    def candidates(self, name: str) -> list[Value]:
        """Every layer's value of a field, the strongest first; the default comes last and is always there."""
        what = FIELDS[name]
        found = [Value(self.flags[name], Source.FLAG, "--" + _flag(name))] if name in self.flags else []
        found += [
            Value(self.environ[variable], Source.ENV, variable)
            for variable in what.variables
            if self.environ.get(variable) and (variable != "INTERNAL_SECRET" or self._secret_fits())
        ]
        if what.in_file in self.local:
            found.append(Value(self.local[what.in_file], Source.LOCAL, str(self.local_path)))
        context = self.contexts.get(self.active.text or "", {})
        if what.in_file in context:
            found.append(Value(context[what.in_file], Source.CONTEXT, f"context {self.active.text}"))
        return [*found, Value(what.default, Source.DEFAULT)]

    def _secret_fits(self) -> bool:
        """Whether INTERNAL_SECRET may be sent: not to a far server that a context names together with its own key."""
        server = self.value("server")
        has_key = "key" in self.contexts.get(self.active.text or "", {})
        return not (server.source is Source.CONTEXT and has_key) or is_loopback(server.text or "")

    def value(self, name: str) -> Value:
        """The value that counts, checked against what the field permits."""
        value = self.candidates(name)[0]
        _check(FIELDS[name], value)
        return value


def read_layers(
    flags: Mapping[str, str],
    *,
    environ: Mapping[str, str] = os.environ,
    folder: Path | None = None,
    lenient: bool = False,
) -> Layers:
    """Read the environment and the files; `flags` are what the command line gave, by field name and `context`.

    `lenient` is for the commands that make and repair contexts: the active one need not exist.
    """
    config = read_config(files.config_file(environ))
    contexts = config.get("contexts", {})
    local_path = (folder or files.here()) / files.LOCAL_FILE
    local, warnings = _read_local(local_path, environ)
    active = active_context(flags, environ, config)
    if active.text is not None and active.text not in contexts and not lenient:
        near = get_close_matches(active.text, contexts, n=1)
        hint = f"did you mean `{near[0]}`?" if near else "`strait context list` shows them"
        raise NotFoundError(f'there is no context "{active.text}" ({active.origin})', hint=hint)
    return Layers(flags, environ, local, local_path, contexts, active, tuple(warnings))


def active_context(flags: Mapping[str, str], environ: Mapping[str, str], config: Mapping[str, Any]) -> Value:
    """Which context is in force, whether it exists or not."""
    if "context" in flags:
        return Value(flags["context"], Source.FLAG, "--context")
    if environ.get("STRAIT_CONTEXT"):
        return Value(environ["STRAIT_CONTEXT"], Source.ENV, "STRAIT_CONTEXT")
    if config.get("current"):
        return Value(str(config["current"]), Source.CONTEXT, str(files.config_file(environ)))
    return Value(None, Source.DEFAULT)


def read_config(path: Path) -> dict[str, Any]:
    """The user's own config.toml, checked: `current`, `[contexts.NAME]` with the fields we know, `[aliases]`."""
    text = files.read_text(path)
    if text is None:
        return {}
    config = parse_toml(text, path)
    _refuse_unknown(config, ("current", "contexts", "aliases"), str(path))
    aliases = config.setdefault("aliases", {})
    if not isinstance(aliases, dict) or not all(isinstance(one, str) for one in aliases.values()):
        raise ConfigError(f'{path}: [aliases] must be lines like bad = "runs list"', hint="fix it: strait config edit")
    contexts = config.setdefault("contexts", {})
    if not isinstance(contexts, dict) or not all(isinstance(one, dict) for one in contexts.values()):
        raise ConfigError(f"{path}: contexts must be tables like [contexts.prod]", hint="fix it: strait config edit")
    for name, context in contexts.items():
        where = f"{path}: [contexts.{name}]"
        _refuse_unknown(context, tuple(one.in_file for one in FIELDS.values()), where)
        contexts[name] = {key: _as_text(value, f"{where} {key}") for key, value in context.items()}
    return config


def _read_local(path: Path, environ: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    text = files.read_strange(path)
    if text is None:
        return {}, []
    table = parse_toml(text, path)
    _refuse_unknown(table, (*LOCAL_FIELDS, *(one.in_file for one in FIELDS.values() if one.guarded)), str(path))
    values = {key: _as_text(value, f"{path}: {key}") for key, value in table.items()}
    guarded = [key for key in values if key not in LOCAL_FIELDS]
    if not guarded or trust.is_trusted(path, text, environ):
        return values, []
    ignored = " and ".join(guarded)
    warning = f"{path} sets {ignored}: ignored until you have read the file and run `strait config trust`"
    return {key: value for key, value in values.items() if key in LOCAL_FIELDS}, [warning]


def parse_toml(text: str, path: Path) -> dict[str, Any]:
    """TOML, or a ConfigError that names the file and the line."""
    import tomllib  # noqa: PLC0415 - not needed where there is no file

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}", hint="fix it: strait config edit") from error


def _refuse_unknown(table: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"known here: {', '.join(known)}"
            raise ConfigError(f"{where}: unknown setting `{key}`", hint=hint)


def _as_text(value: object, where: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise ConfigError(f"{where} must be text", hint="strait config edit")


def _check(what: Field, value: Value) -> None:
    text = value.text
    if text is None:
        return
    fault = None
    if what.choices and text not in what.choices:
        fault = f"must be one of {', '.join(what.choices)}"
    elif what.name == "server" and not text.startswith(("http://", "https://")):
        fault = "must begin with http:// or https://"
    elif what.name == "request_timeout" and not _positive(text):
        fault = "must be a number of seconds above 0"
    if fault:
        message = f'{value.origin or what.name}: "{text}" is no {_flag(what.name)}: {fault}'
        raise (UsageError if value.source is Source.FLAG else ConfigError)(message)


def check_value(name: str, text: str) -> None:
    """Refuse a value that the field does not permit, as if it had been given by flag."""
    _check(FIELDS[name], Value(text, Source.FLAG, name))


def _positive(text: str) -> bool:
    try:
        return 0 < float(text) < float("inf")
    except ValueError:
        return False


def _flag(name: str) -> str:
    return {"format": "output"}.get(name, name).replace("_", "-")

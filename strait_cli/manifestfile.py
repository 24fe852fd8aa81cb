"""Manifests in files: YAML, JSON or TOML, `${VAR}` filled in, later files laid over earlier ones field by field.

Variables are filled in after parsing, so what one holds can never change the structure of a file. In YAML a value that
is not quoted is read again once it is filled in: `timeout_secs: ${SECS}` is a number.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import yaml

from strait_cli import exact
from strait_cli.body import SECRETS, read_text
from strait_cli.flowfile import Loader
from strait_cli.keys import read_secret
from strait_core.errors import Fault, UsageError, ValidationError

DEFAULT_FILES: Final = ("strait.yaml", "strait.yml", "strait.json", "strait.toml")
LISTS: Final = ("calendars", "jobs", "workflows")
NAMES: Final = ("project", "name", *LISTS)
SUFFIXES: Final = (".yaml", ".yml", ".json", ".toml")
# Aliases of aliases make a small file an endless one; no manifest has so many values.
MOST_VALUES: Final = 100_000
MOST_DEPTH: Final = 128
# What a file from anybody's repository must not get hold of.
OWN: Final = frozenset(
    {
        "API_KEY",
        "INTERNAL_SECRET",
        "JWT_SIGNING_KEY",
        "ENCRYPTION_KEY",
        "DATABASE_URL",
        "DATABASE_DIRECT_URL",
        "REDIS_URL",
        "CHANGES_WEBHOOK_URL",
        "CHANGES_WEBHOOK_SECRET",
    }
)
# What stands for a secret where none is needed.
UNREAD: Final = "x" * 32
_VARIABLE: Final = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\})?")

Environ = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Source:
    """One file as it was read: its content, and the lines on which values stand, by their JSON pointers."""

    name: str
    content: dict[str, Any]
    lines: Mapping[str, int]

    def place(self, pointer: str) -> str:
        """Where something stands, or what is around it: `strait.yaml:12`."""
        while pointer and pointer not in self.lines:
            pointer = pointer.rpartition("/")[0]
        return f"{self.name}:{self.lines[pointer]}" if pointer in self.lines else self.name


@dataclass(slots=True)
class Document:
    """What all files say together, as the body of a request; `origins` tells from where each field came."""

    body: dict[str, Any]
    origins: dict[str, tuple[Source, str]] = field(default_factory=dict)

    def place(self, pointer: str) -> str | None:
        """Where what a pointer into the body means was written; None when nowhere."""
        outer, rest = pointer, ""
        while outer:
            if outer in self.origins:
                source, inner = self.origins[outer]
                return source.place(inner + rest)
            outer, _, last = outer.rpartition("/")
            rest = f"/{last}{rest}"
        return None


class _Fill:
    """Fills in variables; remembers those that are not there."""

    def __init__(self, name: str, environ: Environ) -> None:
        self._name = name
        self._environ = environ
        self.faults: list[Fault] = []

    def text(self, text: str, pointer: str, line: int | None) -> str:
        def value(found: re.Match[str]) -> str:
            if found[0] == "$${":
                return "${"
            if found[1] is None:
                return self._missing(pointer, line, "${ begins a variable: ${NAME} or ${NAME:-default}; $${ is text")
            if found[1].removeprefix("STRAIT_") in OWN:
                # A name in a URL is looked up by the server: whoever wrote the file would hear of the key.
                return self._missing(pointer, line, f"{found[1]} is a credential of Strait's own; no manifest holds it")
            held = self._environ.get(found[1])
            if found[2] is not None:
                return held or found[2]
            if held is None:
                return self._missing(
                    pointer, line, f"the variable {found[1]} is not set; ${{{found[1]}:-…}} has a default"
                )
            return held

        return _VARIABLE.sub(value, text) if "${" in text else text

    def _missing(self, pointer: str, line: int | None, said: str) -> str:
        self.faults.append(Fault(pointer, f"{self._name}{f':{line}' if line else ''}: {said}"))
        return ""


def chosen_files(names: Sequence[str]) -> list[str]:
    """The files that are meant: as named, or the one that a project has; UsageError when there is none."""
    if names:
        return list(names)
    found = next((name for name in DEFAULT_FILES if Path(name).is_file()), None)
    if found is None:
        raise UsageError("there is no strait.yaml here", hint="name a file: -f FILE; or begin with one: strait init")
    return [found]


def read(names: Sequence[str], *, with_secrets: bool = True, environ: Environ = os.environ) -> Document:
    """All the files, later ones laid over earlier ones; raises UsageError and, with every fault, ValidationError.

    Without `with_secrets` what `env:NAME` and `@file` stand for is not looked for.
    """
    layers = [_layer(name, environ) for name in chosen_files(names)]
    document = Document({})
    for sources in layers:
        _lay_over(document, sources)
    faults = [fault for one in layers for source in one for fault in source.faults]
    if faults:
        raise ValidationError(faults)
    _read_secrets(document, with_secrets=with_secrets, environ=environ)
    return document


@dataclass(frozen=True, slots=True)
class _Read(Source):
    faults: Sequence[Fault] = ()


def _layer(name: str, environ: Environ) -> list[_Read]:
    """The files that one `-f` names: itself, or those of a folder, which are parts of one whole."""
    folder = Path(name)
    if name == "-" or not folder.is_dir():
        return [_read_one(name, environ)]
    found = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES and path.is_file())
    if not found:
        raise UsageError(f"{name} has no {', '.join(SUFFIXES)} file")
    parts = [_read_one(str(path), environ) for path in found]
    seen: dict[tuple[str, str], str] = {}
    for part in parts:
        for kind, at, slug in _slugs(part):
            before = seen.setdefault((kind, slug), part.name)
            if before != part.name:
                raise UsageError(
                    f"{kind} {slug} stands in {before} and in {part.place(f'/{kind}/{at}')}",
                    hint="files of a folder are parts of one whole; to lay one over another: -f A -f B",
                )
    return parts


def _read_one(name: str, environ: Environ) -> _Read:
    text = read_text(name if name == "-" else f"@{name}", "--file")
    shown = "standard input" if name == "-" else name
    suffix = Path(name).suffix
    fill = _Fill(shown, environ)
    try:
        if suffix == ".toml":
            content, lines = _from_toml(text, fill)
        elif suffix == ".json" or (suffix not in SUFFIXES and text.lstrip()[:1] == "{"):
            content, lines = _filled(exact.loads(text), text, fill), {}
        else:
            content, lines = _from_yaml(text, fill)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        kind = {".toml": "TOML", ".json": "JSON"}.get(suffix, "YAML")
        raise UsageError(f"{shown} is not {kind}: {error}") from error
    source = _Read(shown, content if isinstance(content, dict) else {}, lines, fill.faults)
    _check_shape(source, content)
    return source


def _check_shape(source: Source, content: Any) -> None:
    """A manifest's outermost form; what stands inside is judged as any request is."""
    if not isinstance(content, dict):
        raise UsageError(f"{source.name} is no manifest", hint="it begins like: jobs: [{slug: …, name: …, …}]")
    for name in content:
        if name not in NAMES:
            near = get_close_matches(str(name), NAMES, n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"there are: {', '.join(NAMES)}"
            raise UsageError(f'{source.place(f"/{name}")}: a manifest has no "{name}"', hint=hint)
    for kind in LISTS:
        listed = content.get(kind)
        if listed is None:
            continue
        if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
            raise UsageError(f"{source.place(f'/{kind}')}: {kind} must be a list of objects")
        seen: set[str] = set()
        for at, one in enumerate(listed):
            slug = one.get("slug")
            if not isinstance(slug, str):
                raise UsageError(f"{source.place(f'/{kind}/{at}')}: an object of {kind} has no slug")
            if slug in seen:
                raise UsageError(f"{source.place(f'/{kind}/{at}')}: {kind} {slug} stands twice")
            seen.add(slug)


def _slugs(source: Source) -> list[tuple[str, int, str]]:
    return [(kind, at, one["slug"]) for kind in LISTS for at, one in enumerate(source.content.get(kind) or ())]


# ── the three languages ───────────────────────────────────────────────────────────────────────────────────────────────


def _from_toml(text: str, fill: _Fill) -> tuple[Any, dict[str, int]]:
    import tomllib  # noqa: PLC0415 - only for such files

    return _filled(tomllib.loads(text, parse_float=exact.loads), text, fill), {}


def _filled(value: Any, text: str, fill: _Fill, pointer: str = "") -> Any:
    """A value with its variables filled in, and dates as text; lines are found by looking for the variable."""
    match value:
        case dict():
            return {key: _filled(inner, text, fill, f"{pointer}/{key}") for key, inner in value.items()}
        case list():
            return [_filled(inner, text, fill, f"{pointer}/{at}") for at, inner in enumerate(value)]
        case str():
            return fill.text(value, pointer, _line_of(text, value))
        case datetime() | date() | time():
            return value.isoformat()
    return value


def _line_of(text: str, value: str) -> int | None:
    at = text.find("${" + value.partition("${")[2].partition("}")[0])
    return text.count("\n", 0, at) + 1 if at >= 0 else None


def _from_yaml(text: str, fill: _Fill) -> tuple[Any, dict[str, int]]:
    loader = Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return {}, {}
        lines: dict[str, int] = {}
        _Walk(loader, fill, lines).over(node, "", 0)
        return loader.construct_document(node), lines
    finally:
        loader.dispose()


class _Walk:
    """Goes over the nodes of a YAML document once: variables, lines, repeated keys, aliases without end."""

    def __init__(self, loader: Any, fill: _Fill, lines: dict[str, int]) -> None:
        self._loader = loader
        self._fill = fill
        self._lines = lines
        self._seen: set[int] = set()
        self._count = 0

    def over(self, node: Any, pointer: str, depth: int) -> None:
        self._count += 1
        if self._count > MOST_VALUES or depth > MOST_DEPTH:
            raise ValueError("it has too many values, or nests too deeply")
        line = node.start_mark.line + 1
        self._lines.setdefault(pointer, line)
        match node:
            case yaml.MappingNode():
                self._mapping(node, pointer, depth)
            case yaml.SequenceNode():
                for at, inner in enumerate(node.value):
                    self.over(inner, f"{pointer}/{at}", depth + 1)
            case yaml.ScalarNode() if id(node) not in self._seen and "${" in node.value:
                self._seen.add(id(node))
                node.value = self._fill.text(node.value, pointer, line)
                if node.style is None:
                    node.tag = self._loader.resolve(yaml.ScalarNode, node.value, (True, False))

    def _mapping(self, node: Any, pointer: str, depth: int) -> None:
        keys: set[str] = set()
        for key, inner in node.value:
            name = str(key.value)
            if name in keys and name != "<<":
                raise ValueError(f'line {key.start_mark.line + 1}: "{name}" stands twice in its object')
            keys.add(name)
            self.over(inner, f"{pointer}/{name}", depth + 1)


# ── laying over ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _lay_over(document: Document, sources: Sequence[Source]) -> None:
    """Lay a layer over what there is: a field of an object goes before the same field of earlier layers."""
    for source in sources:
        for name, value in source.content.items():
            if name not in LISTS:
                document.body[name] = value
                document.origins[f"/{name}"] = (source, f"/{name}")
                continue
            document.origins.setdefault(f"/{name}", (source, f"/{name}"))
            listed: list[dict[str, Any]] = document.body.setdefault(name, [])
            for at, one in enumerate(value or ()):
                _lay_one(document, name, listed, one, (source, f"/{name}/{at}"))


def _lay_one(
    document: Document, kind: str, listed: list[dict[str, Any]], one: dict[str, Any], origin: tuple[Source, str]
) -> None:
    source, place = origin
    at = next((at for at, item in enumerate(listed) if item["slug"] == one["slug"]), len(listed))
    if at == len(listed):
        listed.append({})
    document.origins.setdefault(f"/{kind}/{at}", origin)
    for name, value in one.items():
        listed[at][name] = value
        document.origins[f"/{kind}/{at}/{name}"] = (source, f"{place}/{name}")


def _read_secrets(document: Document, *, with_secrets: bool, environ: Environ) -> None:
    """Put secrets in the place of what stands for them; none is ever shown."""
    for at, job in enumerate(document.body.get("jobs") or ()):
        for name in SECRETS & job.keys():
            said = job[name]
            if not isinstance(said, str) or not said.startswith(("@", "env:")):
                continue
            source, _ = document.origins[f"/jobs/{at}/{name}"]
            job[name] = _secret(said, source, f"jobs {job['slug']} {name}", environ) if with_secrets else UNREAD


def _secret(said: str, source: Source, what: str, environ: Environ) -> str:
    if said.startswith("@") and not Path(said[1:]).is_absolute():
        # Beside the file that names it, wherever the command is typed.
        said = f"@{Path(source.name).parent / said[1:]}"
    return read_secret(said, flag=what, environ=environ)

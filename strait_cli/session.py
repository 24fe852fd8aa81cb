"""One invocation: its settings, its API client and its printer, each made when first asked for."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from strait_cli.context import Layers, read_layers
from strait_cli.output import Printer, View, terminal_of
from strait_cli.table import safe

if TYPE_CHECKING:
    from strait_cli.client import Client, Pages

# The flags that are settings, under the name of their field.
_SETTINGS = ("server", "api_key", "project", "format", "time_format", "color", "request_timeout", "context")


class Session:
    """What a verb works with; `given` are the global flags as parsed, absent ones None or False."""

    def __init__(self, given: Mapping[str, Any], *, lenient: bool = False) -> None:
        self.given = given
        self._lenient = lenient

    @cached_property
    def layers(self) -> Layers:
        """The settings, read once; a local file's refused settings are mentioned on stderr."""
        flags = {name: str(self.given[name]) for name in _SETTINGS if self.given.get(name) is not None}
        layers = read_layers(flags, lenient=self._lenient)
        if not self.given.get("quiet"):
            for warning in layers.warnings:
                sys.stderr.write(f"warning: {safe(warning)}\n")
        return layers

    @cached_property
    def out(self) -> Printer:
        """The one renderer."""
        value = self.layers.value("format")
        fields = self.given.get("fields")
        view = View(
            format=value.text or "table",
            format_named=value.source.value == "flag",
            fields=tuple(part.strip() for part in fields.split(",") if part.strip()) if fields else (),
            jq=self.given.get("jq"),
            template=self.given.get("template"),
            sort=self.given.get("sort"),
            headers=not self.given.get("no_headers"),
            time_format=self.layers.value("time_format").text,
            quiet=bool(self.given.get("quiet")),
        )
        color = self.layers.value("color").text or "auto"
        return Printer(view, terminal_of(sys.stdout, color, os.environ), terminal_of(sys.stderr, color, os.environ))

    @cached_property
    def api(self) -> Client:
        """The HTTP client of the chosen server."""
        from strait_cli.keys import find_key  # noqa: PLC0415 - only when something is asked for

        return self.client_with(find_key(self.layers), self.layers.value("api_key").origin)

    def api_of(self, project: str) -> Client:
        """The same, for one project, whatever project is in force."""
        if self.project == project:
            return self.api
        from dataclasses import replace  # noqa: PLC0415 - as above

        api = self.api
        api.connection = replace(api.connection, project=project)
        api.http.headers["X-Project-Id"] = project
        return api

    def client_with(self, key: str | None, origin: str) -> Client:
        """A client of the chosen server that sends this key, which came from `origin`; the caller closes it."""
        from strait_cli.client import Client, Connection  # noqa: PLC0415 - httpx, only when something is asked for

        return Client(
            Connection(
                server=self.layers.value("server").text or "",
                key=key,
                key_origin=origin,
                project=self.layers.value("project").text,
                timeout=float(self.layers.value("request_timeout").text or 30),
            ),
            trace=self.out.trace if self.given.get("verbose") else None,
        )

    @property
    def has_screen(self) -> bool:
        """Whether a view may take the whole terminal: one at both ends, and nothing asked for but to look."""
        is_terminal = sys.stdin.isatty() and os.environ.get("TERM", "") not in {"dumb", ""}
        return self.out.is_human and is_terminal and not self.out.view.fields

    def close(self) -> None:
        """Let go of the connections, if any were made."""
        if "api" in self.__dict__:
            self.api.http.close()

    @property
    def project(self) -> str | None:
        """The project in force, None = all."""
        return self.layers.value("project").text

    def more(self, pages: Pages) -> None:
        """Say that a list goes on beyond its limit."""
        if pages.more:
            self.out.note(f"there are more: --limit {pages.limit * 10} shows up to so many")

    def done(self, text: str, identity: str, deed: str) -> None:
        """Report a deed that leaves no object to show."""
        if self.out.view.format in {"table", "wide"} and not self.out.is_raw:
            self.out.note(text)
        else:
            self.out.item({"id": identity, deed: True})

"""Holds every answer that a test sees against the OpenAPI document that the server itself serves."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

import httpx
from openapi_schema_validator import OAS31Validator


@dataclass
class Contract:
    """The served document, and which (operation, status) pairs the tests have seen."""

    document: dict[str, Any]
    seen: set[tuple[str, str]] = field(default_factory=set)

    def check(self, response: httpx.Response) -> None:
        """Fail unless the answer's status, media type, headers and body are as the document says."""
        operation = self.operation(response.request.method, response.request.url.path)
        if operation is None:
            # No such route, no such method on it, or the page that shows the document: these alone are not in it.
            page = response.request.url.path.startswith("/docs")
            assert response.status_code in ({200} if page else {204, 404, 405}), response.status_code
            return
        status = str(response.status_code)
        assert status in operation["responses"], f"{operation['operationId']} answered an undocumented {status}"
        self.seen.add((operation["operationId"], status))
        documented = operation["responses"][status]
        always = [name for name, header in documented["headers"].items() if header.get("required", True)]
        for name in ("X-Request-Id", *always):
            assert name.lower() in response.headers, f"{operation['operationId']} {status} lacks {name}"
        content = documented.get("content")
        if content is None:
            assert not response.headers.get("content-type")
            return
        media = response.headers["content-type"].partition(";")[0]
        assert media in content, f"{operation['operationId']} {status} answered {media}"
        if media.endswith("json") and response.request.method != "HEAD":
            self._check_body(content[media]["schema"], response)

    def operation(self, method: str, path: str) -> dict[str, Any] | None:
        """The operation that a request reached."""
        wanted = "get" if method == "HEAD" else method.lower()
        for template, methods in self.document["paths"].items():
            pattern = re.sub(r"\{\w+\}", "[^/]+", template)
            if re.fullmatch(pattern, path) and wanted in methods:
                found: dict[str, Any] = methods[wanted]
                return found
        return None

    def _check_body(self, schema: dict[str, Any], response: httpx.Response) -> None:
        response.read()
        validator = OAS31Validator({**schema, "components": self.document["components"]})
        faults = [
            f"{list(error.absolute_path)}: {error.message}" for error in validator.iter_errors(_decoded(response))
        ]
        assert faults == [], f"{response.request.method} {response.request.url.path} {response.status_code}"


def _decoded(response: httpx.Response) -> Any:
    # A payload may hold a number of more digits than Python reads; its value does not matter here.
    return json.loads(response.content, parse_int=lambda digits: int(digits[:20]))

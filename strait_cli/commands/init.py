"""`strait init`: the first files of a project."""

from __future__ import annotations

from importlib.resources import files as resources
from pathlib import Path
from typing import Annotated, Final

import typer

from strait_cli.session import Session
from strait_cli.table import Column
from strait_cli.verbs import leaf, verb
from strait_core.errors import ConflictError, UsageError

# The framework of the endpoint → its file; beside it come the manifest and the example of the environment.
FRAMEWORKS: Final = {"fastapi": "fastapi_endpoint.py", "flask": "flask_endpoint.py", "none": None}
_ALWAYS: Final = {"strait.yaml": "strait.yaml.txt", ".env.example": "env.example.txt"}
_COLUMNS: Final = (Column("file"), Column("for", shrinks=True))
_PURPOSE: Final = {
    "strait.yaml": "jobs and workflows: strait diff, strait apply",
    ".env.example": "what the environment holds: copy it to .env",
    "strait.schema.json": "lets editors complete strait.yaml",
}

app = leaf()


@verb(
    app,
    "init",
    local=True,
    examples=("strait init", "strait init billing --framework flask", "strait init --framework none"),
)
def init(
    session: Session,
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="Where; it is made if it is not there.")] = ".",
    framework: Annotated[
        str, typer.Option("--framework", help="The endpoint sample: fastapi, flask or none.", metavar="NAME")
    ] = "fastapi",
) -> None:
    """Write the first files of a project: strait.yaml with its schema, an endpoint in Python, .env.example.

    A file that is there is never touched: then nothing is written, and the command ends with 6.
    """
    if framework not in FRAMEWORKS:
        raise UsageError(f'--framework: "{framework}" is none of {", ".join(FRAMEWORKS)}')
    wanted = _texts(framework)
    there = [name for name in wanted if (Path(folder) / name).exists()]
    if there:
        raise ConflictError(f"{', '.join(there)} is there already", hint="strait init FOLDER writes elsewhere")
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        for name, text in wanted.items():
            # Created, never replaced: whoever makes the file meanwhile keeps it.
            with (Path(folder) / name).open("x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}") from error
    rows = [{"file": str(Path(folder) / name), "for": _PURPOSE.get(name, "what the job calls")} for name in wanted]
    session.out.items(rows, _COLUMNS, name="file")
    session.out.note("with a server (strait dev) and the endpoint running, go on with: strait apply")


def _texts(framework: str) -> dict[str, str]:
    from strait_cli import exact  # noqa: PLC0415 - for this verb only
    from strait_core.schemas import manifest_schema  # noqa: PLC0415

    folder = resources("strait_cli").joinpath("templates")
    texts = {name: folder.joinpath(source).read_text("utf-8") for name, source in _ALWAYS.items()}
    texts["strait.schema.json"] = exact.dumps(manifest_schema(), indent=2) + "\n"
    endpoint = FRAMEWORKS[framework]
    if endpoint is not None:
        texts[endpoint] = folder.joinpath(f"{framework}.py.txt").read_text("utf-8")
    return texts


APPS: Final = {"init": app}

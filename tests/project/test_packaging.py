"""The distribution: what a wheel carries, and what it must not."""

from __future__ import annotations

import re
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

import strait_core
from tests.project.tree import PACKAGES, ROOT, files, text


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of this checkout, built by the backend that pyproject.toml names."""
    folder = tmp_path_factory.mktemp("wheel")
    (built,) = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    return zipfile.ZipFile(built)


def test_wheel_carries_everything_that_git_tracks(wheel: zipfile.ZipFile):
    """Modules, SQL, migrations, assets, templates and type markers all ship, and nothing else does."""
    tracked = {path.as_posix() for path in files() if path.parts[0] in PACKAGES}
    shipped = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert shipped == tracked


def test_wheel_installs_one_command(wheel: zipfile.ZipFile):
    """`strait`, and no other name on anybody's PATH."""
    (name,) = (name for name in wheel.namelist() if name.endswith("/entry_points.txt"))
    parser = ConfigParser()
    parser.read_string(wheel.read(name).decode())
    assert {section: dict(parser[section]) for section in parser.sections()} == {
        "console_scripts": {"strait": "strait_cli.main:main"}
    }


def test_wheel_says_what_it_is(wheel: zipfile.ZipFile):
    """Name, licence, oldest Python and the extra stand in the metadata, the licence text beside it."""
    (name,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    metadata = wheel.read(name).decode()
    assert "\nName: strait\n" in metadata
    assert "\nLicense-Expression: Apache-2.0\n" in metadata
    assert "\nRequires-Python: >=3.11\n" in metadata
    assert "\nProvides-Extra: embedded\n" in metadata
    assert any(name.endswith("/licenses/LICENSE") for name in wheel.namelist())


def test_wheel_needs_no_library_of_the_machine(wheel: zipfile.ZipFile):
    """Psycopg brings its libpq and tzdata the zones: a bare machine has neither."""
    (name,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    wanted = re.findall(r"^Requires-Dist: (.+)$", wheel.read(name).decode(), re.MULTILINE)
    assert any(line.startswith("psycopg[binary,pool]") for line in wanted)
    assert any(line.startswith("tzdata") for line in wanted)


def test_the_version_is_written_once(wheel: zipfile.ZipFile):
    """The literal in strait_core is the wheel's version, and nobody states another."""
    (name,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    assert f"\nVersion: {strait_core.__version__}\n" in wheel.read(name).decode()
    stating = [
        str(path) for path in files() if (found := text(path)) and re.search(r"^__version__ *=", found, re.MULTILINE)
    ]
    assert stating == ["strait_core/__init__.py"]


def test_typed_marker_is_empty():
    """`py.typed` with words in it would mean something else to a type checker."""
    assert [name for name in PACKAGES if (ROOT / name / "py.typed").read_bytes()] == []
    assert Path("LICENSE") in files()

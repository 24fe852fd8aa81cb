"""Environments outside the checkout for what is measured beside Strait: made once, kept in a cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path


def cache() -> Path:
    """`$XDG_CACHE_HOME/strait/benchmarks`, by default under `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(base) if base.startswith("/") else Path.home() / ".cache"
    return root / "strait" / "benchmarks"


def python_with(name: str, *requirements: str) -> Path:
    """The Python of an environment that has exactly these requirements; made anew when they change."""
    folder = cache() / name
    stamp = folder / "requirements"
    wanted = "\n".join([sys.version, *requirements])
    python = folder / "bin" / "python"
    if not (stamp.exists() and stamp.read_text() == wanted):
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *requirements], check=True)
        stamp.write_text(wanted)
    return python


def node_with(name: str, requirement: str) -> Path | str:
    """A folder whose node_modules has the package; or why there is none."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        return "node and npm are not on this machine"
    folder = cache() / name
    stamp = folder / "requirements"
    if not (stamp.exists() and stamp.read_text() == requirement):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "package.json").write_text('{"private":true}\n')
        done = subprocess.run(
            ["npm", "install", "--silent", "--no-audit", "--no-fund", requirement],
            cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            return f"npm could not install {requirement}: {done.stderr.strip()[-300:]}"
        stamp.write_text(requirement)
    return folder

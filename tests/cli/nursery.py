"""A program that starts `strait` again and again, each time in a new process that has loaded nothing of ours yet.

What others wrote is loaded once, before the processes part: a start costs a quarter of one from nothing. It reads one
JSON object a line (words, environ, folder, out, err) and answers each with the exit code.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from typing import Any


def begin(asked: dict[str, Any]) -> None:
    """Be `strait WORDS` from here on, in the new process."""
    os.environ.clear()
    os.environ.update(asked["environ"])
    os.chdir(asked["folder"])
    for number, name in ((1, "out"), (2, "err")):
        handle = os.open(asked[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(handle, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    from strait_cli.main import main

    code = main(asked["words"])
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # Taking apart what was loaded before the processes parted would cost as much as the command.
    os._exit(code)


def serve() -> None:
    """Answer until nobody asks."""
    import httpx  # noqa: F401 - what every start would load
    import keyring  # noqa: F401
    import msgspec  # noqa: F401
    import rich.progress  # noqa: F401
    import tomlkit  # noqa: F401
    import typer  # noqa: F401
    import yaml  # noqa: F401

    gc.disable()
    mine = [name for name in sys.modules if name.startswith("strait_")]
    assert mine == [], mine
    while line := sys.stdin.readline():
        pid = os.fork()
        if pid == 0:
            begin(json.loads(line))
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve()

"""A program that starts daemons again and again, each in a new process that need not load the program anew.

It reads one JSON object a line (words, environ, folder, output, ending) and answers each with the pid. How the process
ended is written to the file `ending`, as an exit code, by a watcher that does nothing else.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn


def begin(asked: dict[str, Any]) -> NoReturn:
    """Be `python -m strait_daemon WORDS` from here on, in the new process."""
    from strait_daemon.__main__ import main

    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(asked["environ"])
    time.tzset()
    os.chdir(asked["folder"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    output = os.open(asked["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.argv = ["strait", *asked["words"]]
    code = 1
    try:
        code = main(asked["words"])
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 2
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        # Taking apart what was loaded before the processes parted would cost as much as the start.
        os._exit(code)


def watch(asked: dict[str, Any]) -> NoReturn:
    """Start the process, say its pid, and wait for its end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        begin(asked)
    print(pid, flush=True)
    for handle in (0, 1):
        os.dup2(os.open(os.devnull, os.O_RDWR), handle)
    _, status = os.waitpid(pid, 0)
    ending = Path(asked["ending"])
    written = ending.with_suffix(".part")
    written.write_text(str(os.waitstatus_to_exitcode(status)))
    written.rename(ending)
    os._exit(0)


def serve() -> None:
    """Answer until nobody asks; Ctrl-C is for the processes started here, and those end by themselves."""
    import strait_daemon.__main__
    import strait_daemon.serve
    import strait_daemon.wiring  # noqa: F401 - what every start would load

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    while line := sys.stdin.readline():
        if os.fork() == 0:
            watch(json.loads(line))


if __name__ == "__main__":
    serve()

"""Where `strait` begins: the shortest way to an answer, and one mapping from failure to exit code.

Nothing heavy may be imported at module level: `--version`, `--help` and the first word's completion answer before
typer is loaded.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from strait_cli import __version__, tree

if TYPE_CHECKING:
    from strait_core.errors import StraitError

INTERRUPTED = 130
# 128 + SIGPIPE, what a program that does not catch the signal would leave.
BROKEN_PIPE = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line `strait ARGUMENTS…` and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    # Text the terminal's encoding lacks is shown escaped rather than failing the command.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _answer(words)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has gone. Python would complain once more at exit when it flushes, so it flushes into nothing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except KeyboardInterrupt:
        return INTERRUPTED
    return code


def _answer(words: list[str]) -> int:
    if "_STRAIT_COMPLETE" in os.environ:
        from strait_cli.completion import complete  # noqa: PLC0415 - only when a shell asks

        return complete(words, os.environ["_STRAIT_COMPLETE"])
    page = _page(words)
    if page is not None:
        sys.stdout.write(page)
        return 0
    return run([*words[1:], "--help"] if words[0] == "help" else _with_serve(words))


def _page(words: list[str]) -> str | None:
    """What is printed without the parser; None for all else."""
    match words:
        case ["--version"]:
            return f"strait {__version__}\n"
        case [] | ["--help"] | ["-h"] | ["help"]:
            return tree.root_help()
        case ["--llms"]:
            from strait_cli.reference import every_page  # noqa: PLC0415 - loads all commands

            return every_page()
        case ["help", topic] if topic in tree.TOPICS:
            from strait_cli.topics import text_of  # noqa: PLC0415 - only when asked for

            return text_of(topic)
    return None


def _with_serve(words: list[str]) -> list[str]:
    """`strait --mode all` means `strait serve --mode all`."""
    for at, word in enumerate(words):
        if word in tree.NOUNS or word in tree.ALIASES:
            break
        if word == "--mode" or word.startswith("--mode="):
            return [*words[:at], "serve", *words[at:]]
    return words


def run(words: list[str]) -> int:
    """Parse and run one command; every failure ends here as an exit code and a panel."""
    import typer  # noqa: PLC0415 - see the module docstring
    from typer.exceptions import TyperException  # noqa: PLC0415

    from strait_cli import errors  # noqa: PLC0415
    from strait_core.errors import StraitError  # noqa: PLC0415

    try:
        return _invoke(words)
    except typer.Exit as leave:
        return leave.exit_code
    except StraitError as error:
        errors.show(error, words)
        return _above_differences(words, exit_code(error))
    except TyperException as error:
        wrong = errors.usage(error)
        errors.show(wrong, words)
        return exit_code(wrong)
    except KeyboardInterrupt:
        errors.say_interrupted()
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as fault:
        if os.environ.get("STRAIT_TRACEBACK"):
            raise
        known = errors.cannot_write(fault) if isinstance(fault, OSError) else errors.own_fault(fault)
        errors.show(known, words)
        return _above_differences(words, 1)


def _above_differences(words: list[str], code: int) -> int:
    """An error's exit code: 1 of a `diff` means that there are differences, so its errors are above."""
    at = tree.command_place(words)
    return 2 if code == 1 and at is not None and "diff" in words[at : at + 2] else code


def _invoke(words: list[str]) -> int:
    """The command that the words mean, an alias among them; a failure comes as an exception."""
    from strait_cli import aliases  # noqa: PLC0415 - see the module docstring
    from strait_cli.groups import root  # noqa: PLC0415

    meant = aliases.expand(words) or words
    if isinstance(meant, aliases.ShellLine):
        return aliases.call(meant)
    with root().make_context(tree.PROGRAM, list(meant)) as context:
        context.command.invoke(context)
    return 0


def exit_code(error: StraitError) -> int:
    """The exit code of an error, by its class alone."""
    from strait_core import errors as core  # noqa: PLC0415 - see the module docstring

    codes: dict[type[StraitError], int] = {
        core.UsageError: 2,
        core.ConfigError: 3,
        core.AuthError: 4,
        core.ForbiddenError: 4,
        core.NotFoundError: 5,
        core.GoneError: 5,
        core.ConflictError: 6,
        core.PreconditionError: 6,
        core.ValidationError: 7,
        core.TooLargeError: 7,
        core.HeadTooLargeError: 7,
        core.UnsupportedMediaError: 7,
        core.RateLimitedError: 8,
        core.BudgetError: 8,
        core.UnavailableError: 8,
        core.RunFailedError: 9,
        core.PartialError: 10,
        core.DeadlineError: 124,
    }
    return codes.get(type(error), 1)


if __name__ == "__main__":
    sys.exit(main())

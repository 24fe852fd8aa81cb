"""`python -m strait_daemon VERB`: what the command line hands over to. Secrets come by the environment only."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from strait_core.errors import ConfigError, StraitError, UnavailableError

EXIT_CONFIG = 3
EXIT_NETWORK = 8


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; its exit code."""
    arguments = _parser().parse_args(argv)
    try:
        return _run(arguments)
    except (ConfigError, UnavailableError) as error:
        _say(error)
        return EXIT_CONFIG
    except StraitError as error:
        _say(error)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="strait")
    verbs = parser.add_subparsers(dest="verb", required=True)
    serve = verbs.add_parser("serve")
    serve.add_argument("--mode", choices=["all", "api", "worker"])
    serve.add_argument("--host")
    serve.add_argument("--port", type=int)
    serve.add_argument("--processes", type=int)
    # What the supervisor tells the processes it starts.
    serve.add_argument("--supervised", action="store_true", help=argparse.SUPPRESS)
    serve.add_argument("--socket", type=int, help=argparse.SUPPRESS)
    serve.add_argument("--worker-id", type=UUID, help=argparse.SUPPRESS)
    serve.add_argument("--predecessor", type=UUID, help=argparse.SUPPRESS)
    serve.add_argument("--number", type=int, default=0, help=argparse.SUPPRESS)
    serve.add_argument("--siblings", type=Path, help=argparse.SUPPRESS)
    serve.add_argument("--inner-socket", type=int, help=argparse.SUPPRESS)
    dev = verbs.add_parser("dev")
    where = dev.add_mutually_exclusive_group()
    where.add_argument("--db", type=Path)
    where.add_argument("--ephemeral", action="store_true")
    dev.add_argument("--port", type=int)
    dev.add_argument("--no-sample", action="store_true")
    dev.add_argument("--no-job", action="store_true")
    dev.add_argument("--piped", action="store_true")
    reset = verbs.add_parser("dev-reset")
    reset.add_argument("--db", type=Path)
    migrate = verbs.add_parser("migrate")
    migrate.add_argument("action", choices=["status", "up"])
    migrate.add_argument("-o", "--output", default="table")
    doctor = verbs.add_parser("doctor")
    doctor.add_argument("--invariants", action="store_true")
    doctor.add_argument("-o", "--output", default="table")
    return parser


def _run(arguments: argparse.Namespace) -> int:
    match arguments.verb:
        case "serve":
            return _serve(arguments)
        case "dev":
            from strait_daemon.dev import DevOptions, dev  # noqa: PLC0415

            return dev(
                DevOptions(
                    db=arguments.db,
                    ephemeral=arguments.ephemeral,
                    port=arguments.port,
                    sample=not arguments.no_sample,
                    job=not arguments.no_job,
                    piped=arguments.piped,
                )
            )
        case "dev-reset":
            from strait_daemon.dev import reset  # noqa: PLC0415

            return reset(arguments.db)
        case "doctor":
            return _doctor(arguments)
        case _:
            from strait_daemon.migrations import migrate  # noqa: PLC0415

            return asyncio.run(migrate(arguments.action, arguments.output))


def _doctor(arguments: argparse.Namespace) -> int:
    from strait_daemon.doctor import doctor, look  # noqa: PLC0415 - each verb loads what it needs

    if not arguments.invariants:
        return asyncio.run(look())
    try:
        return asyncio.run(doctor(arguments.output))
    except UnavailableError as error:
        # Here the database is what was asked about, not a setting of the program's.
        _say(error)
        return EXIT_NETWORK


def _serve(arguments: argparse.Namespace) -> int:
    from strait_daemon.serve import serve  # noqa: PLC0415 - each verb loads what it needs
    from strait_daemon.settings import Supervised  # noqa: PLC0415

    names = ("mode", "host", "port", "processes")
    given = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    if not arguments.supervised:
        return serve(given)
    supervised = Supervised(
        socket=arguments.socket,
        worker_id=arguments.worker_id,
        predecessor=arguments.predecessor,
        number=arguments.number,
        folder=arguments.siblings,
        inner=arguments.inner_socket,
    )
    return serve(given, supervised)


def _say(error: StraitError) -> None:
    lines = [f"error: {error.message}"]
    if error.hint:
        lines.append(f"  fix: {error.hint}")
    print("\n".join(lines), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())

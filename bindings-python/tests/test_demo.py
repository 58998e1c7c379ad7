"""`python -m leakpool demo`: the story comes true, on a server that is given and on one that is started; nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg
import pytest
from leakpool import __version__, _server


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "DATABASE_URL"))}
    return subprocess.run(
        [sys.executable, "-X", "dev", "-m", "leakpool", *arguments],
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def clusters() -> set[str]:
    return {path.name for path in Path(tempfile.gettempdir()).glob("leakpool-demo-*")}


def test_the_story_on_the_server_of_database_url(dsn: str) -> None:
    told = run("demo", DATABASE_URL=dsn)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "the server of DATABASE_URL" in told.stdout
    assert "The story came true" in told.stdout
    # The line that leaks is named, and the password is not.
    assert "LEAK: reserve_stock (" in told.stdout
    assert psycopg.conninfo.conninfo_to_dict(dsn)["password"] not in told.stdout + told.stderr
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT to_regclass('demo_orders')").fetchone() == (None,)


def test_the_story_on_a_server_of_its_own() -> None:
    before = clusters()
    told = run("demo")
    assert told.returncode == 0, told.stdout + told.stderr
    assert "a throw-away server from" in told.stdout
    assert clusters() <= before


def test_the_server_ends_with_the_demo_that_is_told_to_end() -> None:
    before = clusters()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "DATABASE_URL"))}
    command = [sys.executable, "-u", "-m", "leakpool", "demo"]
    with subprocess.Popen(
        command, env=kept, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "Monday" in line:
                break
        (cluster,) = clusters() - before
        pid = int(
            (Path(tempfile.gettempdir()) / cluster / "data" / "postmaster.pid").read_text().split("\n")[0]
        )
        demo.send_signal(signal.SIGTERM)
        demo.stdout.read()
    assert demo.returncode == 128 + signal.SIGTERM
    assert clusters() <= before
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_server, "_installed", lambda _environment: iter(()))
    monkeypatch.setattr(_server, "_of_the_extra", list)
    with pytest.raises(
        _server.NoServer, match="set DATABASE_URL=.*\n.*install PostgreSQL.*\n.*leakpool\\[demo\\]"
    ):
        with _server.server({}):
            pass


def test_the_order_in_which_a_server_is_looked_for() -> None:
    with _server.server({"DATABASE_URL": "postgres://a/b", "PGHOST": "c"}) as found:
        assert found.dsn == "postgres://a/b"
    with _server.server({"PGHOST": "c", "PGSSLMODE": "require"}) as found:
        assert (found.dsn, found.about) == ("", "the server of PGHOST")


def test_a_server_that_does_not_start_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, script in {
        "initdb": "#!/bin/sh\nmkdir data; touch data/postgresql.conf",
        "postgres": "#!/bin/sh\necho broken",
    }.items():
        (tmp_path / name).write_text(script + "\n")
        (tmp_path / name).chmod(0o755)
    # Its user must get there, whoever runs the tests.
    for parent in (tmp_path, *tmp_path.parents):
        if parent.is_relative_to(tempfile.gettempdir()) and parent != Path(tempfile.gettempdir()):
            parent.chmod(0o755)
    monkeypatch.setattr(_server, "_installed", lambda _environment: iter([tmp_path]))
    before, began = clusters(), time.monotonic()
    with pytest.raises(_server.NoServer, match=r"(?s)did not start.*broken"):
        with _server.server({}):
            pass
    assert clusters() <= before
    assert time.monotonic() - began < 20


def test_the_command_line() -> None:
    assert run("--version").stdout == f"leakpool {__version__}\n"
    wrong = run("dance")
    assert wrong.returncode == 2
    assert "demo" in wrong.stderr

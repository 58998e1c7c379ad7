"""The README tells the truth: its examples run against a server and pass `mypy --strict`, its table of options is the
table in force.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import leakpool
import psycopg
import pytest

README = Path(__file__).parents[1] / "README.md"

#: What the examples connect to; in the tests it is another server's database.
SHOP = "postgres://app@localhost/shop"

#: What is done with an example that only defines something, by a line of it.
DRIVERS = {
    "app = FastAPI(": """
from fastapi.testclient import TestClient

with TestClient(app) as client:
    assert client.get("/orders/1").json() == {"total": "5"}, client.get("/orders/1").text
    assert client.get("/orders/0").status_code == 404
    assert "leakpool" in client.get("/metrics").text
""",
    "app = Flask(": """
client = app.test_client()
assert client.get("/orders/1").text == "5"
assert client.get("/orders/0").text == "none"
""",
}

#: The dialect that a package declares is known once it is installed; here it is used from where it stands.
DIALECT = """
from sqlalchemy.dialects import registry

registry.register("postgresql.leakpool", "leakpool.sqlalchemy", "Dialect")
"""


def examples() -> list[tuple[int, str]]:
    """The README's Python examples, each with the line where it begins."""
    text = README.read_text()
    found = re.finditer(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [(text.count("\n", 0, match.start(1)) + 1, match[1]) for match in found]


@pytest.fixture(scope="module")
def shop() -> Iterator[str]:
    """A database as the examples expect it."""
    url = urlsplit(os.environ["DATABASE_URL"])
    name = f"leakpool_readme_{os.getpid()}"
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        try:
            dsn = urlunsplit(url._replace(path=f"/{name}"))
            with psycopg.connect(dsn) as connection:
                connection.execute("CREATE TABLE orders (id serial PRIMARY KEY, total numeric, note text)")
                connection.execute("INSERT INTO orders (total, note) VALUES (5, 'gift')")
            yield dsn
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_there_are_examples() -> None:
    assert len(examples()) >= 5
    assert all(any(line in code for _, code in examples()) for line in DRIVERS)


@pytest.mark.parametrize(("line", "code"), [pytest.param(*e, id=f"line {e[0]}") for e in examples()])
def test_an_example_runs(line: int, code: str, shop: str, tmp_path: Path) -> None:
    for begin, driver in DRIVERS.items():
        if begin in code:
            code += driver
    if "postgresql+leakpool:" in code:
        code = DIALECT + code
    script = tmp_path / f"readme_{line}.py"
    script.write_text(code.replace(SHOP, shop).replace(SHOP.split("://")[1], shop.split("://")[1]))
    done = subprocess.run(
        [sys.executable, "-X", "dev", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    # In development mode, what was forgotten is complained of.
    assert "Warning" not in done.stderr, done.stderr


def test_the_examples_pass_mypy_strict(tmp_path: Path) -> None:
    for line, code in examples():
        (tmp_path / f"readme_{line}.py").write_text(code)
    scripts = sorted(tmp_path.glob("*.py"))
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        # asyncpg has no types.
        "--disable-error-code=import-untyped",
        f"--cache-dir={tmp_path / 'cache'}",
        *map(str, scripts),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_table_of_options_is_the_one_in_force() -> None:
    section = README.read_text().split("\n## Options\n")[1].split("\n## ")[0]
    told = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", section, re.MULTILINE))
    pool = leakpool.Pool(SHOP, open=False)
    in_force = {name if name != "reset" else "reset_session": value for name, value in pool.options()}
    # Each pool has a name of its own.
    in_force["name"] = "pool-1, pool-2, ..."
    assert told == in_force


def test_the_table_of_options_says_what_the_core_says() -> None:
    row = re.compile(r"^\| .*`(\w+)` \| [^|]* \| (.*) \|$", re.MULTILINE)
    core = dict(row.findall((README.parents[1] / "README.md").read_text()))
    section = README.read_text().split("\n## Options\n")[1].split("\n## ")[0]
    for name, doc in row.findall(section):
        assert doc == core["reset" if name == "reset_session" else name]

"""Runs the README's examples with the leakpool that is installed, in an environment with nothing else: no pytest here.

Called by scripts/test-python-install with the README's path. An example that needs a package which is not installed (a web
framework) is skipped by name; tests/test_readme.py runs those.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import leakpool

SHOP = "postgres://app@localhost/shop"


def missing(code: str) -> list[str]:
    """The modules that an example imports and that are not here."""
    names = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    # Other drivers by the name of their dialect, too.
    names |= set(re.findall(r"postgresql\+(\w+):", code))
    return sorted(name for name in names if importlib.util.find_spec(name) is None)


def main(readme: str) -> None:
    home = Path(leakpool.__file__)
    if not home.is_relative_to(sys.prefix):
        raise SystemExit(f"this is not the installed package: {home}")
    url = urlsplit(os.environ["DATABASE_URL"])
    name = f"leakpool_installed_{os.getpid()}"
    shop = urlunsplit(url._replace(path=f"/{name}"))
    ran = 0
    with leakpool.connect(os.environ["DATABASE_URL"], autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        try:
            with leakpool.connect(shop) as conn:
                conn.execute("CREATE TABLE orders (id serial PRIMARY KEY, total numeric, note text)")
                conn.execute("INSERT INTO orders (total, note) VALUES (5, 'gift')")
            for match in re.finditer(
                r"^```python\n(.*?)^```$", Path(readme).read_text(), re.DOTALL | re.MULTILINE
            ):
                code = match[1]
                without = missing(code)
                if without:
                    print(f"skipped: the example with {', '.join(without)}, which is not installed")
                    continue
                with tempfile.NamedTemporaryFile("w", suffix=".py") as script:
                    script.write(code.replace(SHOP, shop).replace(SHOP.split("://")[1], shop.split("://")[1]))
                    script.flush()
                    subprocess.run(
                        [sys.executable, script.name], check=True, timeout=60, stdout=subprocess.DEVNULL
                    )
                ran += 1
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    if ran < 4:
        raise SystemExit(f"only {ran} examples ran")
    print(f"leakpool {leakpool.__version__} from {home.parent}: {ran} examples ran")


main(sys.argv[1])

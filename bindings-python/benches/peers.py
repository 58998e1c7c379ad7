"""The pools that are compared, each as its users make it: default options but for the size. All talk plain TCP."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from typing import Any
from urllib.parse import urlsplit, urlunsplit


def plain(dsn: str) -> str:
    """The same server without TLS: psqlpy and asyncpg would not encrypt by themselves, libpq would."""
    parts = urlsplit(dsn)
    query = "&".join(filter(None, [parts.query, "sslmode=disable"]))
    return urlunsplit(parts._replace(query=query))


def have(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def versions() -> str:
    told = []
    for name in ("psycopg", "psycopg-binary", "psycopg-pool", "asyncpg", "psqlpy", "SQLAlchemy", "uvloop"):
        try:
            told.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            told.append(f"without {name}")
    return ", ".join(told)


def ours(dsn: str, size: int, **options: Any) -> Any:
    import leakpool

    pool = leakpool.Pool(plain(dsn), min_size=size, max_size=size, **options)
    pool.wait()
    return pool


def psycopgs(dsn: str, size: int, **options: Any) -> Any:
    import psycopg_pool

    pool = psycopg_pool.ConnectionPool(plain(dsn), min_size=size, max_size=size, open=True, **options)
    pool.wait()
    return pool


async def ours_async(dsn: str, size: int, **options: Any) -> Any:
    import leakpool

    pool = leakpool.AsyncPool(plain(dsn), min_size=size, max_size=size, open=False, **options)
    await pool.open(wait=True)
    return pool


async def psycopgs_async(dsn: str, size: int, **options: Any) -> Any:
    import psycopg_pool

    pool = psycopg_pool.AsyncConnectionPool(plain(dsn), min_size=size, max_size=size, open=False, **options)
    await pool.open(wait=True)
    return pool


async def asyncpgs(dsn: str, size: int, **options: Any) -> Any:
    import asyncpg  # type: ignore[import-untyped]

    return await asyncpg.create_pool(plain(dsn), min_size=size, max_size=size, **options)


async def psqlpys(dsn: str, size: int) -> Any:
    import psqlpy  # type: ignore[import-not-found, unused-ignore]

    # It refuses a pool of one.
    pool = psqlpy.ConnectionPool(dsn=plain(dsn), max_db_pool_size=max(size, 2))
    held = [await pool.connection() for _ in range(size)]
    for connection in held:
        connection.close()
    return pool

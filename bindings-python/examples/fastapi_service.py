"""A web service on FastAPI: one pool, one route that uses it, one that shows it. DATABASE_URL says where the server is.

DATABASE_URL=postgres://app@localhost/shop uvicorn fastapi_service:app
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import leakpool
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse

pool = leakpool.AsyncPool(os.environ["DATABASE_URL"], name="fastapi", max_size=5, open=False)


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """The pool lives as long as the service does."""
    async with pool:
        yield


app = FastAPI(lifespan=lifespan)


@app.exception_handler(leakpool.errors.PoolTimeout)
async def busy(_request: Request, error: leakpool.errors.PoolTimeout) -> JSONResponse:
    """An acquire that has waited too long is not the client's fault, and over soon."""
    return JSONResponse({"detail": "busy"}, 503)


@app.get("/square/{number}")
async def square(number: int) -> dict[str, int]:
    """Released on every path. The line of the `async with` is the one that a report would name."""
    async with pool.connection() as conn:
        cursor = await conn.execute("SELECT %s::int4 * %s::int4", (number, number))
        row = await cursor.fetchone()
    assert row is not None
    return {"square": row[0]}


@app.get("/metrics", response_class=PlainTextResponse)
async def metrics() -> str:
    """For Prometheus."""
    return pool.openmetrics()

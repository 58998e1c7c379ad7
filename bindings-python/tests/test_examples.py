"""The examples are run, and do what they say."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_the_service_on_fastapi(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", dsn)
    spec = importlib.util.spec_from_file_location("fastapi_service", EXAMPLES / "fastapi_service.py")
    assert spec is not None and spec.loader is not None
    service = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(service)
    with TestClient(service.app) as client:
        assert client.get("/square/12").json() == {"square": 144}
        assert (
            'leakpool_leaks_total{db_client_connection_pool_name="fastapi"} 0' in client.get("/metrics").text
        )
    assert service.pool.closed

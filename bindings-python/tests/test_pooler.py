"""Through PgBouncer in transaction mode, with default options: every answer is the right one, and nothing is deleted."""

from __future__ import annotations

import os
import threading

import leakpool
import pytest

POOLER = os.environ.get("PGBOUNCER_URL")


@pytest.mark.skipif(POOLER is None, reason="PGBOUNCER_URL is not set: run under tests/with-pgbouncer")
def test_every_answer_is_right(dsn: str) -> None:
    assert POOLER is not None
    with leakpool.Pool(dsn, max_size=1) as direct, direct.connection() as conn:
        conn.execute("DROP TABLE IF EXISTS python_safe; CREATE TABLE python_safe (id int PRIMARY KEY, v int)")
        conn.execute("INSERT INTO python_safe SELECT g, g * 10 FROM generate_series(1, 100) g")
    wrong: list[object] = []

    def ask(pool: leakpool.Pool, n: int) -> None:
        try:
            for round in range(60):
                key = 1 + (round + n) % 100
                with pool.connection() as conn:
                    conn.autocommit = n % 3 == 0
                    if n % 2:
                        row = conn.execute("SELECT v FROM python_safe WHERE id = %s", [key]).fetchone()
                        if row != (key * 10,):
                            wrong.append((n, round, row))
                    elif conn.execute("DELETE FROM python_safe WHERE id = %s", [999]).rowcount != 0:
                        wrong.append((n, round))
        except leakpool.Error as error:
            wrong.append(error)

    with (
        leakpool.Pool(POOLER, min_size=0, max_size=5) as one,
        leakpool.Pool(POOLER, min_size=0, max_size=5) as other,
    ):
        threads = [threading.Thread(target=ask, args=((one, other)[n % 2], n)) for n in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        with one.connection() as conn:
            assert conn.execute("SELECT count(*) FROM python_safe").fetchone() == (100,)

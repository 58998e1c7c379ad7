"""Several starts of one benchmark, each pinned where it is to run: where heap and code come to lie differs from start to
start, so the rounds of several are put together. Client and server share a CPU or do not, and latency depends on that
more than on anything else: so a benchmark says in which places it wants to be measured.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

from .rounds import Samples, merge

#: Where the client may run, seen from the server's CPU.
SAME, ACROSS, ANYWHERE = "same CPU as the server", "another CPU than the server", "client on any CPU"


def server_cpu(dsn: str) -> int | None:
    """The one CPU that the server is pinned to; None if it is not, or is on another machine."""
    import psycopg

    with psycopg.connect(dsn) as connection:
        pid = connection.info.backend_pid
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("Cpus_allowed_list:"):
                return int(line.split(":")[1])
    return None


def in_starts(benchmark: str, starts: int, place: str, pinned: int | None, *arguments: str) -> Samples:
    """Measures in that many processes of their own. Nothing if the client cannot be put there, or a start fails."""
    cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if place == ANYWHERE:
        wanted = cpus
    elif place == SAME:
        wanted = [pinned] if pinned in cpus else []
    else:
        wanted = [cpu for cpu in cpus if cpu != pinned][:1] if pinned is not None else []
    if cpus and not wanted:
        print(f"  {place}: cannot be had here; that row is missing")
        return {}
    together: Samples = {}
    for _ in range(starts):
        command = [sys.executable, "-m", "benches", "--child", benchmark]
        command += ["--cpus", ",".join(map(str, wanted)), *arguments]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            print(f"  {benchmark}: a start failed ({done.returncode})", flush=True)
            continue
        merge(together, json.loads(done.stdout.splitlines()[-1]))
    return together

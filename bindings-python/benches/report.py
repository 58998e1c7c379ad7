"""Rows for the report that all benchmarks share: they are left in target/bench/rows as JSON, and core/benches/render.rs
renders what is there. The form is that of `Section` and `Row` in core/benches/support/report.rs.
"""

from __future__ import annotations

import json
import os
import statistics
from pathlib import Path
from typing import Any

from .rounds import Samples, ratios, spread


def time_of(nanos: float) -> str:
    """Nanoseconds as people read them."""
    if nanos < 1e3:
        return f"{nanos:.0f} ns"
    return f"{nanos / 1e3:.2f} µs" if nanos < 1e6 else f"{nanos / 1e6:.2f} ms"


class Section:
    """What one benchmark has to say. Made before the measuring, so that it tells how busy the machine was."""

    def __init__(self, title: str, text: str) -> None:
        self.title, self.text, self.load = title, text, f"{os.getloadavg()[0]:.2f}"
        self.rows: list[dict[str, Any]] = []

    def ratio(
        self, samples: Samples, name: str, base: str, goal: float | None = None, note: str = ""
    ) -> None:
        """A ratio of two cases, with their absolute medians."""
        if name not in samples or base not in samples:
            return
        medians = [statistics.median(samples[n]) for n in (name, base)]
        about = f"{time_of(medians[0])} against {time_of(medians[1])}" + (f"; {note}" if note else "")
        middle = spread(ratios(samples, name, base))
        row = {"work": name, "against": base, "unit": "x", "goal": goal, "spread": middle, "note": about}
        self.rows.append(row)
        met = "" if goal is None else f"  goal <= {goal}: {'yes' if middle['median'] <= goal else 'NO'}"
        print(
            f"  {name} / {base}: {middle['median']:.3f} x ({middle['q1']:.3f}..{middle['q3']:.3f}, "
            f"{middle['count']} rounds; {about}){met}",
            flush=True,
        )

    def finish(self, file: str) -> None:
        """Leaves the rows. `file` decides the order in the report."""
        if not self.rows:
            return
        directory = Path(os.environ["LEAKPOOL_BENCH_DIR"]) / "rows"
        directory.mkdir(parents=True, exist_ok=True)
        told = {"title": self.title, "text": self.text, "load": self.load, "rows": self.rows}
        (directory / f"{file}.json").write_text(json.dumps(told, indent=2, ensure_ascii=False))

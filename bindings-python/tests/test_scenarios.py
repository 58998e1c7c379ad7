"""Every scenario of tests/scenarios, in Python: what leakpool does, told once for all languages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from _scenario import Runner
from _scenario_parts import FOLDER, skipped
from conftest import Run

SCENARIOS = sorted(path for path in FOLDER.glob("*.json") if path.name != "schema.json")


def test_there_are_scenarios() -> None:
    assert len(SCENARIOS) >= 60


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario(path: Path, run: Run) -> None:
    scenario = json.loads(path.read_text(encoding="utf-8"))
    unknown = scenario.keys() - {"$schema", "description", "server", "pool", "steps", "cleanup"}
    assert not unknown
    reason = skipped(scenario)
    if reason is not None:
        pytest.skip(reason)
    run(Runner(scenario).run())

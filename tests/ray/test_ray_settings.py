"""Settings of the service on Ray: read, refused, documented; and nothing else of the service needs Ray."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from service.ray_settings import RaySettings

ROOT = Path(__file__).resolve().parents[2]
DOCS = (ROOT / "docs" / "ray.md").read_text(encoding="utf-8")
ROWS = {cells[0]: cells[1:] for cells in (
    [cell.strip() for cell in line.strip("|").split("|")] for line in DOCS.splitlines() if line.startswith("| `")
)}


@pytest.mark.parametrize("name", RaySettings.model_fields)
def test_every_setting_is_documented(name: str) -> None:
    field = RaySettings.model_fields[name]
    assert ROWS[f"`ONOMA_RAY_{name.upper()}`"] == [f"`{field.default:g}`", field.description]


def test_nothing_is_documented_that_is_gone() -> None:
    assert set(re.findall(r"`ONOMA_RAY_(\w+)`", DOCS)) == {name.upper() for name in RaySettings.model_fields}


def test_arguments_go_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONOMA_RAY_TEACHER_MAX_REPLICAS", "5")
    monkeypatch.setenv("ONOMA_RAY_CPUS", "2")
    settings = RaySettings.model_validate({"cpus": 0.5})
    assert (settings.teacher_max_replicas, settings.cpus) == (5, 0.5)


def test_fewest_and_most() -> None:
    with pytest.raises(ValueError, match="teacher_max_replicas must be at least teacher_replicas, 3, got 2"):
        RaySettings(teacher_replicas=3)
    settings = RaySettings(student_replicas=2, student_max_replicas=6, student_target_requests=3)
    scaling = settings.autoscaling(student=True)
    assert (scaling["min_replicas"], scaling["max_replicas"], scaling["target_ongoing_requests"]) == (2, 6, 3)
    assert RaySettings().autoscaling(student=False)["max_replicas"] == 2


def test_the_service_needs_no_ray() -> None:
    modules = [path.stem for path in (ROOT / "service").glob("*.py") if path.stem not in ("ray", "tracing")]
    assert {"app", "remote", "ray_proxy", "ray_settings"} <= set(modules)
    imports = "; ".join(f"import service.{name}" for name in sorted(modules))
    found = subprocess.run(
        [sys.executable, "-c", f"{imports}; import sys; print('ray' in sys.modules)"],
        capture_output=True, text=True, cwd=ROOT, check=True,
    )  # fmt: skip
    assert found.stdout.strip() == "False"

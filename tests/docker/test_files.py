"""The container files: cheap checks of what a build and a compose run rely on."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")


def load_yaml(path: Path) -> dict[str, Any]:
    """A YAML file as a mapping; skips where no YAML parser is installed."""
    yaml = pytest.importorskip("yaml")
    loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


def instructions(name: str) -> list[str]:
    """The arguments of every instruction of that name, with continuation lines joined."""
    joined = re.sub(r"\\\n\s*", "", DOCKERFILE)
    return re.findall(rf"^{name} +(.*)$", joined, flags=re.MULTILINE)


def test_dockerfile_serves_without_rights_and_without_torch() -> None:
    assert instructions("USER") == ["10001:10001"]
    assert instructions("EXPOSE") == ["8000"]
    assert instructions("CMD") == ['["onoma", "serve", "--host", "0.0.0.0", "--port", "8000"]']
    assert "/readyz" in instructions("HEALTHCHECK")[0]
    assert len(instructions("FROM")) == 2
    assert not re.search(r"torch|transformers|\[[a-z,]+\]' *$|\.\[", DOCKERFILE)


def test_every_copied_path_is_in_the_build_context() -> None:
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    kept = {line[1:] for line in ignore if line.startswith("!")}
    for arguments in instructions("COPY"):
        if "--from" not in arguments:
            assert set(arguments.split()[:-1]) <= kept


def test_compose_is_hardened_and_waits_for_health() -> None:
    services = load_yaml(ROOT / "docker-compose.yml")["services"]
    onoma = services["onoma"]
    assert onoma["read_only"] is True and onoma["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in onoma["security_opt"]
    assert onoma["mem_limit"] and onoma["cpus"] and onoma["stop_grace_period"]
    assert "/readyz" in onoma["healthcheck"]["test"][-1]
    assert services["prometheus"]["depends_on"] == {"onoma": {"condition": "service_healthy"}}
    assert (ROOT / onoma["build"]["dockerfile"]).exists()


def test_prometheus_scrapes_the_compose_service() -> None:
    services = load_yaml(ROOT / "docker-compose.yml")["services"]
    jobs = load_yaml(ROOT / "docker" / "prometheus.yml")["scrape_configs"]
    assert [target for job in jobs for static in job["static_configs"] for target in static["targets"]] == [
        "onoma:8000"
    ]
    assert services["onoma"]["ports"][0].endswith(":8000")
    mounts = services["prometheus"]["volumes"]
    assert any(mount.startswith("./docker/prometheus.yml:") for mount in mounts)


def test_scripts_are_legal_shell() -> None:
    subprocess.run(["bash", "-n", str(ROOT / "docker" / "verify.sh")], check=True)

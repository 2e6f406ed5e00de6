"""What `serve run service.ray:app` builds, without a Ray that runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_bundles import write_fake, write_fakes

from onoma.errors import BundleError
from service.ray_settings import RaySettings
from service.settings import Settings

pytest.importorskip("ray.serve", reason="needs the extra `ray`")


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "models"
    write_fakes(folder)
    monkeypatch.setenv("ONOMA_MODELS", str(folder))
    monkeypatch.setenv("RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH", "so.that:it is restored")
    yield folder


def deployments(**settings: Any) -> dict[str, Any]:
    """The deployments of the application, by name."""
    from service.ray import app

    student = app(RaySettings(**settings))._bound_deployment
    others = [one._bound_deployment for one in student.init_args[1].values()]
    return {one.name: one for one in (student, *others)}


def test_a_deployment_for_each_model(models: Path) -> None:
    write_fake(models / "mine", rows=3)
    found = deployments(student_replicas=2, student_max_replicas=6, teacher_max_replicas=3, cpus=2.5)
    assert set(found) == {"student", "teacher", "mine"}
    scaling = {name: one._deployment_config.autoscaling_config for name, one in found.items()}
    assert {name: (one.min_replicas, one.max_replicas) for name, one in scaling.items()} == {
        "student": (2, 6), "teacher": (1, 3), "mine": (1, 3),
    }  # fmt: skip
    for one in found.values():
        assert one.ray_actor_options["num_cpus"] == 2.5
        settings: Settings = one.init_args[0]
        assert (settings.threads, settings.models) == (2, models)


def test_a_replica_refuses_before_ray_does(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONOMA_MAX_IN_FLIGHT", "10")
    config = deployments()["student"]._deployment_config
    assert config.max_ongoing_requests > 10
    assert config.max_queued_requests == RaySettings().max_queued_requests
    assert (config.backpressure_config.status_code, config.backpressure_config.retry_after_s) == (429, 1)


def test_a_replica_that_goes_has_as_long_as_a_server_that_stops(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONOMA_SHUTDOWN_SECONDS", "77")
    assert {one._deployment_config.graceful_shutdown_timeout_s for one in deployments().values()} == {77}


def test_management_is_refused(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONOMA_MANAGEMENT", "true")
    with pytest.raises(ValueError, match="management: .*ONOMA_MANAGEMENT must be false"):
        deployments()


def test_no_student(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONOMA_MODELS", str(tmp_path))
    with pytest.raises(BundleError, match="no bundle at .*student"):
        deployments()

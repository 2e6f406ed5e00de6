"""The Kubernetes and KubeRay manifests: against the schemas of Kubernetes, and against what the service really does.

Custom resources have schemas of their own, which no package carries: ONOMA_SCHEMAS names a folder with the files
servicemonitors-crd.json (prometheus-operator) and ray.io_rayservices.yaml (kuberay); without it that test is skipped.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from service.ray_settings import RaySettings
from service.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
CLOSING_SECONDS = 15  # what service/server.py allows beyond draining and shutting down
CUSTOM = {"ServiceMonitor": "servicemonitors-crd.json", "RayService": "ray.io_rayservices.yaml"}


def manifests() -> list[dict[str, Any]]:
    """Every object in every file."""
    files = sorted(DEPLOY.rglob("*.yaml"))
    return [one for file in files for one in yaml.safe_load_all(file.read_text(encoding="utf-8"))]


def only(kind: str) -> dict[str, Any]:
    (found,) = [one for one in manifests() if one["kind"] == kind]
    return found


def native() -> Iterator[dict[str, Any]]:
    """Objects that Kubernetes itself knows; of a RayService, its pod templates."""
    for one in manifests():
        if one["kind"] == "RayService":
            cluster = one["spec"]["rayClusterConfig"]
            for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
                name = group.get("groupName", "head")
                yield {
                    "apiVersion": "v1",
                    "kind": "PodTemplate",
                    "metadata": {"name": name},
                    "template": group["template"],
                }
        elif one["kind"] not in CUSTOM:
            yield one


def pods() -> list[dict[str, Any]]:
    """The specification of every pod."""
    templates = [
        one["template"] if one["kind"] == "PodTemplate" else one["spec"]["template"]
        for one in native()
        if one["kind"] in ("PodTemplate", "Deployment")
    ]
    return [template["spec"] for template in templates]


def environment(pod: dict[str, Any]) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in pod["containers"][0].get("env", [])}


def test_objects_are_what_kubernetes_takes() -> None:
    validate = pytest.importorskip("kubernetes_validate").validate
    kinds = []
    for one in native():
        validate(one, "1.37", strict=True)
        kinds.append(one["kind"])
    assert sorted(kinds) == sorted(
        ["Deployment", "HorizontalPodAutoscaler", "PodDisruptionBudget", "PodTemplate", "PodTemplate", "Service"]
    )


def test_the_validation_is_strict() -> None:
    package = pytest.importorskip("kubernetes_validate")
    broken = only("Service")
    broken["spec"]["port"] = 80
    with pytest.raises(package.ValidationError):
        package.validate(broken, "1.37", strict=True)


def closed(schema: Any) -> Any:
    """A CRD's schema that also refuses fields it does not name, as `kubectl apply` does."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: closed(value) for key, value in schema.items()}
    if schema.get("x-kubernetes-int-or-string"):
        result.pop("type", None)
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        result.setdefault("additionalProperties", False)
    return result


@pytest.mark.parametrize("kind", sorted(CUSTOM))
def test_custom_objects_are_what_their_operators_take(kind: str) -> None:
    if "ONOMA_SCHEMAS" not in os.environ:
        pytest.skip(f"ONOMA_SCHEMAS names no folder with {CUSTOM[kind]}")
    definition = yaml.safe_load((Path(os.environ["ONOMA_SCHEMAS"]) / CUSTOM[kind]).read_text(encoding="utf-8"))
    version = only(kind)["apiVersion"].split("/")[1]
    (schema,) = [one["schema"]["openAPIV3Schema"] for one in definition["spec"]["versions"] if one["name"] == version]
    schema = closed(schema)
    schema["properties"]["metadata"] = {"type": "object"}
    jsonschema.Draft7Validator(schema).validate(only(kind))


def test_pods_have_no_rights() -> None:
    assert len(pods()) == 3
    for pod in pods():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        # Kubernetes would otherwise set ONOMA_PORT=tcp://..., for the service called onoma, and the server not start.
        assert pod["enableServiceLinks"] is False
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"]
    (container,) = only("Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True


def test_environment_is_made_of_settings() -> None:
    for pod in pods():
        own = {name: value for name, value in environment(pod).items() if name.startswith("ONOMA_")}
        given = {name.removeprefix("ONOMA_").lower(): value for name, value in own.items()}
        assert given and set(given) <= set(Settings.model_fields)
        Settings.model_validate(given)


def test_pods_have_the_time_that_draining_takes() -> None:
    pod = only("Deployment")["spec"]["template"]["spec"]
    given = environment(pod)
    drain, shutdown = int(given["ONOMA_DRAIN_SECONDS"]), int(given["ONOMA_SHUTDOWN_SECONDS"])
    assert pod["terminationGracePeriodSeconds"] >= drain + shutdown + CLOSING_SECONDS
    probe = pod["containers"][0]["readinessProbe"]
    # A node that asks is told in time, and so is a balancer that asks as often.
    assert drain >= probe["periodSeconds"] * probe["failureThreshold"]
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]["onoma"]
    assert int(compose["stop_grace_period"].rstrip("s")) > Settings().drain_seconds + Settings().shutdown_seconds


def test_probes_ask_what_the_service_has() -> None:
    (container,) = only("Deployment")["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": 8000}
    paths = {name: container[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert {name: probe["path"] for name, probe in paths.items()} == {
        "startupProbe": "/readyz",
        "readinessProbe": "/readyz",
        "livenessProbe": "/healthz",
    }
    assert all(probe["port"] == "http" for probe in paths.values())
    # An inference may take ready_seconds, and the answer must still be in time.
    assert container["readinessProbe"]["timeoutSeconds"] > Settings().ready_seconds


def test_objects_find_each_other() -> None:
    deployment = only("Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    service, budget, scaler = only("Service"), only("PodDisruptionBudget"), only("HorizontalPodAutoscaler")
    for selector in (
        deployment["spec"]["selector"]["matchLabels"],
        service["spec"]["selector"],
        budget["spec"]["selector"]["matchLabels"],
        deployment["spec"]["template"]["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
    assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"]
    # With one pod a budget of one would forbid or permit everything.
    assert scaler["spec"]["minReplicas"] > budget["spec"]["maxUnavailable"]
    monitor = only("ServiceMonitor")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]


def test_the_service_on_kubernetes_is_not_that_on_ray() -> None:
    ray_pods = [one["template"]["metadata"]["labels"] for one in native() if one["kind"] == "PodTemplate"]
    component = only("Service")["spec"]["selector"].get("app.kubernetes.io/component")
    assert all(labels["app.kubernetes.io/component"] != component for labels in ray_pods) and component


@pytest.mark.ray
def test_ray_serve_takes_the_configuration() -> None:
    spec = only("RayService")["spec"]
    (application,) = yaml.safe_load(spec["serveConfigV2"])["applications"]
    settings = RaySettings.model_validate(application["args"])
    module, _, name = application["import_path"].partition(":")
    assert f"\ndef {name}(" in (ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    cluster = spec["rayClusterConfig"]
    assert f"\nray=={cluster['rayVersion']}\n" in constraints
    # The least number of replicas fits onto the least number of workers.
    (workers,) = cluster["workerGroupSpecs"]
    cores = float(workers["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"])
    needed = (settings.student_replicas + settings.teacher_replicas) * settings.cpus
    assert needed <= cores * workers["minReplicas"]
    most = (settings.student_max_replicas + settings.teacher_max_replicas) * settings.cpus
    assert most >= cores * workers["maxReplicas"]


def test_ray_serve_knows_every_field_of_the_configuration() -> None:
    pytest.importorskip("ray")
    # In a process of its own: importing Ray warns, and takes its time.
    code = (
        "import sys, yaml\n"
        "from ray.serve.schema import ServeDeploySchema\n"
        "ServeDeploySchema.model_validate(yaml.safe_load(sys.stdin.read()))\n"
    )
    config = only("RayService")["spec"]["serveConfigV2"]
    for given, status in ((config, 0), (config.replace("import_path", "import_pth"), 1)):
        done = subprocess.run([sys.executable, "-c", code], input=given, text=True, capture_output=True, check=False)
        assert done.returncode == status, done.stderr

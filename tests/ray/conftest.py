"""One local Ray for all tests that need one. They are heavy and run by `make test-ray` alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

sys.path.insert(0, str(Path(__file__).parents[1] / "service"))  # for `import fakes`
sys.path.insert(0, str(Path(__file__).parent))

from fake_bundles import write_fakes
from on_ray import OnRay
from shared_tests import MODULES

pytest.register_assert_rewrite(*MODULES)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    own = [item for item in items if Path(__file__).parent in item.path.parents]
    for item in own:
        item.add_marker("ray")
        if find_spec("ray") is None:
            item.add_marker(pytest.mark.skip(reason="needs the extra `ray`"))


@pytest.fixture(scope="session")
def on_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnRay]:
    """Ray with the models of fake_bundles.py: two students' replicas, one of each other model."""
    folder = tmp_path_factory.mktemp("on_ray")
    write_fakes(folder / "models")
    cluster = OnRay(folder / "models", folder / "log.txt")
    try:
        cluster.deploy()
        yield cluster
    finally:
        cluster.close()


class ServedOnRay:
    """What tests of tests/service know as Served, as far as another process can be it."""

    def __init__(self, cluster: OnRay, client: httpx.Client) -> None:
        self.client = client
        self._cluster = cluster
        self._before = self._metrics()

    def ner(self, **body: object) -> httpx.Response:
        return self.client.post("/ner", json=body)

    def metric(self, name: str, **labels: str) -> float:
        """How much a metric has grown since the test began."""
        key = (name, *sorted(labels.items()))
        return self._metrics().get(key, 0.0) - self._before.get(key, 0.0)

    def _metrics(self) -> dict[tuple[object, ...], float]:
        text = self.client.get("/metrics").text
        return {
            (one.name, *sorted(one.labels.items())): one.value
            for family in text_string_to_metric_families(text)
            for one in family.samples
        }


@pytest.fixture
def served(on_ray: OnRay) -> Iterator[ServedOnRay]:
    def forget_server(answer: httpx.Response) -> None:
        """Ray's proxies say that they are uvicorn; no setting of theirs can stop them."""
        assert answer.headers.pop("server") == "uvicorn"

    with httpx.Client(base_url=on_ray.url, timeout=60, event_hooks={"response": [forget_server]}) as client:
        yield ServedOnRay(on_ray, client)

"""Shared by all tests: how hard Hypothesis tries, and small tokenizers of every family, built in memory."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from tokenizers import Tokenizer

sys.path.insert(0, str(Path(__file__).parent))  # for `import families`

from families import FAMILIES

settings.register_profile(
    "onoma", deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("onoma")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Ray only where it is asked for: gRPC's threads read the environment, which pytest changes for every test."""
    return True if collection_path.name == "ray" and "ray" not in str(config.option.markexpr) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "ray" not in str(config.option.markexpr):
        heavy = [item for item in items if item.get_closest_marker("ray") is not None]
        config.hook.pytest_deselected(items=heavy)
        items[:] = [item for item in items if item not in heavy]


@pytest.fixture(scope="session", params=sorted(FAMILIES))
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    """A tiny tokenizer of each family."""
    return FAMILIES[request.param]()

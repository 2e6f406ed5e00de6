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


@pytest.fixture(scope="session", params=sorted(FAMILIES))
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    """A tiny tokenizer of each family."""
    return FAMILIES[request.param]()

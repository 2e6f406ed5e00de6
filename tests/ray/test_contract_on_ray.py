"""The tests of tests/service that ask the server as any client could, word for word, of two replicas on Ray Serve."""

from __future__ import annotations

import pytest
from shared_tests import shared_tests

pytestmark = pytest.mark.ray

globals().update(shared_tests())


def test_there_are_some() -> None:
    assert sum(name.startswith("test_") for name in globals()) > 30

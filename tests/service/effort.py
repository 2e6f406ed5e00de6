"""How long the searching tests search: a moment by default, `FUZZ_EFFORT=50 pytest tests/service` for longer.

More effort also means other examples than last time; without it the property tests are as random as Hypothesis's
profile says, and the fuzzers try the same cases every time.
"""

from __future__ import annotations

import os

from hypothesis import settings

EFFORT = int(os.environ.get("FUZZ_EFFORT", "1"))


def effort(examples: int) -> settings:
    """Settings of a property test that tries `examples` cases by default."""
    return settings(max_examples=examples * EFFORT)

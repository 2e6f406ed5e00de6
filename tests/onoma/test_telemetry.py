"""onnxruntime must not report to its makers: texts are other people's."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = """
import os, sys
import onoma.telemetry
assert "onoma.tagger" in sys.modules and "onnxruntime" in sys.modules
print(os.environ["ORT_DISABLE_TELEMETRY"])
"""
# It decides when it is imported, so the variable must be there before.
FIRST = """
import builtins, os
before = builtins.__import__
def watched(name, *rest):
    if name == "onnxruntime":
        assert os.environ.get("ORT_DISABLE_TELEMETRY"), "too late"
    return before(name, *rest)
builtins.__import__ = watched
import onoma
import service.app
"""


def run(code: str, **environment: str) -> str:
    own = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run([sys.executable, "-c", code], env=own | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(("environment", "expected"), [({}, "1"), ({"ORT_DISABLE_TELEMETRY": "0"}, "0")])
def test_off_unless_somebody_wants_it(environment: dict[str, str], expected: str) -> None:
    assert run(CODE, **environment) == expected


def test_before_onnxruntime_is_there() -> None:
    run(FIRST)

"""The service's benchmark and soak as a whole: real processes, a tiny bundle, and no time to speak of."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from benchmarks.service import __main__ as bench
from benchmarks.service import soak
from benchmarks.service.pinned import ProcessError, running_server, running_worker, two_cores
from tests.onoma.bundles import write_bundle


@pytest.fixture
def models(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "models" / "student")
    return tmp_path / "models"


def results(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.slow
def test_benchmark(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    short = ["--rounds", "1", "--seconds", "0.3", "--warm-up", "0.1", "--scenarios", "short-32,bulk-8,steady"]
    assert bench.main([*short, "--models", str(models), "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert text == (out / "report.md").read_text(encoding="utf-8")
    found = results(out)
    assert [(one["bar"], one["scenario"]) for one in found["bars"]] == [
        *[("a", "short-32"), ("a", "short-32"), ("b", "bulk-8"), ("c", "steady"), ("d", "short-32"), ("d", "bulk-8")]
    ]
    (own,) = found["rounds"]
    assert {scenario: list(names) for scenario, names in own.items()} == {
        "short-32": ["onoma", "plain", "plain-tagger", "constant", "constant-h11"],
        "bulk-8": ["onoma", "plain", "plain-tagger", "tagger"],
        "steady": ["onoma", "plain"],
    }
    for names in own.values():
        for figures in names.values():
            assert figures["rate"] > 0 and figures["cpu_ms"] > 0
            assert figures.get("statuses", {"200": 1}).keys() == {"200"}
    assert not list(out.glob("*.tmp"))


@pytest.mark.slow
def test_soak(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    short = ["--minutes", "0.05", "--probe", "0.3", "--connections", "64", "--model", "student"]
    status = soak.main([*short, "--models", str(models), "--out", str(out)])
    text = capsys.readouterr().out
    found = results(out)
    assert status == (0 if all(one["met"] for one in found["checks"]) else 1)
    statuses = found["checks"][0]
    assert statuses["met"], statuses
    assert found["soak"]["hung_up"] > 0 and found["memory"] and found["before"] > 0
    assert found["soak"]["sorts"]["short"]["statuses"]["200"] > 0
    assert text == (out / "report.md").read_text(encoding="utf-8")


def test_what_cannot_be_run_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["--models", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert soak.main(["--models", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.count("no bundle at") == 2
    for wrong in (["--scenarios", "short-31"], ["--contenders", "nobody"], ["--rounds", "0"], ["--seconds", "0"]):
        with pytest.raises(SystemExit):
            bench.main(wrong)
    assert "'short-31' is none of short-1" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        soak.main(["--connections", "8"])


def test_processes_stay_on_their_core() -> None:
    core = max(two_cores())
    script = "import os, sys\nfor line in sys.stdin: print(list(os.sched_getaffinity(0)), flush=True)"
    with running_worker(["-c", script], core=core) as worker:
        worker.begin()
        assert worker.done_within(20)
        assert worker.finish() == [core]
    assert set(two_cores()) <= os.sched_getaffinity(0)


def test_a_worker_that_fails_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    with running_worker(["-c", "input(); raise SystemExit(3)"], core=two_cores()[0]) as worker:
        with pytest.raises(ProcessError, match="status 3"):
            worker.ask(scenario="x")


def test_a_server_that_does_not_start_is_said(tmp_path: Path) -> None:
    def command(port: int) -> list[str]:
        return ["-c", f"raise SystemExit('no room at {port}')"]

    with running_server("x", command, core=two_cores()[0], log=tmp_path / "log") as server:
        with pytest.raises(ProcessError, match=f"x ended with status 1.*\n.*no room at {server.port}"):
            server.wait_until_ready()

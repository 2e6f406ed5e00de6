"""onoma under other settings, in its smallest form; and what docs/engine.md names."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.service import spinning, variants
from benchmarks.service.pinned import Server, pinned
from benchmarks.service.spread import Family, own_cores, spread
from benchmarks.service.variants_report import DEFAULT, compared, document, starved
from benchmarks.sessions import Session, Setup
from onoma.bundle import MODEL_FILE
from service.server import settled
from service.settings import Settings
from tests.onoma.bundles import write_bundle

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "models" / "student")
    return tmp_path / "models"


def test_the_first_variant_is_what_onoma_does_by_itself() -> None:
    for part, cores in ((variants.ONE_CORE, 1), (variants.ALL_CORES, 2), (variants.ALL_CORES, 5)):
        found = variants.choices(part, cores)
        name, choice = next(iter(found.items()))
        own = settled(Settings(), cores=cores)
        assert name == DEFAULT and choice.processes == own.processes and choice.batch_tokens == own.batch_tokens
        assert choice.threads == (own.threads or cores)
        assert len(set(found.values())) == len(found), "two variants are the same"
    assert variants.choices(variants.ALL_CORES, 1) == {}
    most = variants.choices(variants.ALL_CORES, 64)[DEFAULT]
    assert (most.processes, most.threads) == (8, settled(Settings(), cores=64).threads)
    assert set(choice.settings()) <= {f"ONOMA_{name.upper()}" for name in Settings.model_fields}


def test_a_command_is_spread_over_cores() -> None:
    script = "import os; print(sorted(os.sched_getaffinity(0)))"
    cores = own_cores()
    for wanted in (cores, cores[-1:]):
        command = pinned(cores[0], spread(wanted, ["-c", script]))
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == f"{wanted}\n"


def test_a_family_counts_its_children(tmp_path: Path) -> None:
    burn = "import os, time\nwhile time.process_time() < 0.3: pass\nprint(os.getpid(), flush=True); time.sleep(60)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}])"
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        try:
            alone, family = (kind("x", 0, process, tmp_path / "log") for kind in (Server, Family))
            assert family.cpu_seconds() >= alone.cpu_seconds() + 0.25
        finally:
            process.kill()
            os.kill(child, signal.SIGKILL)


def test_times_of_an_inference(models: Path) -> None:
    session = Session(models / "student" / MODEL_FILE, Setup())
    began = time.perf_counter()
    found = spinning.timed(session, vocabulary=20, seconds=0.1, warm_up=0.05)
    assert time.perf_counter() - began >= 0.15
    assert found["elapsed"] >= 0.1 and 0 < found["p50"] <= found["p99"] <= found["worst"]
    mean = 1000 * found["elapsed"] / found["runs"]
    assert found["worst"] >= mean and 0 < found["spent"] <= 1.5 * found["elapsed"]


def figures(rate: float, *, p99: float = 8.0, cpu: float = 1.0, core: float = 1.0) -> dict[str, float]:
    return {"rate": rate, "p50": 2.0, "p99": p99, "cpu_ms": cpu, "core": core}


def test_comparison_is_within_a_round() -> None:
    rounds = [
        {"bulk-8": {"default": figures(100), "other": figures(50, p99=4.0, cpu=2.0)}},
        {"bulk-8": {"default": figures(10), "other": figures(20, p99=4.0, cpu=0.5, core=0.5)}},
        {"bulk-8": {"default": figures(30), "other": figures(30, p99=6.0)}},
    ]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in compared(rounds, "requests/s").splitlines()]
    assert rows[2] == [
        *("bulk-8", "default", "30 (10..100)", "1", "2.00 (2.00..2.00)", "8.00 (8.00..8.00)", "4.0 (4.0..4.0)"),
        *("1.00 (1.00..1.00)", "1", "1.00 (1.00..1.00)"),
    ]
    assert rows[3] == [
        *("bulk-8", "other", "30 (20..50)", "1.00 (0.50..2.00)", "2.00 (2.00..2.00)", "4.00 (4.00..6.00)"),
        *("2.0 (2.0..3.0)", "1.00 (0.50..2.00)", "1.00 (0.50..2.00)", "1.00 (0.50..1.00)"),
    ]
    assert starved(rounds) == ["bulk-8, other: 50 % of the core in the worst round"]


@pytest.mark.slow
def test_report(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    every = variants.choices
    monkeypatch.setattr(variants, "choices", lambda *given: dict(list(every(*given).items())[:2]))
    monkeypatch.setattr(spinning, "SETUPS", dict(list(spinning.SETUPS.items())[1:3]))
    files = ["--json", str(tmp_path / "out" / "all.json"), "--markdown", str(tmp_path / "out" / "report.md")]
    small = ["--rounds", "1", "--seconds", "0.4", "--warm-up", "0.1", "--scenarios", "short-32"]
    given = [*small, "--models", str(models), "--logs", str(tmp_path / "logs"), *files]
    assert variants.main(given) == 0
    text = capsys.readouterr().out
    assert text == (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    results: dict[str, Any] = json.loads((tmp_path / "out" / "all.json").read_text(encoding="utf-8"))
    assert list(results["parts"]) == list(variants.PARTS) and document(results) == text
    for part, found in results["parts"].items():
        (own,) = found["rounds"] or [{}]
        if part == variants.SPINNING:
            assert {name: list(setups) for name, setups in own.items()} == {
                company: list(spinning.SETUPS) for company in spinning.COMPANY
            }
        elif found["variants"]:
            assert list(own) == ["short-32"] and list(own["short-32"]) == list(found["variants"])
        for setups in own.values():
            for figures in setups.values():
                assert figures["rate"] > 0 and figures["cpu_ms"] >= 0 and figures["p50"] <= figures["p99"]
                assert figures.get("statuses", {"200": 1}).keys() == {"200"}
    assert ("There is one core only." in text) is (len(own_cores()) == 1)
    logs = sorted(path.name for path in (tmp_path / "logs").iterdir())
    assert "one-core-workers=1.log" in logs


def test_what_cannot_be_run_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert variants.main(["--models", str(tmp_path), "--logs", str(tmp_path / "logs")]) == 1
    assert "no bundle at" in capsys.readouterr().err
    for wrong in (["--parts", "two-cores"], ["--scenarios", "steady"], ["--rounds", "0"], ["--seconds", "0"]):
        with pytest.raises(SystemExit):
            variants.main(wrong)
    said = capsys.readouterr().err
    assert "'two-cores' is none of one-core, all-cores, spinning" in said and "'steady' is none of short-1" in said


def test_reports_that_the_documentation_names_exist() -> None:
    text = (ROOT / "docs" / "engine.md").read_text(encoding="utf-8")
    links = {target for target in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in target}
    assert {f"engine/{name}.md" for name in ("variants", "memory", "quantization")} <= links
    for target in links:
        assert (ROOT / "docs" / target).is_file(), target
    for command in re.findall(r"python -m (benchmarks[\w.]*)", text):
        assert (ROOT / (command.replace(".", os.sep) + ".py")).is_file(), command

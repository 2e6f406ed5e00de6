"""The study of memory, in its smallest form."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from benchmarks import engine_memory
from benchmarks.memory_worker import NOW, SETUPS, VARIANTS, opened, shapes
from benchmarks.sessions import Session, Setup
from onoma.bundle import MODEL_FILE, TokenizerFacts, read_manifest
from onoma.model import OnnxModel
from tests.onoma.bundles import write_bundle


def test_shapes_fit_a_batch_and_reach_its_size() -> None:
    found = list(islice(shapes(64, 32), 2000))
    assert all(1 <= width <= 32 and 1 <= rows <= 64 // width for rows, width in found)
    assert {width for _, width in found} == set(range(1, 33))
    assert max(rows * width for rows, width in found) == 64
    assert found == list(islice(shapes(64, 32), 2000))
    assert found != list(islice(shapes(64, 32, seed=1), 2000))


def test_every_variant_gives_the_same_emissions(tmp_path: Path) -> None:
    write_bundle(tmp_path, tokenizer=TokenizerFacts(pad_id=0, prefix_ids=(3,), suffix_ids=(4, 5)))
    manifest = read_manifest(tmp_path)
    inputs = [np.arange(length, dtype=np.int64) for length in (3, 7, 1)]
    found = [opened(tmp_path, manifest, variant)(inputs) for variant in VARIANTS]
    for rows in found[1:]:
        assert isinstance(rows, list)
        for mine, onoma in zip(rows, found[0], strict=True):  # type: ignore[call-overload]
            np.testing.assert_array_equal(mine, onoma)


def test_the_default_setup_is_onoma_s(tmp_path: Path) -> None:
    manifest = write_bundle(tmp_path)
    for setup in (Setup(), Setup(threads=3)):
        mine = Session(tmp_path / MODEL_FILE, setup)._session.get_session_options()
        its = OnnxModel(tmp_path / MODEL_FILE, facts=manifest.tokenizer, threads=setup.threads)
        other = its._session.get_session_options()
        for name in ("intra_op_num_threads", "inter_op_num_threads", "enable_mem_pattern", "enable_cpu_mem_arena"):
            assert getattr(mine, name) == getattr(other, name), name
        spinning = "session.intra_op.allow_spinning"
        assert mine.get_session_config_entry(spinning) == other.get_session_config_entry(spinning) == "0"
    assert all(setup != Setup() for setup in SETUPS.values())


def test_figures() -> None:
    def answer(resident: float, seconds: float) -> dict[str, float]:
        return {"bare": 100, "loaded": 120, "resident": resident, "seconds": seconds, "pieces": 1000}

    own = [answer(130, 0), answer(131, 0.002), answer(140, 0.004)]
    now = [answer(125, 0), answer(125, 0.001), answer(125, 0.006)]
    found = engine_memory.figures(own, now)
    assert found["loaded"] == 20 and found["resident"] == [30, 31, 40]
    assert found["microseconds_a_piece"] == pytest.approx({"median": 3, "least": 2, "greatest": 4})
    assert found["speed"]["turns"] == pytest.approx([0.5, 1.5])


def test_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bundle(tmp_path / "bundle")
    files = ["--json", str(tmp_path / "out" / "all.json"), "--markdown", str(tmp_path / "out" / "report.md")]
    small = ["--runs", "12", "--turn", "2", "--batch-tokens", "64"]
    assert engine_memory.main([str(tmp_path / "bundle"), *small, *files]) == 0
    text = capsys.readouterr().out
    assert text == (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    results = json.loads((tmp_path / "out" / "all.json").read_text(encoding="utf-8"))
    (bundle,) = results["bundles"]
    assert list(bundle["variants"]) == list(VARIANTS) == list(engine_memory.ABOUT)
    for variant, own in bundle["variants"].items():
        assert len(own["resident"]) == 7 and min(own["resident"]) > 0 and len(own["speed"]["turns"]) == 6
        assert f"\n| {variant} | " in text
    assert set(bundle["variants"][NOW]["speed"]["turns"]) == {1.0}
    assert "| after 0 | after 2 | after 10 | after 12 |" in text and results["machine"]["processor"] in text


def test_what_cannot_be_run_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert engine_memory.main([str(tmp_path)]) == 1
    assert "no bundle at" in capsys.readouterr().err
    for wrong in (["--runs", "150"], ["--turn", "0"], ["--batch-tokens", "0"]):
        with pytest.raises(SystemExit):
            engine_memory.main(wrong)

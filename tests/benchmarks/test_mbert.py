"""The speed comparison, with a tiny shape in place of mBERT's."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import mbert
from benchmarks.mbert import Contender, Ints, Shape
from onoma.bundle import TokenizerFacts, read_manifest

STUDENT = Path(__file__).resolve().parents[2] / "models" / "student"
TINY = Shape(layers=1, hidden=8, heads=2, intermediate=16, vocabulary=50, labels=7)


@pytest.fixture(autouse=True)
def threads_stay_as_they_were() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def sleeper(name: str, parameters: int, seconds_a_row: float, heard: list[tuple[str, int]] | None = None) -> Contender:
    """A model that takes its time."""

    def run(ids: Ints) -> None:
        assert ids.shape[1] == 32 and ids.dtype == np.int64 and 0 <= ids.min() <= ids.max() < 9
        if heard is not None:
            heard.append((name, len(ids)))
        time.sleep(seconds_a_row * len(ids))

    return Contender(name, "bed", parameters, 9, run)


def test_parameters_are_counted_exactly() -> None:
    hidden, inner = 8, 16
    embeddings = (50 + 512 + 2) * hidden + 2 * hidden
    layer = 4 * (hidden * hidden + hidden) + hidden * inner + inner + inner * hidden + hidden + 4 * hidden
    model = mbert.bert(TINY)
    assert model.parameters == embeddings + layer + hidden * 7 + 7
    logits = model.run(np.full((3, 32), 49))
    assert isinstance(logits, np.ndarray) and logits.shape == (3, 32, 7) and logits.dtype == np.float32


def test_mbert_has_the_parameters_of_the_published_model() -> None:
    with torch.device("meta"):  # counts without 700 MB of weights
        assert mbert.bert(mbert.MBERT).parameters == 177_268_231


def test_a_bundle_runs_with_its_prefix_and_suffix_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[object] = []
    manifest = read_manifest(STUDENT)

    class Listening:
        def __init__(self, path: Path, *, facts: TokenizerFacts, threads: int | None) -> None:
            heard.append(threads)

        def infer(self, inputs: list[Ints]) -> None:
            heard.append([len(ids) for ids in inputs])

    plain = mbert.bundle(STUDENT, threads=1)
    assert plain.parameters == manifest.parameters and manifest.architecture in plain.architecture
    emissions = plain.run(np.full((2, 32), plain.vocabulary - 1))
    assert isinstance(emissions, list) and [one.shape for one in emissions] == [(32, 7)] * 2
    with_ends = TokenizerFacts(pad_id=0, prefix_ids=(1,), suffix_ids=(2, 2))
    monkeypatch.setattr(mbert, "read_manifest", lambda folder: manifest.model_copy(update={"tokenizer": with_ends}))
    monkeypatch.setattr(mbert, "OnnxModel", Listening)
    mbert.bundle(STUDENT, threads=3).run(np.zeros((2, 32), np.int64))
    assert heard == [3, [29, 29]]


def test_passes_are_repeated_after_one_that_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(mbert.time, "perf_counter", lambda: now[0])
    for least, passes, seconds in ((0.5, 2, 0.25), (0.51, 3, 0.25), (0.0, 1, 0.25)):
        pauses = iter([8.0, *[0.25] * passes])

        def run(ids: Ints, left: Iterator[float] = pauses) -> None:
            now[0] += next(left)

        assert mbert.seconds_a_pass(run, np.zeros((1, 32), np.int64), least=least) == seconds
        assert list(pauses) == []


def test_models_take_turns() -> None:
    heard: list[tuple[str, int]] = []
    models = [sleeper("a", 1, 0, heard), sleeper("b", 1, 0, heard)]
    taken = mbert.measure(models, rounds=2, least=0)
    a_round = [("a", 32)] * 2 + [("b", 32)] * 2 + [("a", 1)] * 2 + [("b", 1)] * 2
    assert heard == a_round * 2
    assert [{batch: len(values) for batch, values in own.items()} for own in taken] == [{32: 2, 1: 2}] * 2


def test_ratios_are_those_of_the_same_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mbert, "bert", lambda shape: sleeper("big", 700, 0))
    monkeypatch.setattr(mbert, "bundle", lambda folder, threads: sleeper(folder.name, 20, 0))
    # The second round is ten times as slow for both; the ratio is not.
    taken = [{32: [1.0, 10.0, 2.0], 1: [1.0, 10.0, 1.0]}, {32: [51.0, 510.0, 90.0], 1: [15.0, 159.0, 40.0]}]
    monkeypatch.setattr(mbert, "measure", lambda contenders, rounds, least: taken)
    results = mbert.compare([Path("small")], shape=TINY, threads=1, rounds=3)
    small, big = results["models"]
    assert (small["name"], big["name"]) == ("small", "big") and "times_faster" not in big
    assert small["times_fewer_parameters"] == {"ratio": 35, "paper": 35, "reached": True}
    assert small["times_faster"]["batch 32"] == {
        "median": 51, "least": 45, "greatest": 51, "paper": 51, "reached": True,
    }  # fmt: skip
    assert small["times_faster"]["batch 1"]["median"] == 15.9 and not small["times_faster"]["batch 1"]["reached"]
    assert small["milliseconds"]["batch 32"] == {"median": 2, "least": 1, "greatest": 10, "rounds": [1, 10, 2]}
    facts = {"command": "python", "machine": mbert.machine() | {"load": 0.4}}
    text = mbert.document(facts | results)
    assert "| small | bed | 20 | 2.00 (1.00..10.00) | 1.00 (1.00..10.00) | 35.0 | 51.0 (45.0..51.0) | 15.9 " in text
    assert "small: 35.0 times fewer parameters reaches the paper's 35; 51.0 times faster at batch 32 reaches" in text
    assert "15.9 times faster at batch 1 misses the paper's 16." in text and "busy" not in text
    facts["machine"] = mbert.machine() | {"load": 0.5}
    assert "the machine was busy, with a load of 0.5" in mbert.document(facts | results)


def test_the_command_measures_prints_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--json", str(tmp_path / "new" / "figures.json"), "--markdown", str(tmp_path / "report.md")]
    assert mbert.main([str(STUDENT), "--threads", "1", "--rounds", "1", *where], shape=TINY) == 0
    printed = capsys.readouterr().out
    assert (tmp_path / "report.md").read_text(encoding="utf-8") == printed
    results = json.loads((tmp_path / "new" / "figures.json").read_text(encoding="utf-8"))
    student, baseline = results["models"]
    assert (results["threads"], results["rounds"], torch.get_num_threads()) == (1, 1, 1)
    assert student["parameters"] == read_manifest(STUDENT).parameters > baseline["parameters"]
    assert not student["times_fewer_parameters"]["reached"]
    assert student["milliseconds"]["batch 32"]["median"] > student["milliseconds"]["batch 1"]["median"] > 0
    for fact in (results["machine"]["processor"], results["machine"]["date"], torch.__version__, "1 threads"):
        assert fact in printed


def test_a_missing_bundle_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mbert.main([str(tmp_path / "none")], shape=TINY) == 1
    assert f"no bundle at {tmp_path / 'none'}" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        mbert.main(["--rounds", "0"], shape=TINY)

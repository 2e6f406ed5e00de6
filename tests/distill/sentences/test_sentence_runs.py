from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from distill.commands import distill
from distill.sentences import stages
from distill.sentences.model import load_encoder
from distill.sentences.runs import run_sentence_recipe
from distill.studies import Place
from onoma.cli import main


def as_toml(content: dict[str, Any]) -> str:
    """Enough of TOML for a recipe."""
    own = [
        f"{key} = {json.dumps(value)}" for key, value in content.items()
        if not isinstance(value, dict) and key != "variants"
    ]
    tables = [f"[{key}]\n" + as_toml(value) for key, value in content.items() if isinstance(value, dict)]
    variants = []
    for one in content.get("variants", ()):
        sets = ", ".join(f"{json.dumps(key)} = {json.dumps(value)}" for key, value in one["set"].items())
        variants.append(f"[[variants]]\nname = {json.dumps(one['name'])}\nset = {{ {sets} }}")
    return "\n".join([*own, *tables, *variants]) + "\n"


def run(content: dict[str, Any], folder: Path, **options: Any) -> dict[str, Any]:
    path = folder / "recipe.toml"
    path.write_text(as_toml(content), encoding="utf-8")
    place = Place(folder / "store", folder / "cache", "cpu")
    return run_sentence_recipe(path, out=folder / "out", place=place, **options)


def test_four_stages_leave_a_student_that_says_how_it_came_about(toy_recipe: dict[str, Any], tmp_path: Path) -> None:
    results = run(toy_recipe, tmp_path)
    (one,) = results["runs"]
    assert [stage["stage"] for stage in one["stages"]] == [
        "start, spread", "assistant (embedding)", "assistant (all)", "bottleneck", "recurrent", "contrastive (soft)",
    ]  # fmt: skip
    student, tokenizer = load_encoder(Path(one["student"]))
    config = student.config
    assert (config.embedding, config.layers, config.repeats, config.hidden) == (6, 2, 2, 32)
    assert config.vocabulary == tokenizer.get_vocab_size()
    training = json.loads((Path(one["student"]) / "training.json").read_text(encoding="utf-8"))
    assert training["seed"] == 1 and training["languages"] == ["de", "en", "fr"]
    assert set(training["data"]) == {"tatoeba", "ntrex", "massive", "text", "reserved"}
    assert training["licences"]["ntrex"] == "CC BY-SA 4.0" and len(training["teacher"]["sha256"]) == 64
    assert training["stages"] == one["stages"] and training["keys"]["contrastive"]["matrix"] == "soft"
    assert {"score", "mono", "cross", "en", "de", "en-de"} == set(one["dev"])
    assert one["parameters"]["student"] < one["parameters"]["assistant"]
    assert json.loads((tmp_path / "out/results.json").read_text(encoding="utf-8"))["runs"] == results["runs"]

    again = run(toy_recipe, tmp_path)["runs"][0]
    assert (again["made"], again["student"], again["dev"]) == (0, one["student"], one["dev"])
    changed = toy_recipe | {"contrastive": {"pieces": 400, "matrix": "infonce"}}
    other = run(changed, tmp_path)["runs"][0]
    assert other["made"] == 1 and other["artefacts"]["recurrent"] == one["artefacts"]["recurrent"]


def test_an_interrupted_stage_goes_on_to_the_same_end(
    toy_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = toy_recipe | {"start": {"way": "random", "align": 0}, "assistant": {"pieces": 0}}
    short["bottleneck"] = {"embedding": 6, "pieces": 0}
    short["recurrent"] = {"layers": [0], "pieces": 0}
    short["schedule"] = {"batch": 100, "checks": 1, "checkpoint_minutes": 1e-9}
    (tmp_path / "whole").mkdir()
    whole = run(short, tmp_path / "whole")["runs"][0]

    real, calls = stages.Contrast.__call__, []

    def interrupted(own: stages.Contrast, model: torch.nn.Module, batch: Any) -> torch.Tensor:
        calls.append(batch)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(own, model, batch)

    monkeypatch.setattr(stages.Contrast, "__call__", interrupted)
    (tmp_path / "halves").mkdir()
    with pytest.raises(KeyboardInterrupt):
        run(short, tmp_path / "halves")
    resumed = run(short, tmp_path / "halves")["runs"][0]
    one, other = (load_encoder(Path(found["student"]))[0].state_dict() for found in (whole, resumed))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_students_of_fewer_stages_come_from_the_same_keys(toy_recipe: dict[str, Any], tmp_path: Path) -> None:
    toy_recipe["start"] = {"way": "random", "align": 0}
    toy_recipe["assistant"] = {"pieces": 200}
    toy_recipe["variants"] = [
        {"name": "whole", "set": {}},
        {"name": "no bottleneck", "set": {"bottleneck.embedding": 0}},
        {"name": "no recurrence", "set": {"recurrent.repeats": 1}},
        {"name": "from the teacher", "set": {"recurrent.target": "teacher", "recurrent.text": 0.0}},
        {"name": "one stage", "set": {"assistant.pieces": 0, "bottleneck.pieces": 0, "recurrent.pieces": 0}},
        {"name": "no contrast", "set": {"contrastive.pieces": 0}},
    ]
    runs = {one["variant"]: one for one in run(toy_recipe, tmp_path)["runs"]}
    whole = runs["whole"]
    assert runs["no bottleneck"]["config"]["embedding"] is None
    assert runs["no recurrence"]["config"]["repeats"] == 1
    assert runs["no recurrence"]["parameters"]["student"] == whole["parameters"]["student"]
    assert runs["from the teacher"]["artefacts"]["bottleneck"] == whole["artefacts"]["bottleneck"]
    assert [stage["stage"] for stage in runs["one stage"]["stages"]] == ["start (random)", "contrastive (soft)"]
    assert runs["no contrast"]["student"] == whole["artefacts"]["recurrent"]
    assert set(run(toy_recipe, tmp_path, only=["no contrast"])["runs"][0]["parameters"]) == set(whole["parameters"])

    going_on = toy_recipe | {"variants": [], "contrastive": {"checkpoint": whole["student"], "pieces": 200}}
    last = run(going_on, tmp_path)["runs"][0]
    assert len(last["stages"]) == len(whole["stages"]) + 1 and set(last["artefacts"]) == {"student"}


def test_the_command_runs_a_recipe_of_this_kind(
    toy_recipe: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert distill.name == "distill"
    toy_recipe |= {"start": {"way": "random", "align": 0}, "assistant": {"pieces": 0}, "contrastive": {"pieces": 200}}
    toy_recipe |= {"bottleneck": {"embedding": 6, "pieces": 0}, "recurrent": {"layers": [1], "pieces": 0}}
    (tmp_path / "recipe.toml").write_text(as_toml(toy_recipe), encoding="utf-8")
    words = ["distill", "run", str(tmp_path / "recipe.toml"), "--out", str(tmp_path / "out")]
    words += ["--store", str(tmp_path / "store"), "--cache", str(tmp_path / "cache"), "--device", "cpu"]
    assert main(words) == 0
    assert "toy, seed 1: dev " in capsys.readouterr().out
    assert main([*words, "--only", "other"]) != 0
    assert "has no variant other" in capsys.readouterr().err
    assert main([*words, "--jobs", "2"]) != 0
    toy_recipe["tokenizer"] = str(tmp_path / "nowhere.json")
    (tmp_path / "recipe.toml").write_text(as_toml(toy_recipe), encoding="utf-8")
    assert main(words) != 0
    assert "onoma train-tokenizer --sentence-encoder" in capsys.readouterr().err

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from toydata import random_packed

from distill.alignment import Targets
from distill.batches import Batch
from distill.dataset import LABELS
from distill.recipe import Recipe
from distill.recipe_tables import Strategy, Variant
from distill.stages import TOP_DOWN, Step, plan
from distill.students import Kind, Student, StudentConfig
from distill.training import Schedule, train
from distill.transfer import JointLoss, Objective

STRATEGIES = tuple(name for name in get_args(Strategy) if name != "teachers")
ALL = ("head", "projection", "encoder", "embedding")
LOSS = {"imitation": "kl", "temperature": 2.0, "likeness": "kld", "alpha": 0.5, "beta": 3.0, "gamma": 0.25}
JOINT = Objective(0.5, 3.0, 0.25, imitation="kl", temperature=2.0, likeness="kld", layer=2)
REPRESENTATION = Objective(representation=1.0, likeness="kld", layer=2)
WITHOUT = Objective(0.5, 0.0, 0.25, imitation="kl", temperature=2.0)  # the rest of JOINT has no effect
LOGITS = Objective(logits=1.0, imitation="kl", temperature=2.0)
HARD = Objective(labels=1.0)
TOTAL = 2_100_000 + 4_000_001 + 1_999_999


def recipe(strategy: str, *, projection: str = "linear", **schedule: Any) -> Recipe:
    counts = {"representation": 2_100_000, "logits": 4_000_001, "labels": 1_999_999, "rate": 3e-3, "label_rate": 1e-3}
    content = {
        "name": "plan",
        "tokenizer": "t",
        "teacher": {"path": "p", "layer": 2},
        "student": {"projection": projection},
        "loss": LOSS,
        "labels": {"languages": ["de", "en", "ru"]},
        "schedule": counts | {"strategy": strategy} | schedule,
    }
    return Recipe.model_validate(content)


def outline(strategy: str, **more: Any) -> list[tuple[str, tuple[str, ...], Objective, str]]:
    return [(step.stage, step.thawed, step.objective, step.data) for step in plan(recipe(strategy, **more))]


def test_strategies_without_stages() -> None:
    for strategy in ("D0", "D0-S"):
        assert outline(strategy) == [("labels", ALL, HARD, "labelled")]
    assert outline("D1") == [("joint", ALL, WITHOUT, "everything")]
    assert outline("D2") == [("joint", ALL, JOINT, "everything")]


def test_strategies_with_stages() -> None:
    first = ("representation", ALL[1:], REPRESENTATION, "unlabelled")
    assert outline("D3.1") == [first, ("joint", ALL, WITHOUT, "everything")]
    assert outline("D4.1") == [first, ("logits", ALL, LOGITS, "unlabelled"), ("labels", ALL, HARD, "labelled")]


def test_gradual_unfreezing_goes_from_the_top_down() -> None:
    first = ("representation", ALL[1:], REPRESENTATION, "unlabelled")
    layers = [("head",), ("head", "projection"), ("head", "projection", "encoder"), ALL]
    assert outline("D3.2") == [first, *(("joint", thawed, WITHOUT, "everything") for thawed in layers)]
    assert outline("D4.2") == [
        first,
        *(("logits", thawed, LOGITS, "unlabelled") for thawed in layers),
        *(("labels", thawed, HARD, "labelled") for thawed in layers),
    ]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_sees_equally_many_pieces(strategy: str) -> None:
    steps = plan(recipe(strategy))
    students = 3 if strategy == "D0" else 1  # one for each language
    assert all(step.pieces > 0 for step in steps)
    assert sum(step.pieces for step in steps) * students == pytest.approx(TOTAL, abs=len(steps))


def test_each_stage_has_its_pieces_rate_and_judge() -> None:
    for strategy in ("D4.1", "D4.2"):
        for stage, pieces, rate, judge in (
            ("representation", 2_100_000, 3e-3, "loss"),
            ("logits", 4_000_001, 3e-3, "loss"),
            ("labels", 1_999_999, 1e-3, "f1"),
        ):
            own = [step for step in plan(recipe(strategy)) if step.stage == stage]
            assert sum(step.pieces for step in own) == pytest.approx(pieces, abs=len(own))
            assert {(step.rate, step.judge) for step in own} == {(rate, judge)}
    for strategy in ("D0", "D0-S", "D1", "D2"):
        assert [(step.rate, step.judge) for step in plan(recipe(strategy))] == [(3e-3, "f1")]
    assert [step.pieces for step in plan(recipe("D3.1"))] == [2_100_000, 4_000_001 + 1_999_999]


def test_teachers_alone_leave_nothing_to_do_for_a_student() -> None:
    own = recipe("D1", projection="none").model_dump()
    own |= {"teachers": {"shape": {"start": "random"}}, "schedule": {"strategy": "teachers"}}
    assert plan(Recipe.model_validate(own)) == []


def test_a_joint_stage_is_annealed() -> None:
    own = recipe("D3.1").resolved(Variant(name="own", set={"loss.annealed": 0.5}))
    assert [step.objective.annealed for step in plan(own)] == [0.0, 0.5]


IDLE = {
    "loss.likeness": "mse", "teacher.layer": 1, "loss.imitation": "hard", "loss.temperature": 3.0, "loss.beta": 9.0,
    "loss.best": 2,
}  # fmt: skip


@pytest.mark.parametrize(
    ("strategy", "loss", "touched"),
    [
        ("D0-S", {}, set()),
        ("D1", {}, {"loss.imitation", "loss.temperature"}),
        ("D1", {"loss.gamma": 0.0}, set()),
        ("D1", {"loss.imitation": "mse"}, {"loss.imitation"}),
        ("D1", {"loss.imitation": "token"}, {"loss.imitation", "loss.temperature"}),
        ("D1", {"loss.imitation": "hard"}, set()),  # and to "hard" the change of imitation is none
        ("D1", {"loss.imitation": "top-k"}, {"loss.imitation", "loss.best"}),
        ("D1", {"loss.imitation": "top-wk"}, {"loss.imitation", "loss.best"}),
        ("D1", {"loss.imitation": "posterior"}, {"loss.imitation", "loss.temperature"}),
        ("D1", {"loss.imitation": "posterior+top-wk"}, {"loss.imitation", "loss.temperature", "loss.best"}),
        ("D1", {"loss.imitation": "structural"}, {"loss.imitation", "loss.temperature"}),
        ("D1", {"loss.imitation": "structural", "loss.gamma": 0.0}, set()),
        ("D4.2", {"loss.imitation": "top-k"}, {"loss.likeness", "teacher.layer", "loss.imitation", "loss.best"}),
        ("D2", {}, set(IDLE) - {"loss.best"}),
        ("D2", {"loss.beta": 0.0}, {"loss.imitation", "loss.temperature", "loss.beta"}),
        ("D3.1", {"loss.imitation": "mse"}, {"loss.likeness", "teacher.layer", "loss.imitation"}),
        ("D4.2", {}, set(IDLE) - {"loss.beta", "loss.best"}),
    ],
)
def test_a_value_without_effect_changes_no_step(strategy: str, loss: dict[str, Any], touched: set[str]) -> None:
    own = recipe(strategy).resolved(Variant(name="own", set=loss))
    changed = {
        key for key, value in IDLE.items() if plan(own.resolved(Variant(name="other", set={key: value}))) != plan(own)
    }
    assert changed == touched


def test_a_student_of_one_language_needs_labels_of_it() -> None:
    with pytest.raises(ValueError, match="labels.languages has none of fr, got de, en, ru"):
        plan(recipe("D0").resolved(Variant(name="D0", set={"evaluation.languages": ("de", "fr")})))


def test_later_steps_of_a_stage_are_longer() -> None:
    logits = [step.pieces for step in plan(recipe("D4.2")) if step.stage == "logits"]
    assert len(logits) == 4 and all(one <= other for one, other in pairwise(logits))


def test_what_has_no_pieces_is_left_out() -> None:
    stages = [step.stage for step in plan(recipe("D4.1", representation=0))]
    assert stages == ["logits", "labels"]
    assert [step.stage for step in plan(recipe("D4.1", labels=0))] == ["representation", "logits"]
    assert [step.stage for step in plan(recipe("D3.1", representation=0))] == ["joint"]
    assert all(step.pieces >= 1 for step in plan(recipe("D4.2", logits=1, labels=2)))
    for strategy in STRATEGIES:
        with pytest.raises(ValueError, match=f"strategy {strategy} has no word-pieces to see"):
            plan(recipe(strategy, representation=0, logits=0, labels=0))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_without_a_projection_there_is_no_representation_to_learn(strategy: str) -> None:
    without = recipe(strategy, projection="none")
    if strategy[:2] in ("D0", "D1"):
        (step,) = plan(without)
        assert step.thawed == ("head", "encoder", "embedding")
    else:
        with pytest.raises(ValueError, match=f"projection is none, but strategy {strategy} learns"):
            plan(without)
    if strategy[:2] in ("D3", "D4"):
        (first, *_) = plan(recipe(strategy, projection="none", representation=0))
        assert first.stage in ("joint", "logits"), "there is no representation to learn"


class Fixed:
    """Targets that depend on the piece alone."""

    def __init__(self) -> None:
        torch.manual_seed(4)
        self.logits, self.states = torch.randn(40, 7), torch.randn(40, 6)

    def __call__(self, batch: Batch) -> Targets:
        return Targets(self.logits[batch.ids], {2: self.states[batch.ids]})


STEPS = {f"{at} {step.stage} {step.thawed[-1]}": step for at, step in enumerate(plan(recipe("D4.2")))}


@pytest.mark.parametrize("kind", ["bilstm", "conv", "transformer"])
@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_only_what_has_thawed_changes_in_a_step(step: Step, kind: Kind, tmp_path: Path) -> None:
    torch.manual_seed(7)
    shape = StudentConfig(vocabulary=40, embedding=4, hidden=4, labels=LABELS.tags, projection=6, kind=kind, heads=2)
    model = Student(shape)
    for name, layer in model.layers():  # as distill.distillation does
        layer.requires_grad_(name in step.thawed)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    loss = JointLoss(step.objective, Fixed())
    schedule = Schedule(tokens=60, batch_tokens=20, learning_rate=step.rate)
    train(model, random_packed([5, 5, 4, 4, 6]), loss, schedule=schedule, folder=tmp_path, device=torch.device("cpu"))
    after = model.state_dict()
    changed = {name.partition(".")[0] for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == set(step.thawed) and set(step.thawed) <= set(TOP_DOWN)

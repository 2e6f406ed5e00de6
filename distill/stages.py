"""The strategies of XtremeDistil (section 4.2) as steps: what is trained, on what, how long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from distill.losses import SOFT
from distill.structure import COUNTED, TEMPERED
from distill.transfer import Objective

if TYPE_CHECKING:  # recipes are checked by their plans
    from distill.recipe import Recipe
    from distill.recipe_tables import Loss, SchedulePart

Layer = Literal["head", "projection", "encoder", "embedding"]
TOP_DOWN: tuple[Layer, ...] = ("head", "projection", "encoder", "embedding")
# Share of a stage's pieces in each step of gradual unfreezing: the smaller the layer, the sooner it has converged.
_SHARES: dict[Layer, float] = {"head": 0.03, "projection": 0.03, "encoder": 0.14, "embedding": 0.8}


@dataclass(frozen=True, slots=True)
class Step:
    """One training run: `thawed` layers learn, the others stay as they are.

    :param data: train on D_l, on D_u, or on both.
    :param pieces: word-pieces to see.
    :param judge: what "best on dev" means: F1 where there are labels, else the loss itself (F1 is near 0 in the first
        steps of logits, as in the paper's table 4).
    """

    stage: Literal["representation", "logits", "labels", "joint"]
    thawed: tuple[Layer, ...]
    objective: Objective
    data: Literal["labelled", "unlabelled", "everything"]
    pieces: int
    rate: float
    judge: Literal["f1", "loss"]


def plan(recipe: Recipe) -> list[Step]:
    """The steps of the recipe's strategy.

    :raises ValueError: if it needs a projection into the teacher's space and the student has none, a student of one
        language has no labels, or nothing is left to do.
    """
    if recipe.schedule.strategy == "teachers":
        return []
    if recipe.schedule.strategy == "D0":
        for language in recipe.languages:
            recipe.mixture(languages=(language,))
    steps = [replace(step, objective=_bare(step.objective)) for step in _steps(recipe) if step.pieces]
    if not steps:
        raise ValueError(f"strategy {recipe.schedule.strategy} has no word-pieces to see: raise those of the schedule")
    return steps


def _steps(recipe: Recipe) -> list[Step]:
    loss, schedule, layer = recipe.loss, recipe.schedule, recipe.teacher.layer
    layers = [name for name in TOP_DOWN if name != "projection" or recipe.student.projection != "none"]
    strategy = schedule.strategy
    if (strategy == "D2" or (strategy > "D3" and schedule.representation)) and "projection" not in layers:
        raise ValueError(f"student.projection is none, but strategy {strategy} learns the teacher's representation")
    everything = tuple(layers)
    total = schedule.representation + schedule.logits + schedule.labels
    labels = Objective(labels=1.0)
    joint = _joint(loss, layer)
    match strategy:
        case "D0" | "D0-S":
            # One student a language: together they cost what one of all languages does.
            each = total // (len(recipe.languages) if strategy == "D0" else 1)
            return [Step("labels", everything, labels, "labelled", each, schedule.rate, "f1")]
        case "D1":
            joint = replace(joint, representation=0.0)
            return [Step("joint", everything, joint, "everything", total, schedule.rate, "f1")]
        case "D2":
            return [Step("joint", everything, joint, "everything", total, schedule.rate, "f1")]
    steps = [_representation(loss, schedule, layer, everything)]
    gradual = strategy.endswith(".2")
    if strategy.startswith("D3"):
        joint = replace(joint, representation=0.0)
        whole = Step("joint", everything, joint, "everything", schedule.logits + schedule.labels, schedule.rate, "f1")
        return steps + _unfreezing(whole, gradual)
    imitation = Objective(logits=1.0, imitation=loss.imitation, temperature=loss.temperature, best=loss.best)
    by_logits = Step("logits", everything, imitation, "unlabelled", schedule.logits, schedule.rate, "loss")
    by_labels = Step("labels", everything, labels, "labelled", schedule.labels, schedule.label_rate, "f1")
    return steps + _unfreezing(by_logits, gradual) + _unfreezing(by_labels, gradual)


def _joint(loss: Loss, layer: int) -> Objective:
    return Objective(
        labels=loss.alpha,
        representation=loss.beta,
        logits=loss.gamma,
        imitation=loss.imitation,
        temperature=loss.temperature,
        likeness=loss.likeness,
        layer=layer,
        best=loss.best,
        annealed=loss.annealed,
    )


def _bare(objective: Objective) -> Objective:
    """The objective with its defaults where a value has no effect, so that such a value remakes no step."""
    default = Objective()
    if not objective.representation:
        objective = replace(objective, likeness=default.likeness, layer=default.layer)
    if not objective.logits:
        objective = replace(objective, imitation=default.imitation)
    if not objective.logits or objective.imitation not in (*SOFT, *TEMPERED):
        objective = replace(objective, temperature=default.temperature)
    if not objective.logits or objective.imitation not in COUNTED:
        objective = replace(objective, best=default.best)
    return objective


def _representation(loss: Loss, schedule: SchedulePart, layer: int, everything: Sequence[Layer]) -> Step:
    """Stage 1, end to end as in the paper's code; the head, which it does not touch, rests."""
    objective = Objective(representation=1.0, likeness=loss.likeness, layer=layer)
    thawed = tuple(name for name in everything if name != "head")
    return Step("representation", thawed, objective, "unlabelled", schedule.representation, schedule.rate, "loss")


def _unfreezing(whole: Step, gradual: bool) -> list[Step]:
    """The stage in one step, or layer by layer from the top: what has thawed stays so (Algorithm 1)."""
    if not gradual:
        return [whole]
    shares = [_SHARES[name] for name in whole.thawed]
    return [
        replace(whole, thawed=whole.thawed[: count + 1], pieces=round(whole.pieces * share / sum(shares)))
        for count, share in enumerate(shares)
    ]

"""Values of a recipe that are sound each for itself, but not with one another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distill.structure import STRUCTURAL

if TYPE_CHECKING:
    from distill.recipe import Recipe


def check_fit(recipe: Recipe) -> None:
    """Refuse them.

    :raises ValueError: naming the key and its value.
    """
    student, loss, teacher, strategy = recipe.student, recipe.loss, recipe.teacher, recipe.schedule.strategy
    if student.kind == "conv" and student.kernel % 2 == 0:
        raise ValueError(f"student.kernel must be odd for a conv, got {student.kernel}")
    if student.kind == "transformer" and student.hidden % student.heads:
        raise ValueError(
            f"student.hidden must be a multiple of student.heads ({student.heads}) for a transformer, "
            f"got {student.hidden}"
        )
    if teacher.engine == "ray" and teacher.cache != "disk":
        raise ValueError(f"teacher.cache must be 'disk' for teacher.engine 'ray', got {teacher.cache!r}")
    weights = {"loss.alpha": loss.alpha, "loss.gamma": loss.gamma}
    if strategy == "D2":
        weights["loss.beta"] = loss.beta
    if strategy in ("D1", "D2", "D3.1", "D3.2"):
        if not any(weights.values()):
            raise ValueError(f"{', '.join(weights)} must not all be 0 for the joint stage of {strategy}, got 0")
        if loss.annealed and not loss.alpha:
            raise ValueError("loss.alpha must be above 0 for loss.annealed, which moves all weight to it, got 0")
    if loss.annealed and strategy.startswith("D4"):
        raise ValueError(f"loss.annealed is for joint stages, which {strategy} has not, got {loss.annealed}")
    if "/" in recipe.labels.source:
        _stands_alone(recipe)
    _check_teachers(recipe)
    if recipe.schedule.taught:
        _check_imitation(recipe)


def _check_teachers(recipe: Recipe) -> None:
    """Who is imitated, and where embeddings come from."""
    student, teacher, own, strategy = recipe.student, recipe.teacher, recipe.teachers, recipe.schedule.strategy
    if own is None:
        if strategy == "teachers":
            raise ValueError("schedule.strategy 'teachers' trains those of [teachers], which is missing")
        wanted: dict[str, str] = {"schedule.strategy": strategy} if recipe.schedule.taught else {}
        if student.checkpoint is None:
            wanted |= {"student.projection": student.projection} if student.projection != "none" else {}
            wanted |= {"student.start": student.start} if student.start != "random" and not student.embeddings else {}
        if teacher.path is None and wanted:
            name, value = next(iter(wanted.items()))
            raise ValueError(f"teacher.path is missing, but {name} is {value!r}")
        return
    if own.together and not own.pooled:
        raise ValueError("teachers.pooled must be above 0 for teachers.together, got 0")
    if not own.together and not recipe.labels.languages:
        raise ValueError("labels.languages must name the languages of [teachers], one each; it is empty")
    untaught = [language for language in recipe.evaluation.languages if language not in recipe.labels.languages]
    if untaught and not own.together:
        names = ", ".join(untaught)
        raise ValueError(f"evaluation.languages must have [teachers], got {names}; others go into evaluation.zero_shot")
    if strategy in ("D2", "D3.1", "D3.2"):
        raise ValueError(f"[teachers] have no representation to learn: schedule.strategy is {strategy!r}")
    if strategy.startswith("D4") and (stage := recipe.schedule.representation):
        raise ValueError(f"schedule.representation must be 0: [teachers] have none to learn, got {stage}")
    if teacher.engine != "local":
        raise ValueError(f"teacher.engine must be 'local' with [teachers], got {teacher.engine!r}")
    shape = own.shape
    if shape.minimum_count or shape.checkpoint is not None:
        name = "minimum_count" if shape.minimum_count else "checkpoint"
        raise ValueError(f"teachers.shape.{name} is not for [teachers]: they start anew, with the student's vocabulary")
    if student.projection != "none":
        raise ValueError(f"student.projection must be 'none' with [teachers], got {student.projection!r}")
    for name, part in (("student", student), ("teachers.shape", shape)):
        if part.start != "random" and part.embeddings is None and part.checkpoint is None and teacher.path is None:
            raise ValueError(f"{name}.start is {part.start!r}, but neither {name}.embeddings nor teacher.path is given")


def _check_imitation(recipe: Recipe) -> None:
    """Losses on sequences look at whole ones; those named after softmax models or CRFs want these."""
    loss, decoder = recipe.loss, recipe.student.decoder
    teachers = recipe.teachers.shape.decoder if recipe.teachers is not None else "softmax"
    if loss.imitation in STRUCTURAL and loss.pieces != "all":
        raise ValueError(f"loss.pieces must be 'all' for loss.imitation {loss.imitation!r}, got {loss.pieces!r}")
    for kind, wanted in (("token", "softmax"), ("emission", "crf")):
        if loss.imitation == kind and (decoder, teachers) != (wanted, wanted):
            found = f"student.decoder is {decoder!r}, the teacher's {teachers!r}"
            raise ValueError(f"loss.imitation {kind!r} is for {wanted} models: {found}")


def _stands_alone(recipe: Recipe) -> None:
    """A source outside of ner/ is of another task: no sentences, names or scores of entities beside it."""
    labels, transfer = recipe.labels, recipe.transfer
    asked: dict[str, Any] = {
        "labels.gold": labels.gold,
        "labels.massive": labels.massive,
        "labels.mentions": labels.mentions,
        "labels.gazetteer": labels.gazetteer,
        "transfer.gold": transfer.gold,
        "transfer.massive": transfer.massive,
        "evaluation.gold": recipe.evaluation.gold,
    }
    for name, value in asked.items():
        if value:
            raise ValueError(f"{name} is for sources below ner/; with labels.source {labels.source!r} it got {value!r}")

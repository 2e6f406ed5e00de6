"""What is checked against the world before a recipe runs, because it would else break off hours later."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from distill.corpora import (
    SPLITS,
    WIKIANN,
    WIKIANN_45,
    languages_of,
    source_folder,
    sources,
    text_languages,
    training_languages,
)
from distill.recipe import Recipe
from onoma.bundle import MANIFEST


def check_run(recipe: Recipe, variants: Sequence[Recipe]) -> None:
    """Check the languages of resolved variants against the data folder, and that a bundle can be written.

    :raises FileNotFoundError: if there is no data folder.
    :raises ValueError: naming the key and its value, if a language is unknown, or no bundle can come of this.
    :raises ModuleNotFoundError: if the extra `export` is missing and the recipe has a bundle.
    """
    for own in variants:
        _check_languages(own)
    if recipe.bundle is None:
        return
    if not any(_gives_one_student(own) for own in variants):
        raise ValueError(
            f"bundle.path is {recipe.bundle.path!r}, but schedule.strategy {variants[0].schedule.strategy!r} gives no "
            "student of all languages"
        )
    if recipe.bundle.quantization == "int8-static":
        for own in variants:
            if _gives_one_student(own) and own.student.kind != "bilstm":
                raise ValueError(
                    f"bundle.quantization int8-static is for students of kind bilstm, got student.kind "
                    f"{own.student.kind!r}"
                )
    path = Path(recipe.bundle.path)
    foreign = path.is_dir() and any(path.iterdir()) and not (path / MANIFEST).is_file()
    if path.is_symlink() or foreign or (path.exists() and not path.is_dir()):
        raise ValueError(f"bundle.path {path} exists and is no bundle; name another folder or empty it")
    if find_spec("onnx") is None:
        raise ModuleNotFoundError(f"bundle.path {path} needs the extra export: pip install 'onoma[export]'")


def _gives_one_student(own: Recipe) -> bool:
    if own.schedule.strategy == "teachers":
        return own.teachers is not None and own.teachers.together
    return own.schedule.strategy != "D0"


def _check_languages(own: Recipe) -> None:
    main = own.labels.source
    if main != WIKIANN and not training_languages(main):
        raise ValueError(f"labels.source must have training sentences, got {main!r}: none below {source_folder(main)}")
    known = set() if "/" in main else set(WIKIANN_45)
    for source in [main] if "/" in main else sources():
        known |= {language for split in SPLITS for language in languages_of(source, split)}
    if own.transfer.text:
        known |= set(text_languages())  # labels.languages narrows unlabelled text as well
    if unknown := [language for language in own.labels.languages if language not in known]:
        raise ValueError(f"labels.languages must be languages of the data, got {', '.join(unknown)}")
    judged = set(languages_of(main, "dev")) & set(languages_of(main, "test"))
    if not own.languages:
        raise ValueError(f"evaluation.languages is empty, and {main} has no language with train, dev and test splits")
    if absent := [language for language in own.evaluation.zero_shot if language not in languages_of(main, "test")]:
        raise ValueError(f"evaluation.zero_shot must have {main} test sentences, got {', '.join(absent)}")
    labelled = own.labels.languages or training_languages(main)
    if learned := [language for language in own.evaluation.zero_shot if language in labelled]:
        raise ValueError(f"evaluation.zero_shot must be languages without labels, got {', '.join(learned)}")
    if missing := [language for language in own.languages if language not in judged]:
        origin = "" if own.evaluation.languages else " (as it is empty: those of the labels)"
        raise ValueError(
            f"evaluation.languages must have {main} dev and test sentences, got {', '.join(missing)}{origin}"
        )
    alone = own.teachers is not None and not own.teachers.together and not own.schedule.strategy.startswith("D0")
    if missing := [language for language in own.labels.languages if alone and language not in judged]:
        names = ", ".join(missing)
        raise ValueError(f"labels.languages must have {main} dev and test sentences each for [teachers], got {names}")

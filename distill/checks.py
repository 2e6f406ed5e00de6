"""What is checked against the world before a recipe runs, because it would else break off hours later."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from distill.corpora import WIKIANN_45, languages_of, sources, text_languages
from distill.evaluation import SILVER
from distill.recipe import Recipe
from onoma.bundle import MANIFEST

SPLITS = ("train", "dev", "test")


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
    if all(own.schedule.strategy == "D0" for own in variants):
        raise ValueError(
            f"bundle.path is {recipe.bundle.path!r}, but schedule.strategy 'D0' gives no student of all languages"
        )
    path = Path(recipe.bundle.path)
    foreign = path.is_dir() and any(path.iterdir()) and not (path / MANIFEST).is_file()
    if path.is_symlink() or foreign or (path.exists() and not path.is_dir()):
        raise ValueError(f"bundle.path {path} exists and is no bundle; name another folder or empty it")
    if find_spec("onnx") is None:
        raise ModuleNotFoundError(f"bundle.path {path} needs the extra export: pip install 'onoma[export]'")


def _check_languages(own: Recipe) -> None:
    known = set(WIKIANN_45)
    for source in sources():
        known |= {language for split in SPLITS for language in languages_of(source, split)}
    if own.transfer.text:
        known |= set(text_languages())  # labels.languages narrows unlabelled text as well
    if unknown := [language for language in own.labels.languages if language not in known]:
        raise ValueError(f"labels.languages must be languages of the data, got {', '.join(unknown)}")
    judged = set(languages_of(SILVER, "dev")) & set(languages_of(SILVER, "test"))
    if missing := [language for language in own.languages if language not in judged]:
        origin = "" if own.evaluation.languages else " (as it is empty: those of the labels)"
        raise ValueError(
            f"evaluation.languages must have {SILVER} dev and test sentences, got {', '.join(missing)}{origin}"
        )

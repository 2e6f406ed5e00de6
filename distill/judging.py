"""A finished student's scores: through the same code as a request, chosen on dev, reported on test."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from distill.corpora import ENTITY_TYPES, split_path
from distill.dataset import types_in_key
from distill.evaluation import Row, Span, evaluate_language, groups_of, summarise
from distill.files import write_json
from distill.hugging_face import check_same_labels
from distill.materials import Materials
from distill.students import load_student, parameter_count
from distill.torch_model import torch_tagger
from onoma.bundle import TOKENIZER_FILE, sha256
from onoma.tagger import Tagger

NOTHING, BORDER = "nothing", "other borders"
SCORES = "scores.json"


def judge(materials: Materials, student: Path) -> dict[str, Any]:
    """Scores on dev and test of the main source, and on the gold sources' test where the recipe says so; an artefact.

    :param student: folder of the finished student.
    """

    def tagger() -> Tagger:
        return torch_tagger(load_student(student), Tokenizer.from_file(str(student / TOKENIZER_FILE)))

    return _judged(materials, "scores", tagger, {"student": student.name})


def judge_teacher(materials: Materials) -> dict[str, Any]:
    """The teacher's scores on the same sentences, through its own tokenizer; and its number of parameters."""
    teacher = materials.teacher

    def tagger() -> Tagger:
        labels = materials.recipe.label_set
        return torch_tagger(
            teacher.model.to(materials.device),
            teacher.tokenizer,
            labels=labels,
            facts=teacher.facts,
            columns=check_same_labels(teacher.labels, labels.tags),
            max_length=min(256, teacher.longest),
        )

    scores = _judged(materials, "teacher", tagger, {"teacher": teacher.fingerprint})
    return scores | {"parameters": parameter_count(teacher.model)}


def _judged(materials: Materials, kind: str, tagger: Callable[[], Tagger], who: dict[str, str]) -> dict[str, Any]:
    own, labels = materials.recipe.evaluation, materials.recipe.labels
    main = {language: (labels.source, language) for language in materials.languages or materials.recipe.languages}
    jobs: dict[str, tuple[dict[str, Row], str, int | None]] = {
        "dev": (main, "dev", own.dev),
        "test": (main, "test", own.test),
    }
    if own.gold:
        rows = groups_of("gold", (), "test")["gold"]
        jobs["gold"] = ({name: row for name, row in rows.items() if _wanted(row, materials)}, "test", own.gold)
    if own.zero_shot:
        jobs["zero_shot"] = ({language: (labels.source, language) for language in own.zero_shot}, "test", own.test)
    files = {
        f"{source} {language} {split}": sha256(path)
        for rows, tested, _ in jobs.values()
        for source, language in rows.values()
        for split in (tested, "train")  # which says what is unseen
        if (path := split_path(source, language, split)).exists()
    }
    facts = {**who, "files": files, "limits": [own.dev, own.test, own.gold], **types_in_key(labels.types)}
    facts |= {"zero_shot": own.zero_shot} if own.zero_shot else {}

    def build(folder: Path) -> None:
        asked = tagger()
        scores = {}
        for name, (rows, split, limit) in jobs.items():
            confusion: Counter[tuple[str, str]] = Counter()

            def count(gold: Sequence[Span], spans: Sequence[Span], total: Counter[tuple[str, str]] = confusion) -> None:
                total.update(confusions(gold, spans))

            by_row = {
                row: evaluate_language(
                    asked, *place, split, raw=True, limit=limit, observe=count, types=labels.types
                )
                for row, place in rows.items()
            }
            scores[name] = summarise(by_row) | {"confusion": _table(confusion, types=labels.types)}
        write_json(folder / SCORES, scores)

    path = materials.store.get(kind, facts, build) / SCORES
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _wanted(row: Row, materials: Materials) -> bool:
    own = materials.recipe
    languages = materials.languages or (own.languages if own.labels.languages else ())
    return row[0] != own.labels.source and (not languages or row[1] in languages)


def confusions(gold: Sequence[Span], predicted: Sequence[Span]) -> list[tuple[str, str]]:
    """(gold type, predicted type) of each entity.

    `other borders` where the other side has an entity that overlaps but none with these borders, `nothing` where it has
    none at all.
    """
    at = {(start, end): label for start, end, label in predicted}
    pairs = [(label, at.get((start, end)) or _other((start, end), predicted)) for start, end, label in gold]
    known = {(start, end) for start, end, _ in gold}
    extra = [span for span in predicted if (span[0], span[1]) not in known]
    return pairs + [(_other((start, end), gold), label) for start, end, label in extra]


def _other(place: tuple[int, int], spans: Sequence[Span]) -> str:
    overlaps = any(start < place[1] and end > place[0] for start, end, _ in spans)
    return BORDER if overlaps else NOTHING


def _table(
    confusion: Counter[tuple[str, str]], *, types: Sequence[str] = ENTITY_TYPES
) -> dict[str, dict[str, int]]:
    names = (*types, BORDER, NOTHING)
    return {gold: {found: confusion[gold, found] for found in names} for gold in names}

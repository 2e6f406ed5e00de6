"""docs/sentences.md says what every key of a recipe means, with its default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from distill.recipe_tables import Variant
from distill.sentences import recipe as tables
from distill.sentences.languages import LANGUAGES

DOCS = (Path(__file__).parents[3] / "docs/sentences.md").read_text(encoding="utf-8")
SECTIONS: dict[str, type[BaseModel]] = {
    "### At the top": tables.SentenceRecipe,
    "### `[data]`": tables.Data,
    "### `[teacher]`": tables.SentenceTeacher,
    "### `[start]`": tables.Start,
    "### `[assistant]`": tables.Assistant,
    "### `[bottleneck]`": tables.Bottleneck,
    "### `[recurrent]`": tables.Recurrent,
    "### `[contrastive]`": tables.Contrastive,
    "### `[schedule]`": tables.SentenceSchedule,
    "### `[evaluation]`": tables.SentenceEvaluation,
    "### `[[variants]]`": Variant,
}
TABLES = {section.strip("# `[]") for section in SECTIONS} - {"At the top"}


def shown(value: Any) -> str:
    """A default as TOML writes it."""
    if value is None or value == LANGUAGES:
        return "-" if value is None else "all 72"
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(shown(one) for one in value)}]"
    return f"{value:_}" if isinstance(value, int) and value >= 10_000 else str(value)


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_is_explained(section: str) -> None:
    text = DOCS.split(section + "\n")[1].split("\n### ")[0]
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| `")]
    documented = {row[0].strip("| `"): (row[1].strip("` "), row[2].strip("| ")) for row in rows}
    part = SECTIONS[section]
    fields = {
        name: field for name, field in part.model_fields.items()
        if part is not tables.SentenceRecipe or name not in TABLES
    }
    assert documented.keys() == fields.keys()
    for name, field in fields.items():
        default, meaning = documented[name]
        assert meaning == field.description, name
        value = None if field.is_required() else field.get_default(call_default_factory=True)
        assert default == ("required" if field.is_required() else shown(value)), name


def test_every_table_has_a_section() -> None:
    left = set(tables.SentenceRecipe.model_fields) - TABLES
    assert left == {"kind", "name", "description", "expect", "seeds", "tokenizer", "words"}

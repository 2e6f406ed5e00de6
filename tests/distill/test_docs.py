"""docs/distilling.md says what every key of a recipe means, with its default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from distill import recipe_tables as tables
from distill.recipe import Recipe, load_recipe

DOCS = (Path(__file__).parents[2] / "docs/distilling.md").read_text(encoding="utf-8")
SECTIONS: dict[str, type[BaseModel]] = {
    "### At the top": Recipe,
    "### `[labels]`": tables.Labels,
    "### `[transfer]`": tables.Transfer,
    "### `[teacher]`": tables.Teacher,
    "### `[teachers]`": tables.Teachers,
    "### `[teachers.shape]`": tables.TeacherShape,
    "### `[student]`": tables.StudentPart,
    "### `[loss]`": tables.Loss,
    "### `[schedule]`": tables.SchedulePart,
    "### `[evaluation]`": tables.Evaluation,
    "### `[bundle]`": tables.Bundle,
    "### `[[variants]]`": tables.Variant,
}
TABLES = {
    "labels", "transfer", "teacher", "teachers", "student", "loss", "schedule", "evaluation", "bundle", "variants",
}  # fmt: skip


def explained(part: type[BaseModel]) -> dict[str, FieldInfo]:
    """The keys in the table of a section: those of tables in it stand elsewhere, and what TeacherShape inherits too."""
    elsewhere = {Recipe: TABLES, tables.Teachers: {"shape"}, tables.TeacherShape: set(tables.StudentPart.model_fields)}
    own = set(part.__annotations__)
    return {
        name: field
        for name, field in part.model_fields.items()
        if name not in elsewhere.get(part, ()) or (part is tables.TeacherShape and name in own)
    }


def shown(value: Any) -> str:
    """A default as TOML writes it."""
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(shown(one) for one in value)}]"
    return f"{value:_}" if isinstance(value, int) and value >= 10_000 else str(value)


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_of_a_table_is_explained(section: str) -> None:
    text = DOCS.split(section + "\n")[1].split("\n### ")[0]
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| `")]
    documented = {row[0].strip("| `"): (row[1].strip("` "), row[2].strip("| ")) for row in rows}
    fields = explained(SECTIONS[section])
    assert documented.keys() == fields.keys()
    for name, field in fields.items():
        default, meaning = documented[name]
        assert meaning == field.description, name
        if field.is_required():
            assert default == "required", name
        else:
            value = field.get_default(call_default_factory=True)
            assert default == ("-" if value is None else shown(value)), name


def test_every_table_has_a_section() -> None:
    assert set(Recipe.model_fields) - TABLES == {
        "name", "description", "x_label", "expect", "seeds", "tokenizer",
    }
    assert {section.strip("# `[]") for section in SECTIONS} - {"At the top", "teachers.shape"} == TABLES


def test_the_smallest_recipe_of_the_docs_is_one(tmp_path: Path) -> None:
    example = DOCS.split('    name = "mine"')[1].split("\nData is read")[0]
    lines = ['name = "mine"', *(line.removeprefix("    ") for line in example.splitlines()[1:])]
    (tmp_path / "mine.toml").write_text("\n".join(lines), encoding="utf-8")
    made = load_recipe(tmp_path / "mine.toml")
    assert made.languages == ("de", "sw") and made.bundle is not None and made.transfer.text == 50_000

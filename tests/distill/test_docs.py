"""docs/distilling.md says what every key of a recipe means, with its default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from distill import recipe

DOCS = (Path(__file__).parents[2] / "docs/distilling.md").read_text(encoding="utf-8")
SECTIONS: dict[str, type[BaseModel]] = {
    "### At the top": recipe.Recipe,
    "### `[labels]`": recipe.Labels,
    "### `[transfer]`": recipe.Transfer,
    "### `[teacher]`": recipe.Teacher,
    "### `[student]`": recipe.StudentPart,
    "### `[loss]`": recipe.Loss,
    "### `[schedule]`": recipe.SchedulePart,
    "### `[evaluation]`": recipe.Evaluation,
    "### `[bundle]`": recipe.Bundle,
    "### `[[variants]]`": recipe.Variant,
}
TABLES = {"labels", "transfer", "teacher", "student", "loss", "schedule", "evaluation", "bundle", "variants"}


def shown(value: Any) -> str:
    """A default as TOML writes it."""
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple):
        return f"[{', '.join(shown(one) for one in value)}]"
    return f"{value:_}" if isinstance(value, int) and value >= 10_000 else str(value)


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_of_a_table_is_explained(section: str) -> None:
    text = DOCS.split(section + "\n")[1].split("\n### ")[0]
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| `")]
    documented = {row[0].strip("| `"): (row[1].strip("` "), row[2].strip("| ")) for row in rows}
    fields = {
        name: field
        for name, field in SECTIONS[section].model_fields.items()
        if SECTIONS[section] is not recipe.Recipe or name not in TABLES
    }
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
    assert set(recipe.Recipe.model_fields) - TABLES == {
        "name", "description", "x_label", "expect", "seeds", "tokenizer",
    }
    assert {section.strip("# `[]") for section in SECTIONS} - {"At the top"} == TABLES


def test_the_smallest_recipe_of_the_docs_is_one(tmp_path: Path) -> None:
    example = DOCS.split('    name = "mine"')[1].split("\nData is read")[0]
    lines = ['name = "mine"', *(line.removeprefix("    ") for line in example.splitlines()[1:])]
    (tmp_path / "mine.toml").write_text("\n".join(lines), encoding="utf-8")
    made = recipe.load_recipe(tmp_path / "mine.toml")
    assert made.languages == ("de", "sw") and made.bundle is not None and made.transfer.text == 50_000

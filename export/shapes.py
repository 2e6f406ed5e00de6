"""The name of a student's shape in a manifest, such as `conv V=48000 E=100 H=128 L=4 K=5`, there and back.

A CRF shows as `bilstm-crf`.
"""

from __future__ import annotations

import re
from typing import Any

from distill.students import StudentConfig

_FIELDS = {"V": "vocabulary", "E": "embedding", "H": "hidden", "L": "layers", "K": "kernel", "A": "heads"}
_LETTERS = {"bilstm": "VEH", "conv": "VEHLK", "transformer": "VEHLA"}  # of each kind


def architecture(config: StudentConfig) -> str:
    """The name of the shape of a student that is exported: one whose projection, if any, is no linear one."""
    sizes = [f"{letter}={getattr(config, _FIELDS[letter])}" for letter in _LETTERS[config.kind]]
    projection = [f"D={config.projection}", config.activation] if config.projection else []
    return " ".join([config.kind + ("-crf" if config.decoder == "crf" else ""), *sizes, *projection])


def parse_architecture(name: str, *, labels: tuple[str, ...], pad_id: int) -> StudentConfig | None:
    """The shape that `architecture` gave a name; None for any other name, such as a teacher's."""
    for kind, letters in _LETTERS.items():
        sizes = "".join(rf" {letter}=(?P<{_FIELDS[letter]}>\d+)" for letter in letters)
        projection = r"(?: D=(?P<projection>\d+) (?P<activation>gelu))?"
        found = re.fullmatch(rf"{kind}(?:-(?P<decoder>crf))?{sizes}{projection}", name)
        if found is not None:
            facts: dict[str, Any] = {
                field: int(value) if value.isdigit() else value
                for field, value in found.groupdict().items()
                if value is not None
            }
            return StudentConfig(kind=kind, labels=labels, pad_id=pad_id, **facts)  # type: ignore[arg-type]
    return None

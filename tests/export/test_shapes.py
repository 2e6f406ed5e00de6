from __future__ import annotations

import pytest

from distill.students import StudentConfig
from export.shapes import architecture, parse_architecture
from tests.export.conftest import LABELS

NAMES = {
    "bilstm V=9 E=8 H=12": StudentConfig(9, 8, 12, LABELS, pad_id=3),
    "bilstm V=9 E=8 H=12 D=16 gelu": StudentConfig(9, 8, 12, LABELS, pad_id=3, projection=16, activation="gelu"),
    "bilstm-crf V=9 E=8 H=12": StudentConfig(9, 8, 12, LABELS, pad_id=3, decoder="crf"),
    "conv-crf V=9 E=8 H=12 L=4 K=7 D=16 gelu": StudentConfig(
        9, 8, 12, LABELS, pad_id=3, kind="conv", layers=4, kernel=7, projection=16, activation="gelu", decoder="crf"
    ),
    "conv V=9 E=8 H=12 L=4 K=7": StudentConfig(9, 8, 12, LABELS, pad_id=3, kind="conv", layers=4, kernel=7),
    "transformer V=9 E=8 H=12 L=2 A=6 D=16 gelu": StudentConfig(
        9, 8, 12, LABELS, pad_id=3, kind="transformer", layers=2, heads=6, projection=16, activation="gelu"
    ),
}


@pytest.mark.parametrize("name", NAMES)
def test_there_and_back(name: str) -> None:
    assert architecture(NAMES[name]) == name
    assert parse_architecture(name, labels=LABELS, pad_id=3) == NAMES[name]


@pytest.mark.parametrize(
    "name",
    [
        "roformer V=48000 layers=3 hidden=192",
        "bilstm V=9 E=8",
        "bilstm V=9 E=8 H=12 L=2",
        "conv V=9 E=8 H=12 L=4 A=7",
        "conv V=9 E=8 H=12 L=4 K=7 D=16",
        "bilstm V=9 E=8 H=12 D=16 linear",
        "bilstm-softmax V=9 E=8 H=12",
        "convbert V=9 E=8 H=12 L=4 K=7",
    ],
)
def test_other_names_are_no_students(name: str) -> None:
    assert parse_architecture(name, labels=LABELS, pad_id=0) is None

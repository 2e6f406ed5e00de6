from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for `import bundles`

from bundles import write_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A folder with a small bundle of its own for each test."""
    folder = tmp_path / "student"
    write_bundle(folder)
    return folder

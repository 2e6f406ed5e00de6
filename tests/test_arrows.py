"""The arrows of the house: which package may import which. Found in the syntax tree, so lazy imports count too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# What each package may import of this project besides itself.
ARROWS = {
    "onoma": set(),
    "service": {"onoma"},
    "distill": {"onoma"},
    "export": {"onoma", "distill"},
    "loadtests": {"onoma"},
    "benchmarks": {"onoma", "export"},  # export: its passes over graphs, for the study of quantization
}
HEAVY = {"torch", "transformers", "optimum", "accelerate", "safetensors", "onnx", "locust"}
# Libraries that a package must never import: the base install lacks them, or they are another room's business.
BANNED = {"onoma": HEAVY | {"fastapi", "starlette", "uvicorn", "prometheus_client"}, "service": HEAVY}


def imports_of(source: str) -> Iterator[tuple[int, str]]:
    """(line, top-level module) of each absolute import, also by importlib.import_module with a literal."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name.partition(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.lineno, node.module.partition(".")[0]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield node.lineno, node.args[0].value.partition(".")[0]


def wrong_arrows(package: str, source: str) -> list[str]:
    banned = (ARROWS.keys() - ARROWS[package] - {package}) | BANNED.get(package, set())
    return [f"{line}: {package} may not import {name}" for line, name in imports_of(source) if name in banned]


FILES = [(package, path) for package in ARROWS for path in sorted((ROOT / package).rglob("*.py"))]


@pytest.mark.parametrize(("package", "path"), FILES, ids=[str(path.relative_to(ROOT)) for _, path in FILES])
def test_arrows(package: str, path: Path) -> None:
    assert wrong_arrows(package, path.read_text(encoding="utf-8")) == []


def test_the_guard_guards() -> None:
    assert wrong_arrows("onoma", "def f():\n    import service.app") == ["2: onoma may not import service"]
    assert wrong_arrows("service", "from distill.students import X")
    assert wrong_arrows("service", "import importlib\nimportlib.import_module('torch.nn')")
    assert wrong_arrows("loadtests", "import service") and wrong_arrows("distill", "import export")
    assert not wrong_arrows("export", "import torch\nfrom distill.students import X\nfrom . import service")


def test_every_package_is_guarded() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    assert packages <= ARROWS.keys()

"""onoma itself needs no httpx; onoma.client says what to install."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[3]

# As if httpx were not installed: find_spec and import both ask the finders in sys.meta_path.
WITHOUT_HTTPX = """
import sys
class Without:
    def __init__(self, finder): self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] == "httpx" else self.finder.find_spec(name, path, target)
sys.meta_path[:] = map(Without, sys.meta_path)
"""


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT)


def test_onoma_does_not_import_httpx() -> None:
    assert run("import sys, onoma, onoma.commands; print('httpx' in sys.modules)").stdout == "False\n"


def test_without_httpx() -> None:
    done = run(WITHOUT_HTTPX + "import onoma\nprint(onoma.__version__)\nimport onoma.client")
    assert done.returncode == 1 and done.stdout
    assert done.stderr.strip().endswith("ImportError: onoma.client needs httpx: pip install 'onoma[client]'")


def test_the_extra_is_there_and_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    for name in project["optional-dependencies"]["client"]:
        assert any(pin.startswith(f"{name}==") for pin in pins)

"""What the reports on the service say of how they were made."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from benchmarks.figures import machine
from onoma.bundle import read_manifest

_PACKAGES = ("fastapi", "uvicorn", "uvloop", "httptools", "pydantic", "orjson")
DEADLINE = 30.0  # seconds, the default of ONOMA_DEADLINE_SECONDS


def facts(module: str, argv: Sequence[str], *, models: Path, server_core: int, load_core: int) -> dict[str, Any]:
    """Command, machine, versions, bundle, and the settings of onoma that the environment gives; for JSON.

    :raises BundleError: if there is no bundle `student`, or it is damaged.
    """
    manifest = read_manifest(models / "student")
    installed = {one.name.lower(): one.version for one in distributions() if one.name}
    return {
        "command": shlex.join(["python", "-m", module, *argv]),
        "machine": machine({name: installed.get(name, "not installed") for name in _PACKAGES}),
        "cores": {"server": server_core, "load": load_core},
        "bundle": f"{manifest.name}, {manifest.architecture}, {manifest.quantization.method}, {manifest.created}",
        "settings": settings(),
    }


def settings() -> dict[str, str]:
    """The settings that a server started here is given by the environment."""
    own = ("ONOMA_DATA", "ONOMA_MODELS", "ONOMA_PORT")  # training's, and those that the benchmark sets
    return {name: value for name, value in sorted(os.environ.items()) if name.startswith("ONOMA_") and name not in own}


def deadline() -> float:
    """Seconds that a request may take in a server started here."""
    return float(settings().get("ONOMA_DEADLINE_SECONDS", DEADLINE))


def described(results: Mapping[str, Any]) -> dict[str, str]:
    """The facts in words, under their names."""
    about, cores = results["machine"], results["cores"]
    alone = "" if cores["server"] != cores["load"] else ", the only one: what is measured has not had it for itself"
    given = ", ".join(f"{name}={value}" for name, value in results["settings"].items())
    return {
        "command": results["command"],
        "date": about["date"],
        "machine": f"{about['processor']}, {about['cores']} cores, load {about['load']} before the run",
        "versions": about["versions"],
        "cores": f"servers on core {cores['server']}, load generator on core {cores['load']}{alone}",
        "bundle": results["bundle"],
        "settings of onoma": given or "defaults",
    }


def bullets(lines: Mapping[str, str]) -> str:
    """Named facts as a list in Markdown."""
    return "\n".join(f"- {name}: {value}" for name, value in lines.items())


def table(head: Sequence[str], left: int, rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, whose first columns stand left, the others right."""
    lines = [head, ["---"] * left + ["---:"] * (len(head) - left), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

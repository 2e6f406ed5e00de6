"""What reports of benchmarks share: the machine, and figures with their spread."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime as ort

from onoma.machine import processor
from onoma.model import available_cores


def machine(versions: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The processor, the cores this process may use, the load of the last minute, the versions and the date.

    :param versions: of further packages.
    """
    shown = {"Python": platform.python_version()} | dict(versions or {}) | {"onnxruntime": ort.__version__}
    return {
        "processor": processor(),
        "cores": available_cores(),
        "load": round(os.getloadavg()[0], 1),
        "versions": ", ".join(f"{name} {version}" for name, version in shown.items()),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def summary(values: Sequence[float]) -> dict[str, float]:
    """Median, least and greatest."""
    return {"median": statistics.median(values), "least": min(values), "greatest": max(values)}


def ranged(figures: Mapping[str, float], digits: int) -> str:
    """A summary in words: median (least..greatest)."""
    return f"{figures['median']:.{digits}f} ({figures['least']:.{digits}f}..{figures['greatest']:.{digits}f})"


def add_outputs(options: argparse.ArgumentParser, folder: Path, name: str) -> None:
    """The options --json and --markdown of a study, which writes name.json and name.md into a folder by itself."""
    options.add_argument("--json", type=Path, default=folder / f"{name}.json", help="all figures")
    options.add_argument("--markdown", type=Path, default=folder / f"{name}.md", help="the report")


def publish(
    text: str, results: Mapping[str, Any], *, json_path: Path | None = None, markdown_path: Path | None = None
) -> None:
    """Print a report, and write it and its figures where they are wanted: whole or not at all."""
    print(text, end="")
    for path, content in ((json_path, json.dumps(results, indent=1) + "\n"), (markdown_path, text)):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(path.name + ".tmp")
            temporary.write_text(content, encoding="utf-8")
            temporary.replace(path)

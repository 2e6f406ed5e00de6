"""The command `onoma serve`."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from onoma.cli import Command

if TYPE_CHECKING:
    from service.settings import Settings

DESCRIPTION = """\
Serve POST /ner over HTTP, with a student and, where there is one, a teacher as fallback.

Every setting is an environment variable ONOMA_..., see docs/service.md; the options here go before them.

  onoma serve --models models --port 8000
  curl -s localhost:8000/ner -H 'content-type: application/json' -d '{"text": "Angela Merkel in Köln"}'
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `onoma serve`."""
    parser.add_argument("--host", help="address to listen on (ONOMA_HOST, 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on (ONOMA_PORT, 8000)")
    parser.add_argument("--models", help="folder with the bundles student and teacher (ONOMA_MODELS, models)")
    parser.add_argument("--processes", type=int, help="processes that share the port (ONOMA_PROCESSES, one per core)")
    parser.add_argument("--threads", type=int, help="onnxruntime threads of one batch (ONOMA_THREADS, its cores)")


def read_settings(arguments: argparse.Namespace) -> Settings:
    """The settings of the environment, overridden by the options given.

    :raises ValueError: for a setting out of its range.
    """
    from service.settings import Settings

    known = {f"ONOMA_{name.upper()}" for name in Settings.model_fields}
    for name in sorted(os.environ):
        if name.startswith("ONOMA_") and name not in known:
            print(f"onoma serve: {name} is not a setting and is ignored; see docs/service.md", file=sys.stderr)
    options = {name: getattr(arguments, name) for name in ("host", "port", "models", "processes", "threads")}
    return Settings(**{name: value for name, value in options.items() if value is not None})


def run(arguments: argparse.Namespace) -> int:
    """Serve until told to stop."""
    from service.server import serve

    return serve(read_settings(arguments))


command = Command(
    name="serve",
    help="serve POST /ner over HTTP",
    description=DESCRIPTION,
    add_arguments=add_arguments,
    run=run,
)

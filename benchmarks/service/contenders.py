"""The contenders: how each server is started, and a look at what it answers."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.service.pinned import ROOT, ProcessError, Server, running_server
from benchmarks.service.scenarios import CONSTANT, CONSTANT_H11, ONOMA, PLAIN, PLAIN_TAGGER

# The `onoma` command under this same interpreter, wherever its script was put.
RUN_ONOMA = "import sys; from onoma.cli import main; sys.exit(main())"
SAMPLE = "Angela Merkel visited the Siemens works in Munich on a rainy Tuesday."
_SHAPE = {"results", "request_id", "timings_ms"}
_RESULT = {"entities", "model", "fallback", "windows"}


@contextmanager
def running_contenders(
    names: Sequence[str], *, models: Path, core: int, logs: Path, tree: Path = ROOT
) -> Iterator[dict[str, Server]]:
    """Start the servers among these contenders, all on one core, and wait until they are ready.

    :param tree: where the onoma that is served stands; the others are of this tree.
    :raises ProcessError: if one does not start.
    """
    folder = str(models.resolve())
    with ExitStack() as stack:
        servers: dict[str, Server] = {}

        def start(name: str, command: Sequence[str], stands: Path = ROOT) -> None:
            if name in names:
                servers[name] = stack.enter_context(
                    running_server(
                        name,
                        lambda port: [*command, "--port", str(port)],
                        core=core,
                        log=logs / f"{name}.log",
                        tree=stands,
                        settings={"ONOMA_MODELS": folder},
                    )
                )

        start(ONOMA, ["-c", RUN_ONOMA, "serve", "--host", "127.0.0.1"], tree)
        start(PLAIN, ["-m", "benchmarks.service.plain", "--models", folder])
        start(PLAIN_TAGGER, ["-m", "benchmarks.service.plain", "--models", folder, "--tagger"])
        start(CONSTANT, ["-m", "benchmarks.service.constant"])
        start(CONSTANT_H11, ["-m", "benchmarks.service.constant", "--h11"])
        for server in servers.values():
            server.wait_until_ready()
        yield servers


def ask(port: int, body: dict[str, Any]) -> dict[str, Any]:
    """POST /ner, the answer's JSON."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/ner", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def check(servers: dict[str, Server]) -> None:
    """Make sure that all contenders answer in the same shape, and those with a model the same.

    :raises ProcessError: if one does not.
    """
    answers = {name: ask(server.port, {"text": SAMPLE, "model": "student"}) for name, server in servers.items()}
    for name, answer in answers.items():
        if not (_SHAPE <= answer.keys() and answer["results"] and _RESULT <= answer["results"][0].keys()):
            raise ProcessError(f"the server {name} answers in another shape: {answer}")
    spans = {
        name: [(one["start"], one["end"], one["label"]) for one in answer["results"][0]["entities"]]
        for name, answer in answers.items()
        if name not in (CONSTANT, CONSTANT_H11)
    }
    if len({tuple(found) for found in spans.values()}) > 1:
        raise ProcessError(f"the servers find different entities in {SAMPLE!r}: {spans}")

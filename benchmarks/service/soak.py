"""`python -m benchmarks.service.soak`: minutes of mixed requests, more than the service can answer.

Short and long texts, many texts at once, invalid requests, and clients that hang up: what it answers meanwhile, what
becomes of its memory, and how fast it is afterwards.
"""

from __future__ import annotations

import argparse
import sys
import time
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.figures import publish
from benchmarks.service.contenders import running_contenders
from benchmarks.service.facts import deadline, facts
from benchmarks.service.pinned import ROOT, ProcessError, Server, Worker, is_ready, running_worker, two_cores
from benchmarks.service.scenarios import ONOMA
from benchmarks.service.soak_report import RECOVERY, SPEED, checks, document
from onoma.errors import BundleError

_GAUGES = ("onoma_in_flight_requests", "onoma_queue_windows", "onoma_queue_tokens")


def parser() -> argparse.ArgumentParser:
    """The options."""
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.service.soak", description=(__doc__ or "").partition("\n")[0]
    )
    options.add_argument("--minutes", type=float, default=10.0, help="%(default)s")
    options.add_argument("--times", type=float, default=2.0, help="how much is too much: times saturation, %(default)s")
    options.add_argument("--connections", type=int, default=512, help="at most, %(default)s")
    options.add_argument("--probe", type=float, default=10.0, help="seconds of each measurement before, %(default)s")
    options.add_argument("--model", default="auto", choices=("auto", "student", "teacher"), help="%(default)s")
    options.add_argument("--models", type=Path, default=ROOT / "models", help="folder with the bundles")
    options.add_argument("--onoma-tree", type=Path, default=ROOT, help="serve the onoma that stands there")
    options.add_argument(
        "--out", type=Path, default=ROOT / "out" / "bench-soak", help="folder of report.md, results.json, onoma.log"
    )
    return options


def left_behind(server: Server) -> dict[str, float]:
    """What should be nothing once all requests are answered: the gauges of work, and 1 if the server is not ready."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    found = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line.startswith(_GAUGES)}
    return found | {"not ready": float(not is_ready(server.port))}


def watched(
    server: Server, worker: Worker, progress: Progress, **job: Any
) -> tuple[dict[str, Any], list[tuple[float, int]]]:
    """Have the load put on the server, and sample its memory every second.

    :return: what the load found; seconds since it began, and resident bytes.
    :raises ProcessError: if the server or the load ends too early.
    """
    task = progress.add_task("soak", total=job["seconds"])
    samples: list[tuple[float, int]] = []
    began = time.monotonic()
    worker.begin(what="soak", port=server.port, **job)
    while not worker.done_within(1.0):
        if server.process.poll() is not None:
            raise ProcessError(f"the server ended with status {server.process.returncode} during the soak")
        at, size = time.monotonic() - began, server.resident_bytes()
        samples.append((at, size))
        progress.update(task, completed=at, description=f"soak, RSS {size / 2**20:.0f} MiB", refresh=True)
    return worker.finish(), samples


def run(options: argparse.Namespace, argv: Sequence[str]) -> dict[str, Any]:
    """Start the service, measure it, overload it, measure it again, and judge.

    :raises ProcessError: if the server or the load fails.
    :raises BundleError: if there is no bundle.
    """
    server_core, load_core = two_cores()
    known = facts("benchmarks.service.soak", argv, models=options.models, server_core=server_core, load_core=load_core)
    options.out.mkdir(parents=True, exist_ok=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with ExitStack() as stack:
        servers = stack.enter_context(
            running_contenders(
                [ONOMA], models=options.models, core=server_core, logs=options.out, tree=options.onoma_tree
            )
        )
        server = servers[ONOMA]
        worker = stack.enter_context(running_worker(["-m", "benchmarks.service.soak_load"], core=load_core))
        progress = stack.enter_context(Progress(*columns, console=Console(stderr=True), auto_refresh=False))
        before = worker.ask(what="short", port=server.port, seconds=options.probe, warm_up=options.probe / 5)["rate"]
        saturation = worker.ask(what="saturation", port=server.port, model=options.model, seconds=options.probe)["rate"]
        load, memory = watched(
            server,
            worker,
            progress,
            model=options.model,
            rate=options.times * saturation,
            seconds=60 * options.minutes,
            connections=options.connections,
        )
        after = worker.ask(what="recovery", port=server.port, enough=SPEED * before, seconds=2 * RECOVERY)
        rest = left_behind(server)
    results = known | {
        "minutes": options.minutes,
        "times": options.times,
        "connections": options.connections,
        "model": options.model,
        "deadline": deadline(),
        "before": before,
        "saturation": saturation,
        "rate": options.times * saturation,
        "soak": load,
        "memory": memory,
        "after": after,
        "left_behind": rest,
    }
    return results | {"checks": checks(results)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the soak, print and write the report; exit status 1 if a demand is not met or the server did not live."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse_args(argv)
    if options.minutes <= 0 or options.times <= 0 or options.probe <= 0 or options.connections < 16:
        parser().error("--minutes, --times and --probe must be more than 0, --connections at least 16")
    try:
        results = run(options, argv)
    except (ProcessError, BundleError) as error:
        print(f"benchmarks.service.soak: {error}", file=sys.stderr)
        return 1
    publish(document(results), results, json_path=options.out / "results.json", markdown_path=options.out / "report.md")
    return 0 if all(one["met"] for one in results["checks"]) else 1


if __name__ == "__main__":
    sys.exit(main())

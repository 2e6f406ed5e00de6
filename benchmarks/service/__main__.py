"""`python -m benchmarks.service`: the HTTP service beside other servers, and Tagger in process."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.figures import publish
from benchmarks.service.contenders import check, running_contenders
from benchmarks.service.facts import facts
from benchmarks.service.pinned import ROOT, ProcessError, running_worker, two_cores
from benchmarks.service.report import document, judged, problems
from benchmarks.service.rounds import measure, present_in
from benchmarks.service.scenarios import CONTENDERS, SCENARIOS, TAGGER, Scenario
from onoma.cli import names
from onoma.errors import BundleError


def parser() -> argparse.ArgumentParser:
    """The options."""
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.service", description=(__doc__ or "").partition("\n")[0]
    )
    options.add_argument("--rounds", type=int, default=7, help="%(default)s")
    options.add_argument("--seconds", type=float, default=4.0, help="of each run, %(default)s")
    options.add_argument("--warm-up", type=float, default=0.5, help="seconds before each run, %(default)s")
    options.add_argument(
        "--scenarios", type=names, default=[], help=f"only these: {','.join(one.name for one in SCENARIOS)}"
    )
    options.add_argument("--contenders", type=names, default=[], help=f"only these: {','.join(CONTENDERS)}")
    options.add_argument("--models", type=Path, default=ROOT / "models", help="folder with the bundle `student`")
    options.add_argument("--onoma-tree", type=Path, default=ROOT, help="serve the onoma that stands there")
    options.add_argument(
        "--out", type=Path, default=ROOT / "out" / "bench-service", help="folder of report.md, results.json, logs"
    )
    return options


def chosen(options: argparse.Namespace) -> list[Scenario]:
    """The scenarios asked for.

    :raises ValueError: if there is no such scenario or contender.
    """
    for given, known in ((options.scenarios, [one.name for one in SCENARIOS]), (options.contenders, CONTENDERS)):
        unknown = [name for name in given if name not in known]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is none of {', '.join(known)}")
    return [one for one in SCENARIOS if not options.scenarios or one.name in options.scenarios]


def run(options: argparse.Namespace, scenarios: Sequence[Scenario], argv: Sequence[str]) -> dict[str, Any]:
    """Start everything, measure, and judge.

    :raises ProcessError: if a server or a worker fails.
    :raises BundleError: if there is no bundle.
    """
    wanted = [name for name in CONTENDERS if any(name in one.contenders for one in scenarios)]
    wanted = [name for name in wanted if not options.contenders or name in options.contenders]
    options.out.mkdir(parents=True, exist_ok=True)
    server_core, load_core = two_cores()
    known = facts("benchmarks.service", argv, models=options.models, server_core=server_core, load_core=load_core)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with ExitStack() as stack:
        servers = stack.enter_context(
            running_contenders(
                wanted, models=options.models, core=server_core, logs=options.out, tree=options.onoma_tree
            )
        )
        check(servers)
        generator = stack.enter_context(running_worker(["-m", "benchmarks.service.generator"], core=load_core))
        tagger = None
        if TAGGER in wanted:
            command = ["-m", "benchmarks.service.inprocess", str(options.models / "student")]
            tagger = stack.enter_context(running_worker(command, core=server_core))
        # No thread that draws while a run is measured.
        progress = stack.enter_context(Progress(*columns, console=Console(stderr=True), auto_refresh=False))
        runs = options.rounds * sum(len(present_in(one, set(wanted))) for one in scenarios)
        task = progress.add_task("", total=runs)
        begun = iter(range(runs + 1))

        def step(description: str) -> None:
            progress.update(task, description=description, completed=next(begun), refresh=True)

        rounds = measure(
            scenarios,
            servers=servers,
            generator=generator,
            tagger=tagger,
            rounds=options.rounds,
            seconds=options.seconds,
            warm_up=options.warm_up,
            step=step,
        )
    return known | {
        "seconds": options.seconds,
        "warm_up": options.warm_up,
        "rounds": rounds,
        "bars": judged(rounds),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark, print and write the report; exit status 1 if a request failed or a server did not start."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse_args(argv)
    try:
        scenarios = chosen(options)
    except ValueError as error:
        parser().error(str(error))
    if options.rounds < 1 or options.seconds <= 0 or options.warm_up < 0:
        parser().error("--rounds must be at least 1, --seconds more than 0, --warm-up not negative")
    try:
        results = run(options, scenarios, argv)
    except (ProcessError, BundleError) as error:
        print(f"benchmarks.service: {error}", file=sys.stderr)
        return 1
    publish(
        document(results, scenarios),
        results,
        json_path=options.out / "results.json",
        markdown_path=options.out / "report.md",
    )
    return 1 if problems(results["rounds"]) else 0


if __name__ == "__main__":
    sys.exit(main())

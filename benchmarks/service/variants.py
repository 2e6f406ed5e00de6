"""`python -m benchmarks.service.variants`: onoma against itself under other settings, and onnxruntime's threads.

Three parts. On one core: the event loop against a thread, and the size of batches. On all cores: processes against
threads. In two processes without a service: the threads of one inference, and whether they spin.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from tokenizers import Tokenizer

from benchmarks.figures import add_outputs, publish
from benchmarks.service import spinning
from benchmarks.service.contenders import check
from benchmarks.service.facts import facts
from benchmarks.service.pinned import ROOT, ProcessError, running_worker, two_cores
from benchmarks.service.report import problems
from benchmarks.service.rounds import Round, measure
from benchmarks.service.scenarios import Scenario, by_name
from benchmarks.service.spread import own_cores, running_onoma, spread
from benchmarks.service.variants_report import ALL_CORES, DEFAULT, ONE_CORE, SPINNING, document
from onoma.bundle import MODEL_FILE, TOKENIZER_FILE
from onoma.cli import names
from onoma.errors import BundleError

PARTS = (ONE_CORE, ALL_CORES, SPINNING)
SCENARIOS = ("short-1", "short-32", "bulk-8", "long-8")
MOST_PROCESSES = 8  # that onoma starts by itself
Step = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Choice:
    """Settings of onoma; the defaults are what it does by itself with the bundled student on one core."""

    processes: int = 1
    workers: int = 0
    threads: int = 1
    batch_tokens: int = 2048

    def settings(self) -> dict[str, str]:
        """Variables of the environment."""
        return {f"ONOMA_{name.upper()}": str(value) for name, value in asdict(self).items()}


def choices(part: str, cores: int) -> dict[str, Choice]:
    """The variants of a part by name, first what onoma does by itself.

    :param cores: that the servers have in the part of all cores; with one there is nothing to compare.
    """
    if part == ONE_CORE:
        sizes = {f"batch_tokens={tokens}": Choice(batch_tokens=tokens) for tokens in (256, 1024, 8192)}
        return {DEFAULT: Choice(), "workers=1": Choice(workers=1)} | sizes
    if cores < 2:
        return {}
    processes = min(cores, MOST_PROCESSES)
    alone = (Choice(), Choice(threads=cores), Choice(workers=1, threads=cores), Choice(workers=cores))
    named = {f"processes=1 workers={one.workers} threads={one.threads}": one for one in alone}
    return {DEFAULT: Choice(processes=processes, threads=cores // processes)} | named


def compare(
    part: str, variants: Mapping[str, Choice], options: argparse.Namespace, scenarios: Sequence[Scenario], step: Step
) -> list[Round]:
    """Interleaved rounds of onoma's variants.

    :raises ProcessError: if a server or a worker fails.
    """
    server_core, load_core = two_cores()
    # On all cores the load has no core to itself.
    cores, load_cores = ([server_core], [load_core]) if part == ONE_CORE else (own_cores(), own_cores())
    models = {"ONOMA_MODELS": str(options.models.resolve())}
    with ExitStack() as stack:
        servers = {}
        for name, choice in variants.items():
            log = options.logs / f"{part}-{name.replace(' ', '-')}.log"
            given = choice.settings() | models
            servers[name] = stack.enter_context(running_onoma(name, cores=cores, settings=given, log=log))
        for server in servers.values():
            server.wait_until_ready()
        check(servers)
        command = spread(load_cores, ["-m", "benchmarks.service.generator"])
        return measure(
            [replace(one, contenders=tuple(variants)) for one in scenarios],
            servers=servers,
            generator=stack.enter_context(running_worker(command, core=load_core)),
            tagger=None,
            rounds=options.rounds,
            seconds=options.seconds,
            warm_up=options.warm_up,
            step=step,
        )


def spin(options: argparse.Namespace, step: Step) -> list[Round]:
    """Interleaved rounds of the student's inference under several threads.

    :raises ProcessError: if a worker fails.
    """
    student = options.models / "student"
    return spinning.measure(
        student / MODEL_FILE,
        vocabulary=Tokenizer.from_file(str(student / TOKENIZER_FILE)).get_vocab_size(),
        cores=own_cores(),
        rounds=options.rounds,
        seconds=options.seconds,
        warm_up=options.warm_up,
        step=step,
    )


def run(options: argparse.Namespace, argv: Sequence[str]) -> dict[str, Any]:
    """Measure the parts asked for; for JSON.

    :raises ProcessError: if a server or a worker fails.
    :raises BundleError: if there is no bundle.
    """
    options.logs.mkdir(parents=True, exist_ok=True)
    server_core, load_core = two_cores()
    known = facts(
        "benchmarks.service.variants", argv, models=options.models, server_core=server_core, load_core=load_core
    )
    scenarios = [by_name(name) for name in options.scenarios]
    parts: dict[str, Any] = {}
    for part in options.parts:
        if part == SPINNING:
            with _progress(part, options.rounds * len(spinning.COMPANY) * len(spinning.SETUPS)) as step:
                parts[part] = {"rounds": spin(options, step)}
            continue
        variants = choices(part, len(own_cores()))
        with _progress(part, options.rounds * len(scenarios) * len(variants)) as step:
            rounds = compare(part, variants, options, scenarios, step) if variants else []
        parts[part] = {"rounds": rounds, "variants": {name: asdict(choice) for name, choice in variants.items()}}
    return known | {
        "all_cores": own_cores(),
        "seconds": options.seconds,
        "warm_up": options.warm_up,
        "about": {one.name: one.about for one in scenarios},
        "parts": parts,
    }


@contextmanager
def _progress(part: str, runs: int) -> Iterator[Step]:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    # No thread that draws while a run is measured.
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False) as progress:
        task = progress.add_task(part, total=runs)
        begun = iter(range(runs + 1))
        yield lambda text: progress.update(task, description=f"{part}: {text}", completed=next(begun), refresh=True)


def _some_of(known: Sequence[str]) -> Callable[[str], list[str]]:
    """Reads names between commas.

    :raises argparse.ArgumentTypeError: if one is unknown; names it.
    """

    def read(text: str) -> list[str]:
        given = names(text)
        unknown = [name for name in given if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(known)}")
        return given

    return read


def parser() -> argparse.ArgumentParser:
    """The options."""
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.service.variants", description=(__doc__ or "").partition("\n")[0]
    )
    options.add_argument("--parts", type=_some_of(PARTS), default=list(PARTS), help=f"only these: {','.join(PARTS)}")
    options.add_argument(
        "--scenarios", type=_some_of(SCENARIOS), default=list(SCENARIOS), help=f"only these: {','.join(SCENARIOS)}"
    )
    options.add_argument("--rounds", type=int, default=5, help="%(default)s")
    options.add_argument("--seconds", type=float, default=3.0, help="of each run, %(default)s")
    options.add_argument("--warm-up", type=float, default=0.5, help="seconds before each run, %(default)s")
    options.add_argument("--models", type=Path, default=ROOT / "models", help="folder with the bundle `student`")
    out = ROOT / "out" / "bench-engine"
    options.add_argument("--logs", type=Path, default=out, help="folder of the servers' logs")
    add_outputs(options, out, "variants")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study, print and write the report; exit status 1 if a request failed or a server did not start."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse_args(argv)
    if options.rounds < 1 or options.seconds <= 0 or options.warm_up < 0:
        parser().error("--rounds must be at least 1, --seconds more than 0, --warm-up not negative")
    try:
        results = run(options, argv)
    except (ProcessError, BundleError) as error:
        print(f"benchmarks.service.variants: {error}", file=sys.stderr)
        return 1
    publish(document(results), results, json_path=options.json, markdown_path=options.markdown)
    return 1 if any(problems(part["rounds"]) for part in results["parts"].values()) else 0


if __name__ == "__main__":
    sys.exit(main())

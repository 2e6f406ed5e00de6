"""`python -m benchmarks.engine_memory`: memory and speed of a model whose shapes change, by onnxruntime's settings.

A service runs other shapes with every batch. One process for each setting, all on one core and alive at the same time;
they take turns, a hundred runs each, so that a slower minute of the machine counts for all of them.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from benchmarks.figures import add_outputs, machine, publish, ranged, summary
from benchmarks.memory_worker import NOW, VARIANTS
from benchmarks.service.facts import bullets, table
from benchmarks.service.pinned import ROOT, ProcessError, running_worker, two_cores
from benchmarks.service.rounds import turned
from onoma.bundle import TOKENIZER_FILE, read_manifest
from onoma.errors import BundleError

# What each variant is, for the report.
ABOUT = {
    NOW: "`onoma.model.OnnxModel`: an arena that grows by twice as much each time, no memory patterns",
    "patterns": "the same, and each shape's memory is planned ahead after its first run (onnxruntime's default)",
    "no arena": "the C library allocates (`enable_cpu_mem_arena = False`)",
    "arena as requested": "the arena grows by what is asked for (`kSameAsRequested`, an allocator of the environment)",
    "arena shrinks": "each run gives free regions of the arena back (`memory.enable_memory_arena_shrinkage`)",
}


def measure(folder: Path, *, runs: int, turn: int, batch_tokens: int) -> dict[str, Any]:
    """Memory and seconds of every variant; for JSON.

    :param turn: runs of one variant before the next has its turn.
    :raises ProcessError: if a process fails.
    :raises BundleError: if the bundle is missing, damaged, or of another version.
    """
    manifest = read_manifest(folder)
    vocabulary = Tokenizer.from_file(str(folder / TOKENIZER_FILE)).get_vocab_size()
    core, _ = two_cores()
    with ExitStack() as stack:
        workers = {
            variant: stack.enter_context(
                running_worker(
                    ["-m", "benchmarks.memory_worker", str(folder), variant, str(vocabulary), str(batch_tokens)],
                    core=core,
                )
            )
            for variant in VARIANTS
        }
        answers = {variant: [worker.ask(runs=0)] for variant, worker in workers.items()}
        for number in range(runs // turn):
            for variant in turned(VARIANTS, number):
                answers[variant].append(workers[variant].ask(runs=turn))
            print(f"{manifest.name}: {(number + 1) * turn} of {runs} runs", file=sys.stderr)
    return {
        "bundle": f"{manifest.name}, {manifest.architecture}",
        "variants": {variant: figures(own, answers[NOW]) for variant, own in answers.items()},
    }


def figures(answers: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the answers of one variant's process say, beside those of the process that does as onoma does.

    The first answer is from before the first turn. Memory is in MiB.
    """
    turns = answers[1:]
    speeds = [other["seconds"] / own["seconds"] for own, other in zip(turns, now[1:], strict=True)]
    return {
        "loaded": answers[0]["loaded"] - answers[0]["bare"],
        "resident": [one["resident"] - one["bare"] for one in answers],
        "microseconds_a_piece": summary([1e6 * one["seconds"] / one["pieces"] for one in turns]),
        "speed": summary(speeds) | {"turns": speeds},
    }


def document(results: Mapping[str, Any]) -> str:
    """The report in Markdown."""
    about, turn, runs = results["machine"], results["turn"], results["runs"]
    facts = {
        "command": results["command"],
        "date": about["date"],
        "machine": f"{about['processor']}, {about['cores']} cores, load {about['load']} before the run",
        "versions": about["versions"],
        "runs": f"{runs} in each process on one thread, of random shapes up to {results['batch_tokens']} word-pieces; "
        "before them one of the largest shape, as when the service warms up",
    }
    marks = [mark for mark in dict.fromkeys((0, 1, 5, runs // turn)) if mark <= runs // turn]
    head = ["setting", "loaded", *(f"after {mark * turn}" for mark in marks), "most", "µs a piece", "times the speed"]
    parts = ["# Memory of a model whose shapes change", bullets(facts)]
    for bundle in results["bundles"]:
        rows = []
        for variant, own in bundle["variants"].items():
            sizes = [own["loaded"], *(own["resident"][mark] for mark in marks), max(own["resident"])]
            times = [ranged(own["microseconds_a_piece"], 1), "1" if variant == NOW else ranged(own["speed"], 2)]
            rows.append([variant, *(f"{size:.0f}" for size in sizes), *times])
        parts += [f"## {bundle['bundle']}", table(head, 1, rows)]
    parts += [
        bullets(ABOUT),
        "Memory is RSS in MiB, without what the process had before it opened the model. Times are CPU time (on an idle "
        f"machine that is the time); medians of {runs // turn} turns of {turn} runs (least..greatest). Speeds are "
        f"compared with `{NOW}` within a turn, where all settings run the same shapes.",
    ]
    return "\n\n".join(parts) + "\n"


def parser() -> argparse.ArgumentParser:
    """The options."""
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.engine_memory", description=(__doc__ or "").partition("\n")[0]
    )
    bundles = [ROOT / "models" / name for name in ("student", "teacher")]
    options.add_argument("bundle", type=Path, nargs="*", default=bundles, help="models/student and models/teacher")
    options.add_argument("--runs", type=int, default=2000, help="of each setting, %(default)s")
    options.add_argument("--turn", type=int, default=100, help="runs of a setting's turn, %(default)s")
    options.add_argument("--batch-tokens", type=int, default=2048, help="of the largest shape, %(default)s")
    add_outputs(options, ROOT / "out" / "bench-engine", "memory")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write the report; exit status 1 if a bundle does not load or a process fails."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse_args(argv)
    if min(options.runs, options.turn, options.batch_tokens) < 1 or options.runs % options.turn:
        parser().error("--runs, --turn and --batch-tokens must be at least 1, and --runs a multiple of --turn")
    facts = {"command": shlex.join(["python", "-m", "benchmarks.engine_memory", *argv]), "machine": machine()}
    sizes = {"runs": options.runs, "turn": options.turn, "batch_tokens": options.batch_tokens}
    try:
        bundles = [measure(folder, **sizes) for folder in options.bundle]
    except (BundleError, ProcessError) as error:
        print(f"benchmarks.engine_memory: {error}", file=sys.stderr)
        return 1
    results = facts | sizes | {"bundles": bundles}
    publish(document(results), results, json_path=options.json, markdown_path=options.markdown)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m benchmarks.quantization`: int8 in several forms: size, speed, and whether answers depend on batch-mates.

Every form of a model has the weights of its bundle, so only arithmetic differs. The forms take turns with every shape,
so that a slower minute of the machine counts for all of them. How good each is on data sets is not measured here.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from benchmarks.batch_dependence import TOGETHER, Moved, Texts
from benchmarks.figures import add_outputs, machine, publish, ranged, summary
from benchmarks.quantized_graphs import Feeds, GraphError, Unpacked, dynamic, in_blocks, static, unpacked
from benchmarks.sentences import SCRIPTS, sentences
from benchmarks.service.facts import bullets, table
from benchmarks.service.pinned import ROOT
from benchmarks.service.rounds import turned
from benchmarks.sessions import Session, Setup
from export.integer_lstm import with_fixed_ranges, with_floats
from export.quantize import quantize_weights
from onoma.bundle import MODEL_FILE, Manifest
from onoma.errors import BundleError
from onoma.model import padded
from onoma.tagger import Tagger

Ints = NDArray[np.int64]
FP32, WEIGHTS, DYNAMIC, STATIC, BLOCKS = "fp32", "int8-weights", "int8-dynamic", "int8-static", "int8-blocks"
ABOUT = {
    FP32: "all weights as fp32 numbers",
    WEIGHTS: "stored as int8, computed as fp32",
    DYNAMIC: "as `onoma export --quantization int8-dynamic` makes it: int8 arithmetic, one scale for a whole tensor of "
    "activations, found in the run",
    STATIC: "int8 arithmetic, scales fixed beforehand: an LSTM as `onoma export --quantization int8-static` makes it; "
    "products as onnxruntime's `quantize_static` does (QDQ), by other sentences",
    BLOCKS: "int8 arithmetic (onnxruntime's MatMulNBits, accuracy level 4), scales of each row's own, found in the run",
}
NO_PRODUCTS = "all int8 weights that this model multiplies by are an LSTM's, and onnxruntime has no such LSTM"
SHAPES = ((1, 24), (8, 24), (32, 24), (8, 128))  # windows, word-pieces in each
STILL = 1e-3  # a score that moves by less has not changed
AS_FAST = 0.95  # of fp32's speed


def forms(model: onnx.ModelProto, manifest: Manifest, calibration: Sequence[Ints]) -> dict[str, onnx.ModelProto]:
    """The graphs of a model, by name; those that its operators allow.

    :param calibration: windows (T,) for the scales of int8-static.
    :raises GraphError: if the model does not have int8 weights.
    """
    floats = with_floats(model)
    stored = model if floats is model else quantize_weights(floats)[0]
    whole, weights = unpacked(stored, tables=True), unpacked(stored, tables=False)
    names = {entry.name for entry in model.graph.input}
    feeds = []
    for ids in calibration:
        row, mask, _ = padded([ids], manifest.tokenizer)
        given = {"input_ids": row, "attention_mask": mask, "token_type_ids": np.zeros_like(row)}
        feeds.append({name: value for name, value in given.items() if name in names})
    made = {
        FP32: whole.graph,
        WEIGHTS: stored,
        DYNAMIC: dynamic(weights, role=manifest.role),
        STATIC: model if floats is not model else _fixed(whole, weights, feeds),
        BLOCKS: in_blocks(weights),
    }
    return {name: graph for name, graph in made.items() if graph is not None}


def _fixed(whole: Unpacked, weights: Unpacked, feeds: Sequence[Feeds]) -> onnx.ModelProto | None:
    if any(node.op_type == "LSTM" for node in whole.graph.graph.node):
        return with_fixed_ranges(whole.graph)[0]
    return static(weights, feeds)


def timed(
    sessions: Mapping[str, Session], *, vocabulary: int, rounds: int, least: float
) -> dict[str, dict[str, list[float]]]:
    """Microseconds of CPU time a word-piece by shape and form, one figure a round.

    :param least: seconds of it that each form runs in each round and shape.
    """
    rng = np.random.default_rng(0)
    taken: dict[str, dict[str, list[float]]] = {}
    for rows, length in SHAPES:
        own = taken[f"{rows}x{length}"] = {name: [] for name in sessions}
        mask = np.ones((rows, length), dtype=np.int64)
        for number in range(rounds):
            ids = rng.integers(vocabulary, size=(rows, length))
            for name in turned(list(sessions), number):
                own[name].append(1e6 * _seconds(sessions[name], ids, mask, least) / ids.size)
    return taken


def _seconds(session: Session, ids: Ints, mask: Ints, least: float) -> float:
    """Mean seconds of CPU time of a run, after one that does not count."""
    session.run(ids, mask)
    runs, began = 0, time.process_time()
    while (spent := time.process_time() - began) < least or not runs:
        session.run(ids, mask)
        runs += 1
    return spent / runs


def study(folder: Path, *, each: int, draws: int, rounds: int, least: float) -> dict[str, Any]:
    """Size, speed and dependence on the batch of every form of a bundle's model; for JSON.

    :param each: sentences of each script.
    :param draws: of random batches.
    :raises BundleError: if the bundle is missing, damaged, or of another version.
    :raises GraphError: if it does not have int8 weights.
    """
    tagger = Tagger.load(folder, threads=1)
    manifest = tagger.manifest
    assert manifest is not None
    calibration = Texts(tagger, sentences(max(1, each // 4), seed=1)).inputs
    graphs = forms(onnx.load(str(folder / MODEL_FILE)), manifest, calibration)
    contents = {name: graph.SerializeToString() for name, graph in graphs.items()}
    sessions = {name: Session(content, Setup()) for name, content in contents.items()}
    texts = Texts(tagger, sentences(each))
    times = timed(sessions, vocabulary=int(max(map(np.max, texts.inputs))) + 1, rounds=rounds, least=least)
    alone = {name: texts.alone(session) for name, session in sessions.items()}
    found = {}
    for name, session in sessions.items():
        print(f"{manifest.name}: {name}", file=sys.stderr)
        found[name] = {
            "bytes": len(contents[name]),
            "in_batches": _record(texts.in_batches(session, alone[name], draws=draws)),
            "padded": _record(texts.padded(session, alone[name])),
            "beside_fp32": _record(alone[FP32].moved(alone[name])),
            "microseconds_a_piece": {shape: summary(own[name]) for shape, own in times.items()},
            "speed": {
                shape: summary([slow / fast for slow, fast in zip(own[FP32], own[name], strict=True)])
                for shape, own in times.items()
            },
        }
    entities = sum(len(one.entities) for one in alone[FP32].tagged)
    title = f"{manifest.name}, {manifest.architecture}"
    return {"bundle": title, "sentences": each * len(SCRIPTS), "entities": entities, "forms": found}


def _record(moved: Moved) -> dict[str, Any]:
    return {"changed": len(moved.changed), "score": moved.score, "logit": moved.logit}


def statements(bundles: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """What the study is to show, what was found, and whether that shows it."""
    rows = []
    for bundle in bundles:
        stored, arithmetic, of = bundle["forms"][WEIGHTS], bundle["forms"][DYNAMIC], bundle["sentences"]
        speed = summary([own["median"] for own in stored["speed"].values()])
        moved = max(arithmetic[how]["changed"] for how in ("in_batches", "padded"))
        for statement, shown, met in (
            *(_alike(name, bundle["forms"][name], of) for name in (WEIGHTS, STATIC) if name in bundle["forms"]),
            (
                f"{WEIGHTS} has at least {AS_FAST:g} of fp32's speed",
                f"{ranged(speed, 2)} over the shapes",
                speed["median"] >= AS_FAST,
            ),
            (
                f"with {DYNAMIC} an answer depends on what runs beside it",
                f"{moved} of {of} sentences change",
                moved > 0,
            ),
        ):
            rows.append([bundle["bundle"].partition(",")[0], statement, shown, "yes" if met else "no"])
    return rows


def _alike(name: str, form: Mapping[str, Any], of: int) -> tuple[str, str, bool]:
    company = [form["in_batches"], form["padded"]]
    changed, score = (max(one[what] for one in company) for what in ("changed", "score"))
    return (
        f"with {name} an answer depends on nothing but its text: no score moves by {STILL:g}",
        f"{changed} of {of} sentences change, a score by at most {score:.1e}",
        not changed and score < STILL,
    )


def document(results: Mapping[str, Any]) -> str:
    """The report in Markdown."""
    about, bundles = results["machine"], results["bundles"]
    facts = {
        "command": results["command"],
        "date": about["date"],
        "machine": f"{about['processor']}, {about['cores']} cores, load {about['load']} before the run",
        "versions": about["versions"],
        "speed": "one onnxruntime thread, CPU time (on an idle machine that is the time); medians of "
        f"{results['rounds']} interleaved rounds (least..greatest), compared with fp32 within a round",
        "sentences": f"{bundles[0]['sentences']} in {len(SCRIPTS)} scripts, in {results['draws']} draws of batches of "
        f"{TOGETHER}, and each padded to twice its length",
    }
    shown = table(["model", "statement", "found", "shown"], 4, statements(bundles))
    parts = ["# int8: size, speed, and company", bullets(facts), shown]
    parts += [_section(bundle) for bundle in bundles]
    notes = (
        "Changed: sentences whose entities are others than when each runs alone and without padding, in any of the "
        "draws; beside fp32: others than fp32's, both alone. Score: the greatest change of the score of an entity that "
        "is found both times."
    )
    return "\n\n".join([*parts, "## Forms", bullets(ABOUT), notes]) + "\n"


def _section(bundle: Mapping[str, Any]) -> str:
    shapes = [f"{rows}x{length}" for rows, length in SHAPES]
    times, speeds, company = [], [], []
    for name, own in bundle["forms"].items():
        cells = (ranged(own["microseconds_a_piece"][shape], 1) for shape in shapes)
        times.append([name, f"{own['bytes'] / 1e6:.1f}", *cells])
        if name != FP32:
            speeds.append([name, *(ranged(own["speed"][shape], 2) for shape in shapes)])
        pairs = [(own[how]["changed"], own[how]["score"]) for how in ("in_batches", "padded", "beside_fp32")]
        company.append([name, *(cell for changed, score in pairs for cell in (str(changed), f"{score:.1e}"))])
    absent = [f"`{name}` does not exist: {NO_PRODUCTS}." for name in ABOUT if name not in bundle["forms"]]
    ways = ("in batches", "padded", "beside fp32")
    moved = [f"{what} {way}" for way in ways for what in ("changed", "score")]
    counted = f"Of {bundle['sentences']} sentences with {bundle['entities']} entities in fp32:"
    return "\n\n".join(
        [
            f"## {bundle['bundle']}",
            "Microseconds a word-piece, for windows x word-pieces in each:",
            table(["form", "MB", *shapes], 1, times),
            "Times fp32's speed:",
            table(["form", *shapes], 1, speeds),
            counted,
            table(["form", *moved], 1, company),
            *absent,
        ]
    )


def parser() -> argparse.ArgumentParser:
    """The options."""
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.quantization", description=(__doc__ or "").partition("\n")[0]
    )
    bundles = [ROOT / "models" / name for name in ("student", "teacher")]
    options.add_argument("bundle", type=Path, nargs="*", default=bundles, help="models/student and models/teacher")
    options.add_argument("--sentences", type=int, default=25, help="of each script, %(default)s")
    options.add_argument("--draws", type=int, default=5, help="of random batches, %(default)s")
    options.add_argument("--rounds", type=int, default=15, help="%(default)s")
    options.add_argument("--seconds", type=float, default=0.2, help="of each form, shape and round, %(default)s")
    add_outputs(options, ROOT / "out" / "bench-engine", "quantization")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study, print and write the report; exit status 1 if a bundle does not load or has no int8 weights."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse_args(argv)
    if min(options.sentences, options.draws, options.rounds) < 1:
        parser().error("--sentences, --draws and --rounds must be at least 1")
    facts = {"command": shlex.join(["python", "-m", "benchmarks.quantization", *argv]), "machine": machine()}
    sizes = {"draws": options.draws, "rounds": options.rounds}
    bundles = []
    for folder in options.bundle:
        try:
            bundles.append(study(folder, each=options.sentences, least=options.seconds, **sizes))
        except (BundleError, GraphError) as error:
            print(f"benchmarks.quantization: {folder}: {error}", file=sys.stderr)
            return 1
    results = facts | sizes | {"bundles": bundles}
    publish(document(results), results, json_path=options.json, markdown_path=options.markdown)
    return 0


if __name__ == "__main__":
    sys.exit(main())

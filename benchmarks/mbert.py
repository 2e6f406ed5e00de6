"""`python -m benchmarks.mbert`: the speed and size of bundles beside a model of mBERT's shape, on one CPU.

The comparison of XtremeDistil (Mukherjee and Awadallah 2020, table 16), whose smallest published student is 35 times
smaller than mBERT, 51 times faster in batches of 32 and 16 times faster alone, on inputs of 32 pieces. The paper took
the 51 on a GPU; here all of it is one CPU, mBERT in torch fp32 and bundles in onnxruntime as onoma runs them.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from tokenizers import Tokenizer

from benchmarks import figures
from benchmarks.figures import publish, ranged, summary
from onoma.bundle import MODEL_FILE, TOKENIZER_FILE, read_manifest
from onoma.errors import BundleError
from onoma.model import OnnxModel, available_cores

Ints = NDArray[np.int64]
LENGTH = 32  # pieces, the paper's
SMALLER = 35  # the paper's ratio of parameters
FASTER = {32: 51, 1: 16}  # the paper's speed-up by batch size
BUSY = 0.5  # load from which figures are doubted


@dataclass(frozen=True, slots=True)
class Shape:
    """The shape of a BERT token classifier."""

    layers: int
    hidden: int
    heads: int
    intermediate: int
    vocabulary: int
    labels: int


MBERT = Shape(layers=12, hidden=768, heads=12, intermediate=3072, vocabulary=119_547, labels=7)


@dataclass(frozen=True, slots=True)
class Contender:
    """A model to time: `run` takes piece ids (B, T) int64, all under `vocabulary`, and returns nothing of interest."""

    name: str
    architecture: str
    parameters: int
    vocabulary: int
    run: Callable[[Ints], object]


def bert(shape: Shape) -> Contender:
    """A BERT token classifier in torch fp32 with random weights: they decide neither its time nor its size."""
    config = transformers.BertConfig(
        num_hidden_layers=shape.layers,
        hidden_size=shape.hidden,
        num_attention_heads=shape.heads,
        intermediate_size=shape.intermediate,
        vocab_size=shape.vocabulary,
        num_labels=shape.labels,
    )
    model = transformers.BertForTokenClassification(config).eval()

    def run(ids: Ints) -> object:
        pieces = torch.from_numpy(ids)
        with torch.inference_mode():
            return model(input_ids=pieces, attention_mask=torch.ones_like(pieces)).logits.numpy()

    parameters = sum(parameter.numel() for parameter in model.parameters())
    architecture = f"BERT {shape.layers}x{shape.hidden}, V={shape.vocabulary}, torch fp32"
    return Contender("mBERT's shape", architecture, parameters, shape.vocabulary, run)


def bundle(folder: Path, *, threads: int) -> Contender:
    """A bundle, run as onoma runs it; its prefix and suffix count among the T pieces.

    :raises BundleError: if the bundle is missing, damaged, or of another version.
    """
    manifest = read_manifest(folder)
    facts = manifest.tokenizer
    model = OnnxModel(folder / MODEL_FILE, facts=facts, threads=threads)

    def run(ids: Ints) -> object:
        return model.infer(list(ids[:, len(facts.prefix_ids) : ids.shape[1] - len(facts.suffix_ids)]))

    vocabulary = Tokenizer.from_file(str(folder / TOKENIZER_FILE)).get_vocab_size()
    architecture = f"{manifest.architecture}, onnxruntime {manifest.quantization.method}"
    return Contender(str(folder), architecture, manifest.parameters, vocabulary, run)


def seconds_a_pass(run: Callable[[Ints], object], ids: Ints, *, least: float) -> float:
    """Mean seconds of a pass: after one that does not count, passes for at least `least` seconds, one or more."""
    run(ids)
    passes, start = 0, time.perf_counter()
    while True:
        run(ids)
        passes += 1
        elapsed = time.perf_counter() - start
        if elapsed >= least:
            return elapsed / passes


def measure(
    contenders: Sequence[Contender], *, rounds: int, least: float, seed: int = 0
) -> list[dict[int, list[float]]]:
    """Milliseconds a pass: for each contender {batch size: one figure a round}, the contenders taking turns."""
    random = np.random.default_rng(seed)
    taken: list[dict[int, list[float]]] = [{batch: [] for batch in FASTER} for _ in contenders]
    for number in range(rounds):
        for batch in FASTER:
            for contender, own in zip(contenders, taken, strict=True):
                ids = random.integers(0, contender.vocabulary, (batch, LENGTH))
                own[batch].append(1000 * seconds_a_pass(contender.run, ids, least=least))
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return taken


def compare(
    folders: Sequence[Path], *, shape: Shape = MBERT, threads: int, rounds: int, least: float = 0.3
) -> dict[str, Any]:
    """Time bundles against a BERT of `shape`; every figure, for JSON.

    Speed-ups are taken round by round, so that a slower minute of the machine counts on both sides.

    :param threads: of torch and of onnxruntime.
    :param least: seconds that a model runs at least in each round and batch size.
    :raises BundleError: if a bundle is missing, damaged, or of another version.
    """
    torch.set_num_threads(threads)
    contenders = [*(bundle(folder, threads=threads) for folder in folders), bert(shape)]
    taken = measure(contenders, rounds=rounds, least=least)
    baseline, baseline_taken = contenders[-1], taken[-1]
    models = []
    for contender, own in zip(contenders, taken, strict=True):
        facts: dict[str, Any] = {
            "name": contender.name,
            "architecture": contender.architecture,
            "parameters": contender.parameters,
            "milliseconds": {f"batch {batch}": summary(values) | {"rounds": values} for batch, values in own.items()},
        }
        if contender is not baseline:
            ratios = {
                batch: summary([slow / fast for slow, fast in zip(baseline_taken[batch], own[batch], strict=True)])
                for batch in FASTER
            }
            smaller = baseline.parameters / contender.parameters
            facts["times_fewer_parameters"] = {"ratio": smaller, "paper": SMALLER, "reached": smaller >= SMALLER}
            facts["times_faster"] = {
                f"batch {batch}": ratio | {"paper": FASTER[batch], "reached": ratio["median"] >= FASTER[batch]}
                for batch, ratio in ratios.items()
            }
        models.append(facts)
    return {"shape": asdict(shape), "length": LENGTH, "threads": threads, "rounds": rounds, "models": models}


def machine() -> dict[str, Any]:
    """The facts of `figures.machine`, with the versions of what runs mBERT."""
    return figures.machine({"torch": torch.__version__, "transformers": transformers.__version__})


def _verdict(reached: bool, paper: int) -> str:
    return f"{'reaches' if reached else 'misses'} the paper's {paper}"


def document(results: Mapping[str, Any]) -> str:
    """The report in Markdown."""
    about = results["machine"]
    facts = {
        "command": results["command"],
        "machine": f"{about['processor']}, {about['cores']} cores, load {about['load']} before the run",
        "versions": about["versions"],
        "date": about["date"],
        "inputs": f"{results['length']} random pieces a row",
        "runs": f"every model on {results['threads']} threads; medians of {results['rounds']} interleaved rounds "
        "(least..greatest)",
    }
    parts = ["# Bundles beside mBERT", "\n".join(f"- {name}: {value}" for name, value in facts.items())]
    batches = [f"batch {batch}" for batch in FASTER]
    header = ["model", "architecture", "parameters", *(f"ms, {name}" for name in batches), "times fewer parameters"]
    rows = [[*header, *(f"times faster, {name}" for name in batches)]]
    rows.append(["---", "---", *("---:" for _ in rows[0][2:])])
    verdicts = []
    for model in results["models"]:
        row = [model["name"], model["architecture"], f"{model['parameters']:,}"]
        row += [ranged(model["milliseconds"][name], 2) for name in batches]
        if "times_faster" in model:
            smaller, faster = model["times_fewer_parameters"], model["times_faster"]
            row += [f"{smaller['ratio']:.1f}", *(ranged(faster[name], 1) for name in batches)]
            said = [f"{smaller['ratio']:.1f} times fewer parameters {_verdict(smaller['reached'], smaller['paper'])}"]
            for name in batches:
                verdict = _verdict(faster[name]["reached"], faster[name]["paper"])
                said.append(f"{faster[name]['median']:.1f} times faster at {name} {verdict}")
            verdicts.append(f"- {model['name']}: {'; '.join(said)}.")
        else:
            row += ["1"] * (1 + len(batches))
        rows.append(row)
    parts.append("\n".join(f"| {' | '.join(row)} |" for row in rows))
    parts.append("\n".join(verdicts))
    parts.append("The paper took its 51 on a GPU (P100), its 16 on a CPU. Only the models are timed, no tokenizer.")
    if about["load"] >= BUSY:
        parts.append(
            f"**Not to be trusted: the machine was busy, with a load of {about['load']}.** Threads that wait for each "
            "other lose far more to other processes than short runs do: mBERT looks many times slower than it is."
        )
    return "\n\n".join(parts) + "\n"


def parser() -> argparse.ArgumentParser:
    """The options."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.mbert", description=(__doc__ or "").partition("\n")[0])
    defaults = [Path("models/student"), Path("models/teacher")]
    options.add_argument("bundle", type=Path, nargs="*", default=defaults, help="models/student and models/teacher")
    options.add_argument("--threads", type=int, default=available_cores(), help="of every model (all cores)")
    options.add_argument("--rounds", type=int, default=5, help="%(default)s")
    options.add_argument("--json", type=Path, help="write all figures here as well")
    options.add_argument("--markdown", type=Path, help="write the report here as well")
    return options


def main(arguments: Sequence[str] | None = None, *, shape: Shape = MBERT) -> int:
    """Run the comparison, print and write the report; exit status 1 if a bundle does not load."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse_args(argv)
    if options.threads < 1 or options.rounds < 1:
        parser().error("--threads and --rounds must be at least 1")
    facts = {"command": shlex.join(["python", "-m", "benchmarks.mbert", *argv]), "machine": machine()}
    try:
        results = facts | compare(options.bundle, shape=shape, threads=options.threads, rounds=options.rounds)
    except BundleError as error:
        print(f"benchmarks.mbert: {error}", file=sys.stderr)
        return 1
    publish(document(results), results, json_path=options.json, markdown_path=options.markdown)
    return 0


if __name__ == "__main__":
    sys.exit(main())

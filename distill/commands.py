"""The command line that trains: train-teacher, distill."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.measuring_commands import DATA_NOTE
from onoma.cli import Command, names

if TYPE_CHECKING:  # commands import what needs torch when they run, so that --help stays quick
    from distill.mixture import Mixture
    from distill.recipe import Recipe
    from distill.training import Schedule

METRICS = "metrics.json"  # of the run whose student is exported
RUN_NOTE = (
    "Results are kept by the hash of all that went into them: run again, a recipe reuses what is there, makes anew\n"
    "exactly what a change touches, and goes on where it was interrupted.\n" + DATA_NOTE
)


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tokenizer", type=Path, required=True, help="tokenizer.json that train-tokenizer wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder of this run: checkpoints, logs, the result")
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"), help="packed data, logits (%(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (%(default)s); bf16 on a GPU")
    parser.add_argument("--seed", type=int, default=1, help="random seed (%(default)s)")
    parser.add_argument("--batch-tokens", type=int, default=4096, help="word-pieces in a batch (%(default)s)")
    parser.add_argument("--embedding-rate", type=float, default=1.0, help="times the rate (%(default)s)")
    parser.add_argument("--checkpoint-minutes", type=float, default=5.0, help="time between checkpoints (%(default)s)")
    parser.add_argument("--gold-limit", type=int, default=12_000, help="sentences of each gold source (%(default)s)")
    parser.add_argument("--gold-times", type=int, default=1, help="how often gold sources are repeated (%(default)s)")
    parser.add_argument("--massive-limit", type=int, default=1_500, help="lines of each MASSIVE locale (%(default)s)")
    parser.add_argument("--text-limit", type=int, default=12_000, help="unlabelled lines a language (%(default)s)")
    parser.add_argument(
        "--balance", type=int, default=4, help="most repeats of a WikiANN language under 10,000 sentences (%(default)s)"
    )
    parser.add_argument("--joined", type=names, default="ja,zh", help="WikiANN languages also as tokens (%(default)s)")
    parser.add_argument("--mentions", type=float, default=0.0, help="share whose entities are replaced (%(default)s)")
    parser.add_argument("--gazetteer", help="LABEL<TAB>name lines that join --mentions; see `onoma gazetteer`")
    parser.add_argument("--together", type=float, default=0.3, help="share put several in a row (%(default)s)")
    parser.add_argument("--wikiann-limit", type=int, default=None, help="WikiANN sentences of each language (all)")


def _teacher_arguments(parser: argparse.ArgumentParser) -> None:
    _common(parser)
    kinds = ["roformer", "bert", "modernbert"]
    parser.add_argument("--architecture", default="roformer", choices=kinds, help="kind of encoder (%(default)s)")
    parser.add_argument("--layers", type=int, default=3, help="%(default)s; 12 on a GPU")
    parser.add_argument("--hidden", type=int, default=256, help="%(default)s; 384 on a GPU")
    parser.add_argument("--heads", type=int, default=4, help="attention heads (%(default)s)")
    parser.add_argument("--intermediate", type=int, default=768, help="width of the feed-forward layer (%(default)s)")
    parser.add_argument("--embedding", type=int, default=None, help="width of embeddings (roformer; as --hidden)")
    parser.add_argument("--tokens", type=float, default=40e6, help="word-pieces of fine-tuning (%(default)g)")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="peak (%(default)s)")
    parser.add_argument("--pretrain-tokens", type=float, default=0, help="word-pieces of masked pretraining first")
    parser.add_argument("--vector-epochs", type=int, default=3, help="epochs of piece vectors before (%(default)s)")
    parser.add_argument("--body", type=Path, help="pretrained encoder to start from, with a new vocabulary")
    parser.add_argument("--start", type=Path, help="checkpoint of the same shape to go on from")
    parser.add_argument("--tutor", type=Path, help="trained student whose answers join the labels")
    parser.add_argument("--tutor-weight", type=float, default=0.5, help="of its answers, 0..1 (%(default)s)")
    parser.add_argument("--evaluate-every", type=float, default=5e6, help="pieces between dev scores (%(default)g)")


def _mixture(arguments: argparse.Namespace) -> Mixture:
    from distill.mixture import Mixture

    return Mixture(
        wikiann=arguments.wikiann_limit,
        gold=arguments.gold_limit,
        gold_times=arguments.gold_times,
        massive=arguments.massive_limit,
        text=arguments.text_limit,
        balance=arguments.balance,
        joined=tuple(arguments.joined),
        mentions=arguments.mentions,
        gazetteer=arguments.gazetteer,
        together=arguments.together,
    )


def _schedule(arguments: argparse.Namespace, tokens: float, learning_rate: float) -> Schedule:
    from distill.training import Schedule

    return Schedule(
        tokens=int(tokens),
        batch_tokens=arguments.batch_tokens,
        learning_rate=learning_rate,
        seed=arguments.seed,
        embedding_rate=arguments.embedding_rate,
    )


def _run_teacher(arguments: argparse.Namespace) -> int:
    from distill.pipeline import run_teacher
    from distill.teachers import TeacherConfig

    pretraining = None
    if arguments.pretrain_tokens:
        pretraining = _schedule(arguments, arguments.pretrain_tokens, arguments.learning_rate)
    run_teacher(
        tokenizer_path=arguments.tokenizer,
        out=arguments.out,
        cache=arguments.cache,
        shape=TeacherConfig(
            architecture=arguments.architecture,
            layers=arguments.layers,
            hidden=arguments.hidden,
            heads=arguments.heads,
            intermediate=arguments.intermediate,
            embedding=arguments.embedding,
        ),
        schedule=_schedule(arguments, arguments.tokens, arguments.learning_rate),
        pretraining=pretraining,
        mixture=_mixture(arguments),
        vector_epochs=arguments.vector_epochs,
        body=arguments.body,
        start=arguments.start,
        tutor=arguments.tutor,
        tutor_weight=arguments.tutor_weight,
        device_name=arguments.device,
        checkpoint_minutes=arguments.checkpoint_minutes,
        evaluate_every=int(arguments.evaluate_every),
    )
    return 0


def _distill_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="run|report", help="what to do")
    run = verbs.add_parser("run", help="run a recipe: every stage, variant and seed", description=RUN_NOTE)
    run.add_argument("recipe", type=Path, help="recipe to run (TOML; keys: docs/distilling.md)")
    run.add_argument("--out", type=Path, help="folder of the results (runs/NAME of the recipe)")
    run.add_argument("--store", type=Path, default=Path("runs/artefacts"), help="artefacts (%(default)s)")
    run.add_argument("--cache", type=Path, default=Path("runs/cache"), help="data, teacher's answers (%(default)s)")
    run.add_argument("--jobs", type=int, default=1, help="variants at once, each with its share of cores (%(default)s)")
    run.add_argument("--only", type=names, default="", help="these variants only (with commas)")
    run.add_argument("--device", default="auto", help="auto, cpu or cuda (%(default)s); bf16 on a GPU")
    run.add_argument("--engine", choices=["local", "ray"], help="who runs the teacher (as the recipe says)")
    report = verbs.add_parser("report", help="Markdown and plots of a run", description="Write report.md and plots.")
    report.add_argument("run_folder", type=Path, metavar="RUN", help="folder of the results, as `run --out` named it")
    report.add_argument("--out", type=Path, help="folder for report.md and its plots (the run's own)")


def _run_distill(arguments: argparse.Namespace) -> int:
    if arguments.verb == "report":
        from distill.sentences.report import is_sentence_run, write_sentence_report
        from distill.study_report import write_report

        write = write_sentence_report if is_sentence_run(arguments.run_folder) else write_report
        print(write(arguments.run_folder, arguments.out or arguments.run_folder))
        return 0
    from distill.recipe import load_recipe
    from distill.sentences.recipe import is_sentence_recipe
    from distill.store import first_process
    from distill.studies import Place, best_run, run_recipe

    if is_sentence_recipe(arguments.recipe):
        return _run_sentences(arguments)
    recipe = load_recipe(arguments.recipe)
    out = arguments.out or Path("runs") / recipe.name
    place = Place(arguments.store, arguments.cache, arguments.device, arguments.engine)
    results = run_recipe(arguments.recipe, out=out, place=place, jobs=arguments.jobs, only=arguments.only)
    if not first_process()[0]:
        return 0
    for run in results["runs"]:
        whole = {part: run[part]["all"]["macro_f1"] for part in ("dev", "test", "gold", "zero_shot") if part in run}
        print(f"{run['variant']}, seed {run['seed']}: {whole}, {run['parameters']:,} parameters")
    if recipe.bundle is not None:
        return _bundle(recipe, best_run(results), store=arguments.store, out=out)
    return 0


def _run_sentences(arguments: argparse.Namespace) -> int:
    from distill.sentences.recipe import load_sentence_recipe
    from distill.sentences.runs import run_sentence_recipe
    from distill.store import first_process
    from distill.studies import Place

    if arguments.jobs > 1:
        raise ValueError(f"--jobs must be 1 for a sentence encoder, got {arguments.jobs}")
    out = arguments.out or Path("runs") / load_sentence_recipe(arguments.recipe).name
    place = Place(arguments.store, arguments.cache, arguments.device)
    results = run_sentence_recipe(arguments.recipe, out=out, place=place, only=arguments.only)
    if first_process()[0]:
        for run in results["runs"]:
            dev, size = run["dev"], run["parameters"]["student"]
            print(f"{run['variant']}, seed {run['seed']}: dev {dev['score']}, {size:,} parameters, {run['student']}")
    return 0


def _bundle(recipe: Recipe, run: dict[str, Any], *, store: Path, out: Path) -> int:
    """Export the run's student with its scores as the recipe asks, by the command that is there for it."""
    from distill.files import write_json
    from distill.students import TRAINING_FILE
    from distill.studies import metrics_of_run
    from onoma.cli import main

    bundle, student, metrics = recipe.bundle, store / run["student"], out / METRICS
    assert bundle is not None
    variant = next((variant for variant in recipe.variants if variant.name == run["variant"]), None)
    own = recipe.resolved(variant)
    write_json(metrics, metrics_of_run(run, own))
    words = ["export", "student", str(student), "--out", bundle.path, "--name", bundle.name]
    words += ["--languages", ",".join(own.labels.languages or own.languages)]
    words += ["--training-json", str(student / TRAINING_FILE), "--metrics-json", str(metrics)]
    words += ["--quantization", bundle.quantization]
    words += ["--licence", bundle.licence] if bundle.licence else []
    words += ["--max-bytes", str(bundle.max_bytes)] if bundle.max_bytes is not None else []
    return main(words)


train_teacher = Command(
    name="train-teacher",
    help="train a Transformer token classifier (Hugging Face checkpoint)",
    description="Piece vectors, masked-language pretraining (optional), then fine-tuning on WikiANN-45 and gold data.\n"
    "Interrupt it at will: the same command goes on from its last checkpoint.\n" + DATA_NOTE,
    add_arguments=_teacher_arguments,
    run=_run_teacher,
)
distill = Command(
    name="distill",
    help="distil students from a teacher by a recipe, and report what every stage gave",
    description="XtremeDistil by recipe: `onoma distill run RECIPE`, then `onoma distill report RUN`.\n" + RUN_NOTE,
    add_arguments=_distill_arguments,
    run=_run_distill,
)

"""`onoma export`: from a checkpoint to a bundle."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any, get_args

from export.encoder_commands import add_encoder, run_encoder
from onoma.bundle import EncoderManifest, Pieces, read_any_manifest
from onoma.cli import Command, names
from onoma.labels import PREFIXES

_METHODS = ("int8-weights", "int8-static", "int8-dynamic", "fp32")
_DESCRIPTION = """\
Turn a checkpoint into a bundle: ONNX, int8, checked, with a model card.

  onoma export student out/student --out models/student --languages en,de,ar --licence CC-BY-SA-4.0 --max-bytes 8000000
  onoma export hf out/teacher --out models/teacher --max-bytes 32000000
  onoma export hf dslim/bert-base-NER --out models/bert --languages en --licence MIT
  onoma export hf out/checkpoint --labels O,B-PER,I-PER --out models/names
  onoma export encoder out/encoder --out models/encoder --licence CC-BY-SA-4.0 --max-bytes 12000000
  onoma export update models/student --metrics-json metrics.json --calibration-json calibration.json
  onoma export restore models/student --out out/student
  onoma export latency runs/students --store runs/artefacts

The fp32 graph must equal torch to 0.001 in every logit, and the quantized one must keep the tags, on sentences in
several scripts (--parity-file for your own). The bundle is written beside --out and takes its place only when all
checks pass: an interrupted or refused export leaves the old bundle as it was. Of a sentence encoder, int8 may lose at
most half a point of Spearman on STS-B dev, read from ONOMA_DATA (--no-check without it). Needs the extra `export`.
"""
_QUANTIZATION = """\
how weights are stored and computed. int8-weights: stored in 8 bits, computed in fp32; answers do not depend on what
else is in a batch. int8-static: computed in 8 bits too, in ranges fixed beforehand; twice as fast, answers depend on
the text alone; for students of kind bilstm. int8-dynamic: in 8 bits, in ranges found in each run, so that the logits of
a text move with its batch-mates. fp32: four times the size. (default: %(default)s)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `onoma export`."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    student = kinds.add_parser("student", help="a student that `onoma distill` trained")
    student.add_argument(
        "source", metavar="FOLDER", help="folder with student.json, model.safetensors and tokenizer.json"
    )
    hf = kinds.add_parser("hf", help="any Hugging Face token classifier with a fast tokenizer: see docs/any-model.md")
    hf.add_argument("source", metavar="PATH_OR_NAME", help="checkpoint folder, or name on the Hugging Face hub")
    hf.add_argument("--role", choices=("teacher", "student"), default="teacher", help="default: %(default)s")
    hf.add_argument(
        "--labels", type=names, metavar="A,B", help="names of the model's columns, in order (default: its config's)"
    )
    hf.add_argument("--scheme", choices=tuple(PREFIXES), help="what the labels mean (default: told from their names)")
    hf.add_argument(
        "--pieces",
        choices=get_args(Pieces),
        help="which of a word's pieces have a say in its tag: those that had labels in training (default: the first, "
        "unless the checkpoint's config has label_all_tokens)",
    )
    for sub in (student, hf):
        sub.add_argument("--out", type=Path, required=True, help="the bundle's folder; an old bundle there is replaced")
        sub.add_argument("--quantization", choices=_METHODS, default=_METHODS[0], help=_QUANTIZATION)
        sub.add_argument("--name", help="name in answers and metrics (default: the folder's name)")
        sub.add_argument("--languages", type=names, default="", help="language codes with commas, such as en,de,zh")
        sub.add_argument("--licence", default="not stated", help="licence of the weights (default: %(default)s)")
        sub.add_argument(
            "--max-length",
            type=int,
            default=256,
            help="most pieces in a window, cut down to what the model takes (default: %(default)s)",
        )
        sub.add_argument(
            "--overlap", type=int, default=48, help="pieces neighbouring windows share (default: %(default)s)"
        )
        sub.add_argument("--max-bytes", type=int, help="refuse a bundle larger than this, all files together")
        sub.add_argument("--parity-file", type=Path, help="sentences to check on, one a line (default: 14 built in)")
        sub.add_argument(
            "--min-agreement",
            type=float,
            default=0.97,
            help="least share of tags that int8 must keep (default: %(default)s)",
        )
    encoder = add_encoder(kinds)
    update = kinds.add_parser("update", help="put metrics, calibration or training facts into a finished bundle")
    update.add_argument("source", metavar="BUNDLE", type=Path, help="the bundle's folder")
    restore = kinds.add_parser("restore", help="the way back: a checkpoint of a bundle, to go on training from")
    restore.add_argument("source", metavar="BUNDLE", type=Path, help="the bundle's folder")
    restore.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    latency = kinds.add_parser("latency", help="time every student of a distillation run, for its report")
    latency.add_argument("source", metavar="RUN", type=Path, help="folder of the results of `onoma distill run`")
    latency.add_argument("--store", type=Path, default=Path("runs/artefacts"), help="its artefacts (%(default)s)")
    latency.add_argument("--threads", type=int, default=1, help="onnxruntime threads (%(default)s)")
    for sub in (student, hf, encoder, update):
        sub.add_argument("--training-json", type=Path, help="recipe, data and seed, for the manifest and the card")
        sub.add_argument("--metrics-json", type=Path, help="what `onoma evaluate` or `evaluate-encoder` measured")
    for sub in (student, hf, update):
        sub.add_argument("--calibration-json", type=Path, help="temperature, confidence points and fallback threshold")


def run(arguments: argparse.Namespace) -> int:
    """Run `onoma export`."""
    if arguments.kind == "restore":
        from export.restore import restore

        restore(arguments.source, arguments.out)
        print(f"{arguments.out}: a checkpoint of {arguments.source}")
        return 0
    if arguments.kind == "latency":
        from export.latency import measure_run

        for name, sizes in measure_run(arguments.source, arguments.store, threads=arguments.threads).items():
            print(name, {size: round(milliseconds, 2) for size, milliseconds in sizes.items()})
        return 0
    if arguments.kind == "encoder":
        run_encoder(arguments, **_read_facts(arguments, "training", "metrics"))
        return 0
    if arguments.kind == "update" and isinstance(read_any_manifest(arguments.source), EncoderManifest):
        return _update_encoder(arguments)
    from export.bundle import export_student, export_teacher, update_manifest
    from export.check import PARITY_TEXTS, begun_inside, folder_bytes
    from onoma.bundle import Calibration
    from onoma.tagger import Tagger

    facts = _read_facts(arguments, "training", "metrics", "calibration")
    if facts["calibration"] is not None:
        facts["calibration"] = Calibration.model_validate(facts["calibration"])
    if arguments.kind == "update":
        manifest = update_manifest(arguments.source, **facts)
        out = arguments.source
    else:
        facts["training"] = {**(facts["training"] or {}), "export_command": shlex.join(["onoma", *sys.argv[1:]])}
        texts: tuple[str, ...] = PARITY_TEXTS
        if arguments.parity_file is not None:
            texts = tuple(
                line for line in arguments.parity_file.read_text(encoding="utf-8").splitlines() if line.strip()
            )
        options: dict[str, Any] = {
            "quantization": arguments.quantization,
            "name": arguments.name,
            "languages": arguments.languages,
            "licence": arguments.licence,
            "max_length": arguments.max_length,
            "overlap": arguments.overlap,
            "texts_for_parity": texts,
            "min_agreement": arguments.min_agreement,
            "max_bytes": arguments.max_bytes,
            **facts,
        }
        out = arguments.out
        if arguments.kind == "student":
            manifest = export_student(arguments.source, out, **options)
        else:
            meaning = {key: getattr(arguments, key) for key in ("labels", "scheme", "pieces")}
            manifest = export_teacher(arguments.source, out, role=arguments.role, **meaning, **options)
            if arguments.scheme is None and manifest.scheme == "iob2":
                inside, every = begun_inside(Tagger.load(out), texts)
                if inside > every / 2:
                    print(
                        f"note: the model begins {inside} of {every} entities with I-, as in IOB1: "
                        "if it was trained so, export it again with --scheme iob1"
                    )
    parity = manifest.quantization.details.get("parity_with_torch", {})
    print(
        f"{out}: {manifest.role} {manifest.name!r}, {manifest.quantization.method}, {folder_bytes(out):,} bytes, "
        f"{parity.get('agreement', float('nan')):.2%} of tags as in torch"
    )
    return 0


def _update_encoder(arguments: argparse.Namespace) -> int:
    from export.check import folder_bytes
    from export.encoder import update_encoder

    if arguments.calibration_json is not None:
        raise ValueError(f"{arguments.source} is a sentence encoder: it has no calibration for --calibration-json")
    manifest = update_encoder(arguments.source, **_read_facts(arguments, "training", "metrics"))
    print(f"{arguments.source}: encoder {manifest.name!r}, {folder_bytes(arguments.source):,} bytes")
    return 0


def _read_facts(arguments: argparse.Namespace, *keys: str) -> dict[str, Any]:
    """What stands in the files of --KEY-json, by key; None where none is given."""
    paths = {key: getattr(arguments, f"{key}_json") for key in keys}
    return {key: None if path is None else _read_json(path) for key, path in paths.items()}


def _read_json(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a JSON object")
    return content


export = Command(
    name="export",
    help="turn a checkpoint into an int8 bundle",
    description=_DESCRIPTION,
    add_arguments=add_arguments,
    run=run,
)

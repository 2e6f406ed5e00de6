"""`onoma export encoder`: from a sentence encoder's checkpoint to a bundle."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from onoma.cli import names

METHODS = ("int8-rows", "int4-tables", "int8-weights", "fp32")
_QUANTIZATION = """\
how weights are stored and computed. int8-rows: in 8 bits, each word-piece's activations in a scale of their own.
int4-tables: the same, and the table of embeddings in 4 bits. int8-weights: stored in 8 bits, computed in fp32: as good
as fp32, and as slow. fp32: four times the size. A text's vector never depends on what else is in a batch. (default:
%(default)s)
"""


def add_encoder(kinds: Any) -> argparse.ArgumentParser:
    """The parser of `onoma export encoder`, added to the other kinds."""
    parser: argparse.ArgumentParser = kinds.add_parser(
        "encoder", help="a sentence encoder that `onoma distill` trained, or any sentence-transformers checkpoint"
    )
    parser.add_argument("source", metavar="FOLDER", help="the checkpoint's folder")
    parser.add_argument("--out", type=Path, required=True, help="the bundle's folder; an old bundle there is replaced")
    parser.add_argument("--quantization", choices=METHODS, default=METHODS[0], help=_QUANTIZATION)
    parser.add_argument("--name", help="name in answers and metrics (default: the folder's name)")
    parser.add_argument("--languages", type=names, default="", help="with commas (default: what training.json states)")
    parser.add_argument("--licence", default="not stated", help="licence of the weights (default: %(default)s)")
    parser.add_argument(
        "--max-length",
        type=int,
        default=256,
        help="most pieces in a window, cut down to what the model takes (default: %(default)s)",
    )
    parser.add_argument(
        "--overlap", type=int, default=48, help="pieces neighbouring windows share (default: %(default)s)"
    )
    parser.add_argument("--max-bytes", type=int, help="refuse a bundle larger than this, all files together")
    parser.add_argument(
        "--max-loss",
        type=float,
        default=0.5,
        help="most points of Spearman on STS-B dev that int8 may lose (default: %(default)s)",
    )
    parser.add_argument(
        "--min-cosine",
        type=float,
        default=0.98,
        help="least mean cosine of int8's and fp32's vectors (default: %(default)s)",
    )
    parser.add_argument(
        "--no-check", action="store_true", help="without STS-B: compare only the vectors of 14 built-in sentences"
    )
    return parser


def run_encoder(
    arguments: argparse.Namespace, *, training: dict[str, Any] | None, metrics: dict[str, Any] | None
) -> None:
    """Run `onoma export encoder`; the facts come from --training-json and --metrics-json."""
    from export.check import folder_bytes
    from export.encoder import export_encoder
    from export.encoder_check import QualityLimits

    manifest = export_encoder(
        arguments.source,
        arguments.out,
        quantization=arguments.quantization,
        name=arguments.name,
        languages=arguments.languages,
        licence=arguments.licence,
        training={**(training or {}), "export_command": shlex.join(["onoma", *sys.argv[1:]])},
        metrics=metrics,
        max_length=arguments.max_length,
        overlap=arguments.overlap,
        limits=QualityLimits(loss=arguments.max_loss, cosine=arguments.min_cosine),
        check=not arguments.no_check,
        max_bytes=arguments.max_bytes,
    )
    details = manifest.quantization.details
    print(
        f"{arguments.out}: encoder {manifest.name!r}, {manifest.quantization.method}, "
        f"{folder_bytes(arguments.out):,} bytes, cosine with torch {details['parity_with_torch']['cosine']:.4f}"
    )
    for key, title in (("languages", "within languages"), ("with_english", "across languages, with English")):
        if (scores := details.get("quality", {}).get(key)) is not None:
            print(f"STS-B dev {title}: fp32 {scores['fp32']:.2f}, int8 {scores['int8']:.2f}")

"""`onoma evaluate-encoder`: how good, how large and how fast sentence encoders are."""

from __future__ import annotations

import argparse
from pathlib import Path

from distill.sentences.splits import STS_LANGUAGES
from onoma.cli import Command, names

_DESCRIPTION = """\
Spearman's rank correlation with people's scores on STS-B: within each of 11 languages, across each two of them (one
sentence in each), and with English. Accuracy of finding a sentence's translation among the lines of Tatoeba that no
training sees, both ways. Parameters, size on disk, and how long one text and a batch of 32 take on this machine.

  onoma evaluate-encoder models/encoder
  onoma evaluate-encoder models/encoder runs/assistant --split dev --limit 300

Several encoders stand side by side and are timed in turns. A model that knows one language alone, such as an English
teacher, shows what it is worth in the others. Data is read from ONOMA_DATA, or ../shared/data beside the checkout.
"""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "encoder",
        type=Path,
        nargs="+",
        help="folders: a bundle, a checkpoint of `onoma distill run`, or a sentence-transformers checkpoint",
    )
    parser.add_argument("--split", default="test", choices=["dev", "test"], help="of both data sets (%(default)s)")
    parser.add_argument("--languages", type=names, default="", help="of STS-B, with commas (default: all 11)")
    parser.add_argument("--tatoeba", type=names, default="", help="languages of Tatoeba, with commas (default: all)")
    parser.add_argument("--limit", type=int, default=None, help="so many rows and lines of each language, spread out")
    parser.add_argument("--json", type=Path, help="write all figures here as well")
    parser.add_argument("--metrics", type=Path, help="folder for NAME.json of each, for `onoma export update`")
    parser.add_argument("--threads", type=int, default=None, help="threads of one run (all cores)")


def _run(arguments: argparse.Namespace) -> int:
    from distill.files import write_json
    from distill.sentences.measuring import measure, metrics_of

    languages = arguments.languages or list(STS_LANGUAGES)
    if unknown := [name for name in languages if name not in STS_LANGUAGES]:
        raise ValueError(f"STS-B has {', '.join(STS_LANGUAGES)}, not {', '.join(unknown)}")
    if arguments.limit is not None and arguments.limit < 2:
        raise ValueError(f"--limit must be at least 2, got {arguments.limit}")
    if arguments.metrics is not None and len({folder.name for folder in arguments.encoder}) < len(arguments.encoder):
        raise ValueError(f"--metrics needs folders of different names, got {', '.join(map(str, arguments.encoder))}")
    results = measure(
        arguments.encoder,
        split=arguments.split,
        languages=languages,
        tatoeba=arguments.tatoeba,
        limit=arguments.limit,
        threads=arguments.threads,
    )
    if arguments.json is not None:
        write_json(arguments.json, results)
    if arguments.metrics is not None:
        for folder in arguments.encoder:
            write_json(arguments.metrics / f"{folder.name}.json", metrics_of(results, folder))
    return 0


evaluate_encoder = Command(
    name="evaluate-encoder",
    help="similarity across languages, retrieval, size and latency of sentence encoders",
    description=_DESCRIPTION,
    add_arguments=_add_arguments,
    run=_run,
)

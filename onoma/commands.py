"""The `tag` command: lines of text in, one JSON object per line out."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, get_args

from onoma.cli import Command, names
from onoma.errors import LabelError, TextError
from onoma.tagger import Tagged, Tagger, check_text
from onoma.text import OffsetUnit, convert_offsets

BATCH_LINES = 256
BATCH_CHARACTERS = 200_000


@dataclass(frozen=True, slots=True)
class Line:
    """One line of input, without its line break; `where` is file and line number, for messages."""

    where: str
    text: str


def read_lines(paths: Sequence[str], stdin: BinaryIO) -> Iterator[Line]:
    """Lines of the files in order; `-` is standard input. Only line feeds end a line, so offsets stay exact.

    :raises FileNotFoundError: if a file is missing, before any line is read.
    :raises TextError: if a line is not UTF-8 or holds a NUL; names file and line.
    """
    for path in paths:
        if path != "-" and not Path(path).is_file():
            raise FileNotFoundError(f"{path}: no such file")
    for path in paths:
        name = "stdin" if path == "-" else path
        source: AbstractContextManager[BinaryIO] = nullcontext(stdin) if path == "-" else Path(path).open("rb")
        with source as file:
            for number, raw in enumerate(file, start=1):
                where = f"{name}:{number}"
                try:
                    text = raw.decode("utf-8")
                except UnicodeDecodeError as error:
                    found = f"0x{raw[error.start]:02x} at byte {error.start}"
                    raise TextError(f"{where}: the line is not UTF-8: {found}") from error
                text = text.removesuffix("\n").removesuffix("\r")
                check_text(text, field=f"{where}: the line")
                yield Line(where, text)


def batches(lines: Iterable[Line], *, most_lines: int, most_characters: int) -> Iterator[list[Line]]:
    """Lines in groups of bounded size, so that memory does not grow with the input."""
    batch: list[Line] = []
    characters = 0
    for line in lines:
        batch.append(line)
        characters += len(line.text)
        if len(batch) >= most_lines or characters >= most_characters:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def result_of(
    text: str, tagged: Tagged, *, unit: OffsetUnit, labels: frozenset[str] | None, min_score: float, with_text: bool
) -> dict[str, Any]:
    """One output line: the entities that pass the filters, their offsets in `unit`."""
    kept = [
        entity for entity in tagged.entities if entity.score >= min_score and (labels is None or entity.label in labels)
    ]
    starts = convert_offsets(text, [entity.start for entity in kept], unit)
    ends = convert_offsets(text, [entity.end for entity in kept], unit)
    result: dict[str, Any] = {"text": text} if with_text else {}
    result["entities"] = [
        {
            "start": start,
            "end": end,
            "label": entity.label,
            "text": text[entity.start : entity.end],
            "score": round(entity.score, 4),
        }
        for entity, start, end in zip(kept, starts, ends, strict=True)
    ]
    result["confidence"] = round(tagged.confidence, 4)
    return result


def _label_filter(wanted: Sequence[str] | None, tagger: Tagger) -> frozenset[str] | None:
    if wanted is None:
        return None
    for label in wanted:
        if label not in tagger.labels.types:
            raise LabelError(f"--labels: the model has no label {label!r}, only {', '.join(tagger.labels.types)}")
    return frozenset(wanted)


def _run(arguments: argparse.Namespace) -> int:
    if not 0 <= arguments.min_score <= 1:
        raise ValueError(f"--min-score must be in 0..1, got {arguments.min_score}")
    tagger = Tagger.load(arguments.model, threads=arguments.threads)
    labels = _label_filter(arguments.labels, tagger)
    lines = read_lines(arguments.files or ["-"], sys.stdin.buffer)
    # Someone typing wants each answer at once.
    most_lines = 1 if not arguments.files and sys.stdin.isatty() else BATCH_LINES
    return write_results(
        tag_lines(tagger, lines, most_lines=most_lines),
        lambda text, tagged: result_of(
            text,
            tagged,
            unit=arguments.offset_unit,
            labels=labels,
            min_score=arguments.min_score,
            with_text=arguments.with_text,
        ),
    )


def tag_lines(
    tagger: Tagger, lines: Iterable[Line], *, most_lines: int = BATCH_LINES
) -> Iterator[list[tuple[str, Tagged]]]:
    """Tag lines batch by batch; lines before a bad one are still answered, then its error is raised."""
    bad: list[TextError] = []

    def good() -> Iterator[Line]:
        try:
            yield from lines
        except TextError as error:
            bad.append(error)

    for batch in batches(good(), most_lines=most_lines, most_characters=BATCH_CHARACTERS):
        texts = [line.text for line in batch]
        yield list(zip(texts, tagger.tag_batch(texts), strict=True))
    if bad:
        raise bad[0]


def write_results(tagged: Iterable[list[tuple[str, Tagged]]], render: Callable[[str, Tagged], dict[str, Any]]) -> int:
    """Write one JSON object per line as UTF-8, whatever the locale; a reader that has seen enough is no error."""
    out = sys.stdout.buffer
    try:
        for batch in tagged:
            for text, one in batch:
                out.write(json.dumps(render(text, one), ensure_ascii=False).encode() + b"\n")
            out.flush()
    except BrokenPipeError:
        # `onoma tag ... | head`: keep the interpreter from complaining again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="UTF-8 text, one text per line; - or none: standard input"
    )
    parser.add_argument(
        "--model", default="models/student", metavar="FOLDER", help="model bundle (default: %(default)s)"
    )
    parser.add_argument(
        "--offset-unit",
        choices=get_args(OffsetUnit),
        default="codepoint",
        help="unit of start and end: codepoint (Python, Rust chars), utf16 (JavaScript, Java), utf8 (bytes)",
    )
    parser.add_argument("--min-score", type=float, default=0.0, metavar="P", help="leave out entities scored below P")
    parser.add_argument(
        "--labels",
        type=names,
        metavar="A,B",
        help="only these labels, for example PER,LOC",
    )
    parser.add_argument("--with-text", action="store_true", help="repeat each line's text in its result")
    parser.add_argument("--threads", type=int, metavar="N", help="threads of one model run (default: all cores)")


tag = Command(
    name="tag",
    help="tag lines of text with a bundle, one JSON object per line",
    description="""\
Tag each line of the files, or of standard input, and write one JSON object per line:

  $ echo 'Angela Merkel visited Siemens in München.' | onoma tag --model models/student
  {"entities": [{"start": 0, "end": 13, "label": "PER", "text": "Angela Merkel", "score": 0.99}, ...], ...}

start and end are half-open offsets into the line without its line break. confidence is the calibrated probability that
the least certain sentence of the line is tagged without error. Input of any size streams through in constant memory.
A line that is not UTF-8 or holds a NUL stops the run with exit status 1 and a message that names file and line; the
lines before it are answered.""",
    add_arguments=_add_arguments,
    run=_run,
)

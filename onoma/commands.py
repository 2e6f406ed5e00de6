"""The `tag` command: files in, rows with their entities out. The work is done in onoma.bulk."""

from __future__ import annotations

import argparse
import io
import os
import sys
from pathlib import Path
from typing import BinaryIO, get_args

from onoma.bulk.errors import BulkError
from onoma.bulk.inputs import STDIN, Inputs, check_files, common_kind, compression_of, kind_of
from onoma.bulk.job import Form, Job, Kind
from onoma.bulk.local import tag_to_file, tag_to_stream
from onoma.bulk.progress import Progress
from onoma.bulk.ray_engine import tag_with_ray
from onoma.cli import Command, names
from onoma.model import available_cores
from onoma.text import OffsetUnit


def _standard_input() -> BinaryIO:
    buffer = sys.stdin.buffer
    # A thread may still wait in it when the run ends; the interpreter would wait for sys.stdin's own buffer.
    return open(0, "rb", closefd=False) if isinstance(buffer, io.BufferedReader) else buffer


def job_of(arguments: argparse.Namespace, kind: Kind, *, to_terminal: bool) -> Job:
    """The job that the options ask for.

    :raises ValueError: names the option that makes no sense, and its value.
    """
    if not 0 <= arguments.min_score <= 1:
        raise ValueError(f"--min-score must be in 0..1, got {arguments.min_score}")
    if arguments.into in ("file", "confidence", arguments.field):
        raise ValueError(f"--into must be a name that rows do not have yet, got {arguments.into!r}")
    output = arguments.output
    form = arguments.format or _form_of(output, arguments, kind, to_terminal=to_terminal)
    if form == "text" and arguments.mask is None:
        raise ValueError("--format text is masked text: it needs --mask")
    if form == "color" and (arguments.mask is not None or output is not None):
        raise ValueError("--format color is for standard output, and not for --mask")
    if form == "parquet" and output is None:
        raise ValueError("--format parquet needs --output FILE")
    compression = compression_of(output) if output is not None and arguments.engine == "local" else ""
    if form == "parquet" and compression:
        raise ValueError(f"--output: Parquet is compressed inside, got {output}")
    return Job(
        model=str(arguments.model),
        kind=kind,
        form=form,
        compression=compression,
        field=arguments.field if kind in ("jsonl", "parquet") else "text",
        labels=None if arguments.labels is None else tuple(arguments.labels),
        min_score=arguments.min_score,
        offset_unit=arguments.offset_unit,
        mask=arguments.mask,
        into=arguments.into,
        confidence=arguments.confidence,
        skip_errors=arguments.skip_errors,
    )


def _form_of(output: str | None, arguments: argparse.Namespace, kind: Kind, *, to_terminal: bool) -> Form:
    masked_text = arguments.mask is not None and kind in ("text", "whole")
    if output is None:
        return "text" if masked_text else "color" if to_terminal and kind in ("text", "whole") else "jsonl"
    if kind_of(output) == "parquet":
        return "parquet"
    return "text" if masked_text and kind_of(output) == "text" and arguments.engine == "local" else "jsonl"


def _run(arguments: argparse.Namespace) -> int:
    paths = tuple(arguments.files or [STDIN])
    check_files(paths)
    kind: Kind = "whole" if arguments.whole else arguments.input_format or common_kind(paths)
    if arguments.processes is not None and arguments.processes < 1:
        raise ValueError(f"--processes must be at least 1, got {arguments.processes}")
    if arguments.engine == "ray" and arguments.output is None:
        raise ValueError("--engine ray needs --output FOLDER")
    job = job_of(arguments, kind, to_terminal=sys.stdout.isatty())
    inputs = Inputs(paths, kind, _standard_input(), field=job.field, live=arguments.output is None)
    unit = "rows" if kind == "parquet" else "bytes"
    total = None if STDIN in paths else sum(map(inputs.size, paths))
    progress = Progress(sys.stderr, total=total, unit=unit)
    try:
        if arguments.output is None:
            return _to_standard_output(job, inputs, arguments.processes or available_cores(), progress)
        tag = tag_with_ray if arguments.engine == "ray" else tag_to_file
        done = tag(
            job,
            inputs,
            Path(arguments.output),
            processes=arguments.processes or (0 if arguments.engine == "ray" else available_cores()),
            progress=progress,
            restart=arguments.restart,
        )
    except OSError as error:
        if isinstance(error, FileNotFoundError) and error.filename is None:
            raise
        raise BulkError(f"{error.filename or 'a file'}: {error.strerror}") from error
    put_aside = f"; {done.bad} bad rows are in {arguments.output}.errors.jsonl" if done.bad else ""
    print(f"{done.rows} rows in {arguments.output}{put_aside}", file=sys.stderr)
    return 0


def _to_standard_output(job: Job, inputs: Inputs, processes: int, progress: Progress) -> int:
    def report(errors: bytes) -> None:
        sys.stderr.write(errors.decode("utf-8"))

    try:
        tag_to_stream(job, inputs, sys.stdout.buffer, processes=processes, progress=progress, report=report)
    except BrokenPipeError:
        # `onoma tag ... | head`: a reader that has seen enough is no error, at exit neither.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("files", nargs="*", metavar="FILE", help="text, .jsonl, .parquet, or these as .gz, .xz, .zst; - or none: stdin")
    add("-o", "--output", metavar="FILE", help="where to write, resumable: .jsonl, .parquet, .jsonl.gz ...")
    default = Path(os.environ.get("ONOMA_MODELS", "models")) / "student"
    add("--model", default=default, metavar="FOLDER", help="model bundle (default: ONOMA_MODELS/student, %(default)s)")
    add("--input-format", choices=("text", "jsonl", "parquet"), help="what the files are, if not what their names say")
    add("--whole", action="store_true", help="each file is one text, instead of each line")
    add("--field", "--column", default="text", metavar="NAME", help="JSON key or Parquet column with the text (text)")
    add("--format", choices=get_args(Form), help="what to write, if not what --output's name says")
    add("--labels", type=names, metavar="A,B", help="only these labels, for example PER,LOC")
    add("--min-score", type=float, default=0.0, metavar="P", help="leave out entities scored below P")
    add(
        "--offset-unit",
        choices=get_args(OffsetUnit),
        default="codepoint",
        help="unit of start and end: codepoint (Python, Rust chars), utf16 (JavaScript, Java), utf8 (bytes)",
    )
    add("--mask", metavar="TEMPLATE", help='replace entities in the text, for example by "[{label}]", and list none')
    add("--into", default="entities", metavar="NAME", help="key or column for the entities (default: %(default)s)")
    add("--confidence", action="store_true", help="add the probability that the row is tagged without error")
    add("--skip-errors", action="store_true", help="put bad rows into OUTPUT.errors.jsonl (or on stderr) and go on")
    add("--processes", type=int, metavar="N", help="processes, one thread each (default: one per core)")
    add("--restart", action="store_true", help="throw away what an interrupted run has left")
    add("--engine", choices=("local", "ray"), default="local", help="ray: Ray Data, --output is a folder (extra ray)")


tag = Command(
    name="tag",
    help="tag text, JSON lines or Parquet with a bundle",
    description="""\
Tag each line of text files, each object of JSON lines or each row of Parquet files, in order and in constant memory:

  $ onoma tag reviews.jsonl --field body -o tagged.jsonl
  $ echo 'Angela Merkel visited Siemens in München.' | onoma tag | cat
  {"text":"Angela Merkel visited ...","entities":[{"start":0,"end":13,"label":"PER","text":"Angela Merkel",...}, ...]}

start and end are half-open offsets into the text without its line break. With --output, a run that was interrupted is
gone on with by the same command. A row that cannot be tagged stops the run with exit status 1 and a message that names
file and line; the rows before it are written. docs/bulk.md has the rest.""",
    add_arguments=_add_arguments,
    run=_run,
)

"""The command line that measures: evaluate, evaluate-long, calibrate."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from onoma.cli import Command, names

DATA_NOTE = "Data is read from ONOMA_DATA, or ../shared/data beside the checkout (layout: its README)."


def _evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, nargs="+", help="bundle folders, such as models/student")
    parser.add_argument(
        "--source", default="wikiann", help="labelled source, gold (all but wikiann) or all (%(default)s)"
    )
    parser.add_argument("--languages", type=names, default="", help="with commas (default: all; of WikiANN the 45)")
    parser.add_argument("--split", default="test", choices=["train", "dev", "test"], help="%(default)s")
    parser.add_argument("--form", default="both", choices=["raw", "tokens", "both"], help="raw text, tokens, or both")
    parser.add_argument("--limit", type=int, default=None, help="first sentences of each row only")
    parser.add_argument("--json", type=Path, help="write all figures here as well")
    parser.add_argument("--markdown", type=Path, help="write the table here as well, bundles side by side")
    parser.add_argument("--metrics", type=Path, help="folder for NAME.json of each bundle, for `onoma export update`")
    parser.add_argument("--threads", type=int, default=None, help="onnxruntime threads (all cores)")


def _run_evaluate(arguments: argparse.Namespace) -> int:
    from distill.files import write_json, write_text
    from distill.report import evaluate_bundles, markdown, metrics_of

    if arguments.metrics is not None and len({folder.name for folder in arguments.bundle}) < len(arguments.bundle):
        raise ValueError(f"--metrics needs bundles of different names, got {', '.join(map(str, arguments.bundle))}")
    results = evaluate_bundles(
        arguments.bundle,
        source=arguments.source,
        languages=arguments.languages,
        split=arguments.split,
        forms=("raw", "tokens") if arguments.form == "both" else (arguments.form,),
        limit=arguments.limit,
        threads=arguments.threads,
    )
    if arguments.json is not None:
        write_json(arguments.json, results)
    if arguments.markdown is not None:
        write_text(arguments.markdown, markdown(results))
    if arguments.metrics is not None:
        for folder in arguments.bundle:
            write_json(arguments.metrics / f"{folder.name}.json", metrics_of(results, folder))
    return 0


def _long_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, nargs="+", help="bundle folders, such as models/student")
    parser.add_argument("--languages", type=names, default="", help="with commas (default: WikiANN-45 and Thai)")
    parser.add_argument("--characters", type=int, default=20_000, help="of each text (%(default)s)")
    parser.add_argument("--texts", type=int, default=5, help="for each language, as far as there are (%(default)s)")
    parser.add_argument("--json", type=Path, help="write all figures here as well")
    parser.add_argument("--threads", type=int, default=None, help="onnxruntime threads (all cores)")


def _run_long(arguments: argparse.Namespace) -> int:
    from distill.corpora import WIKIANN_45
    from distill.files import write_json
    from distill.long_texts import evaluate_long_texts

    results = evaluate_long_texts(
        arguments.bundle,
        languages=arguments.languages or (*WIKIANN_45, "th"),
        characters=arguments.characters,
        texts=arguments.texts,
        threads=arguments.threads,
    )
    if arguments.json is not None:
        write_json(arguments.json, results)
    return 0


def _calibrate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("student", type=Path, help="the student's bundle, for example models/student")
    parser.add_argument("--teacher", type=Path, help="the teacher's bundle: chooses the fallback threshold as well")
    parser.add_argument("--json", type=Path, required=True, help="report to write, with the cascade's curve")
    parser.add_argument("--calibration-json", type=Path, help="calibration alone, for `onoma export update`")
    parser.add_argument("--languages", type=names, default="", help="comma-separated (default: WikiANN-45)")
    parser.add_argument("--limit", type=int, default=400, help="dev sentences of each language (%(default)s)")
    parser.add_argument(
        "--most-fallback", type=float, default=0.15, help="largest share of dev sentences for the teacher (%(default)s)"
    )
    parser.add_argument("--markdown", type=Path, help="write the report as a page, with the plots if there are any")
    parser.add_argument("--plots", type=Path, help="folder for the reliability and the F1-against-latency curve (SVG)")
    parser.add_argument("--threads", type=int, default=None, help="onnxruntime threads (all cores)")


def _run_calibrate(arguments: argparse.Namespace) -> int:
    from distill.calibration import calibrate_bundles
    from distill.calibration_report import markdown, write_plots
    from distill.corpora import WIKIANN_45
    from distill.files import write_json, write_text

    report = calibrate_bundles(
        arguments.student,
        arguments.teacher,
        limit=arguments.limit,
        most_fallback=arguments.most_fallback,
        languages=arguments.languages or WIKIANN_45,
        threads=arguments.threads,
    )
    write_json(arguments.json, report)
    if arguments.plots is not None:
        write_plots(report, arguments.plots)
    if arguments.markdown is not None:
        plots = arguments.plots and Path(os.path.relpath(arguments.plots, arguments.markdown.parent))
        write_text(arguments.markdown, markdown(report, plots=plots))
    if arguments.calibration_json is not None:
        write_json(arguments.calibration_json, report["calibration"])
    print(json.dumps({key: report[key] for key in ("calibration", "chosen") if key in report}, indent=1))
    return 0


evaluate = Command(
    name="evaluate",
    help="span F1 of bundles per language, on raw text and on tokens",
    description="Strict span F1 per language, macro mean, standard deviation and worst language, on the whole split\n"
    "and on the sentences that do not stand in train.\n"
    "--source gold takes every labelled source but wikiann, a row a source and language, with massive_ner kept out of\n"
    "the mean; --source all adds wikiann. Of the gold sources estner_new, kaznerd and uner_ndt have no train.\n"
    + DATA_NOTE,
    add_arguments=_evaluate_arguments,
    run=_run_evaluate,
)
evaluate_long = Command(
    name="evaluate-long",
    help="entities that long texts lose against their sentences tagged alone",
    description="Join lines of unlabelled text by a space or a line break, and compare with each line tagged alone.\n"
    "The lines come from the end of each file; where a language marks sentence ends, those that have one.\n"
    + DATA_NOTE,
    add_arguments=_long_arguments,
    run=_run_long,
)
calibrate = Command(
    name="calibrate",
    help="calibrate a student's confidence and choose the fallback threshold, on dev",
    description="Fit the softmax temperature and the meaning of the confidence on one half of WikiANN-45 dev.\n"
    "On the other half measure what the confidence is worth, F1 and latency of each threshold, and choose the one\n"
    "under which the teacher is asked: the fewest sentences handed over that give a macro F1 within 0.1 of the best\n"
    "that --most-fallback allows.\n"
    + DATA_NOTE,
    add_arguments=_calibrate_arguments,
    run=_run_calibrate,
)

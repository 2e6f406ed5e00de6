"""`python -m loadtests`: student, teacher and auto under the same load, in interleaved rounds, with Locust."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import shlex
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from loadtests import gate
from loadtests.figures import write_csv
from loadtests.machine import machine, split_cores, versions
from loadtests.page import page
from loadtests.plan import LONGEST_PAUSE, Limits, Steps
from loadtests.report import Result, markdown, publish
from loadtests.server import NotReadyError, running_service, wait_until_ready
from loadtests.session import ROOT, Session, Settings
from loadtests.summary import Findings, points
from loadtests.texts import MIX

WARM_UP = "Angela Merkel visited the Siemens works in Munich."


def parser() -> argparse.ArgumentParser:
    """The options."""
    options = argparse.ArgumentParser(
        prog="python -m loadtests",
        description="Load-test POST /ner: each model in turn, in interleaved rounds, over 22 languages and mixed "
        "lengths; first with a fixed number of users, then in steps of offered load up to saturation. Starts the "
        "service itself unless --host is given. Exit status 1 when there were errors or p95 has become much worse "
        "than in the baseline.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = options.add_argument
    add("--models", default="student,teacher,auto", help="values of `model`, in the order to run them")
    add("--rounds", type=int, default=3, help="times that everything is run; medians are reported")
    add("--users", type=int, default=8, help="the fixed number of users, each with one request at a time")
    add("--duration", type=float, default=10.0, help="seconds of each run with the fixed users")
    add("--step", type=float, default=5.0, help="seconds of each step of offered load; 0: no steps")
    add("--lead", type=float, default=1.0, help="seconds of the same load before each of these, not counted")
    add(
        "--first-rate",
        type=float,
        default=0.0,
        help="requests/s of the first step; 0: an eighth of the least throughput",
    )
    add("--factor", type=float, default=Steps().factor, help="from a step to the next, until saturation")
    add("--precision", type=float, default=Steps().precision, help="how close, as a factor, saturation is then found")
    add("--max-steps", type=int, default=Steps().most, help="most steps of a model")
    add("--p99-limit", type=float, default=Limits().p99_ms, help="ms of p99 over which a step counts as saturated")
    add("--minutes", type=float, default=12.0, help="after them nothing further is begun")
    add("--host", help="address of a running service, such as http://localhost:8000")
    add("--bundles", type=Path, default=ROOT / "models", help="models folder of the service started here")
    add("--out", type=Path, default=ROOT / "out" / "loadtest", help="folder of the CSV, HTML and Markdown files")
    add("--baseline", type=Path, default=ROOT / "loadtests" / "baseline.json", help="what p95 is compared with")
    add("--tolerance", type=float, default=1.5, help="how many times the baseline's ratio is still fine")
    add("--write-baseline", action="store_true", help="write the baseline instead of comparing with it")
    add("--docs", type=Path, help="also write the results into this folder: loadtest.md and loadtest/")
    add("--seed", type=int, default=0, help="seed of texts and arrival times")
    return options


def settings_of(options: argparse.Namespace) -> Settings:
    """Check the options; exits with status 2 when one is wrong."""
    models = tuple(dict.fromkeys(name.strip() for name in options.models.split(",") if name.strip()))
    if unknown := set(models) - {"student", "teacher", "auto"}:
        parser().error(f"unknown model: {', '.join(sorted(unknown))}")
    ones = dict.fromkeys(("users", "rounds", "max_steps", "tolerance"), 1) | {"duration": 0.1}
    for name, limit in (ones | dict.fromkeys(("step", "lead", "first_rate", "minutes"), 0)).items():
        if (value := getattr(options, name)) < limit:
            parser().error(f"--{name.replace('_', '-')} must be at least {limit}, not {value:g}")
    for name in ("factor", "precision"):
        if (value := getattr(options, name)) < 1.05:
            parser().error(f"--{name} must be at least 1.05, not {value:g}")
    if not models:
        parser().error("--models must name at least one model")
    return Settings(
        models=models,
        users=options.users,
        duration=options.duration,
        step=options.step,
        lead=options.lead,
        rounds=options.rounds,
        first=options.first_rate,
        minutes=options.minutes,
        seed=options.seed,
        steps=Steps(options.factor, options.precision, options.max_steps),
        limits=Limits(p99_ms=options.p99_limit),
    )


def served_bundles(host: str) -> str:
    """The bundles behind a service, as it names them at GET /; "unknown" for a server that does not."""
    try:
        with urllib.request.urlopen(f"{host}/", timeout=10) as answer:
            models: dict[str, dict[str, str]] = json.load(answer)["models"]
    except (OSError, ValueError, KeyError):
        return "unknown"
    return "; ".join(f"{role}: {', '.join(facts.values())}" for role, facts in models.items())


def warm_up(host: str, model: str) -> None:
    """Three requests before the first measurement, so that no run pays for first use."""
    body = json.dumps({"text": WARM_UP, "model": model}).encode()
    for _ in range(3):
        request = urllib.request.Request(f"{host}/ner", body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            answer.read()


def judged(session: Session, facts: dict[str, str], options: argparse.Namespace, setup: dict[str, Any]) -> Result:
    """What was measured, with the gate's verdict."""
    findings = Findings(points(session.legs), session.settings.limits)
    compared = gate.figures(findings, session.yardsticks)
    problems, notes = gate.errors(session.legs), gate.warnings(findings)
    if session.cut_short:
        notes.append(f"Cut short after {session.settings.minutes:g} minutes (--minutes): some steps have fewer rounds.")
    if session.repeated:
        notes.append(f"{session.repeated} legs stood still for over {LONGEST_PAUSE:g} s, and were measured again.")
    was_compared = False
    if options.write_baseline:
        notes.append("p95 was not compared with a baseline: this run writes one.")
    elif options.baseline.exists():
        baseline = gate.read_baseline(options.baseline)
        regressions, missing = gate.compare(compared, baseline, setup=setup, tolerance=options.tolerance)
        problems, notes = problems + regressions, notes + missing
        was_compared = not missing
    else:
        name = os.path.relpath(options.baseline, ROOT)
        notes.append(f"p95 was not compared: there is no baseline {name} (--write-baseline makes one).")
    return Result(findings, facts, compared, problems, notes, was_compared)


def write_results(result: Result, options: argparse.Namespace, session: Session, setup: dict[str, Any]) -> None:
    """Write everything; docs and baseline only of a run without problems."""
    text = f"# Load test\n\n{markdown(result)}"
    print(text)
    (options.out / "report.md").write_text(text, encoding="utf-8")
    html = page(result)
    (options.out / "index.html").write_text(html, encoding="utf-8")
    write_csv(options.out / "legs.csv", session.legs)
    if result.problems:
        if options.docs or options.write_baseline:
            print("loadtests: the run failed, so neither documents nor baseline were written", file=sys.stderr)
        return
    if options.docs:
        publish(options.docs, result, html)
    if options.write_baseline:
        gate.write_baseline(options.baseline, result.compared, setup=setup, facts=result.facts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run everything, write the reports; gives the exit status."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse_args(argv)
    settings = settings_of(options)
    options.out = options.out.resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    cores = split_cores()
    own = not options.host
    variables = [f"{name}={value}" for name, value in sorted(os.environ.items()) if own and name.startswith("ONOMA_")]
    variables = [each for each in variables if not each.startswith("ONOMA_DATA=")]
    facts = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": shlex.join(["python", "-m", "loadtests", *argv]),
        "machine": machine(),
        "cores": cores.text() if own and cores else "not assigned",
        "versions": versions(),
        "service": options.host or ", ".join(["started here with `onoma serve`", *variables]),
        "bundles": "unknown",
        "load": f"{settings.users} users for {settings.duration:g} s; "
        f"{f'steps of {settings.step:g} s' if settings.step else 'no steps'}; "
        f"{settings.rounds} interleaved rounds; {settings.lead:g} s of load before each; seed {settings.seed}",
        "requests": ", ".join(f"{100 * share:g} % {kind}" for kind, share in MIX.items()),
    }
    setup = {"users": settings.users, "service_cores": len(cores.service) if own and cores else None, "mix": MIX}
    service = (
        nullcontext(options.host.rstrip("/"))
        if options.host
        else running_service(
            options.out / "service.log", bundles=options.bundles, cores=cores.service if cores else None
        )
    )
    failed = ""
    session: Session | None = None
    try:
        with service as host:
            wait_until_ready(host, 60)
            facts["bundles"] = served_bundles(host)
            for model in settings.models:
                warm_up(host, model)
            session = Session(settings, host, options.out, cores)
            session.run(local=own)
    except (NotReadyError, OSError, subprocess.SubprocessError) as error:
        failed = f"{error}; see the logs in {options.out}"
        print(f"loadtests: {failed}", file=sys.stderr)
    if session is None or not session.legs:
        return 1
    result = judged(session, facts, options, setup)
    if failed:
        result = dataclasses.replace(result, problems=[failed, *result.problems])
    write_results(result, options, session, setup)
    return 1 if result.problems else 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m loadtests`: student, teacher and auto under the same load, in interleaved rounds, with Locust."""

from __future__ import annotations

import argparse
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

from loadtests.report import Leg, document, machine, problems, read_leg
from loadtests.server import NotReadyError, running_service, wait_until_ready

ROOT = Path(__file__).resolve().parent.parent
WARM_UP = "Angela Merkel visited the Siemens works in Munich."


def parser() -> argparse.ArgumentParser:
    """The options."""
    options = argparse.ArgumentParser(
        prog="python -m loadtests",
        description="Load-test POST /ner: each model in turn, in interleaved rounds, over 22 languages and mixed "
        "lengths. Starts the service itself unless --host is given. Exit status 1 when a request failed or no entity "
        "was found.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    options.add_argument("--users", type=int, default=8, help="users at the same time, each with one connection")
    options.add_argument("--duration", type=float, default=15.0, help="seconds of each run of one model")
    options.add_argument("--rounds", type=int, default=3, help="times that every model is run; medians are reported")
    options.add_argument("--models", default="student,teacher,auto", help="values of `model`, in the order to run them")
    options.add_argument(
        "--rates", default="0,10", help="requests/s offered by all users together; 0: as fast as answers come"
    )
    options.add_argument("--host", help="address of a running service, such as http://localhost:8000")
    options.add_argument(
        "--bundles", type=Path, default=ROOT / "models", help="models folder of the service started here"
    )
    options.add_argument("--out", type=Path, default=ROOT / "out" / "loadtest", help="folder of CSV, HTML, report.md")
    options.add_argument("--seed", type=int, default=0, help="seed of the sequence of requests")
    return options


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


def run_leg(options: argparse.Namespace, host: str, model: str, rate: float, round_number: int) -> Leg:
    """One headless Locust process: one model at one rate. Raises CalledProcessError when Locust itself fails."""
    prefix = options.out / f"{model}-{f'rate{rate:g}' if rate else 'unpaced'}-round{round_number}"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "ONOMA_LOADTEST_MODEL": model,
        "ONOMA_LOADTEST_SEED": f"{options.seed}-{round_number}",
        "ONOMA_LOADTEST_PERIOD": str(options.users / rate if rate else 0),
        "ONOMA_LOADTEST_OUT_PREFIX": str(prefix),
    }
    arguments = ["-f", str(ROOT / "loadtests" / "locustfile.py"), "--headless", "--only-summary", "--host", host]
    arguments += ["--users", str(options.users), "--spawn-rate", str(options.users), "--stop-timeout", "10s"]
    arguments += ["--run-time", f"{options.duration:g}s", "--html", f"{prefix}.html", "--exit-code-on-error", "0"]
    with open(f"{prefix}.log", "wb") as log:
        subprocess.run(
            [sys.executable, "-m", "locust", *arguments],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            check=True,
            timeout=options.duration + 120,
        )
    return read_leg(prefix, model, rate, round_number)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every leg, print and write the report."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse_args(argv)
    models = [name.strip() for name in options.models.split(",") if name.strip()]
    rates = [float(rate) for rate in options.rates.split(",")]
    if unknown := set(models) - {"student", "teacher", "auto"}:
        parser().error(f"unknown model: {', '.join(sorted(unknown))}")
    if options.users < 1 or options.rounds < 1 or options.duration < 1 or not models or min(rates) < 0:
        parser().error("--users, --rounds and --duration must be at least 1, --rates not negative, --models not empty")
    options.out = options.out.resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    facts = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": shlex.join(["python", "-m", "loadtests", *argv]),
        "machine": machine(),
        "service": options.host or "started here with `onoma serve`",
        "bundles": "unknown",
        "load": f"{options.users} users, {options.duration:g} s a run, {options.rounds} interleaved rounds, "
        f"seed {options.seed}",
    }
    service = (
        nullcontext(options.host.rstrip("/"))
        if options.host
        else running_service(options.out / "service.log", bundles=options.bundles)
    )
    legs: list[Leg] = []
    try:
        with service as host:
            wait_until_ready(host, 60)
            facts["bundles"] = served_bundles(host)
            for model in models:
                warm_up(host, model)
            for round_number in range(1, options.rounds + 1):
                for rate in rates:
                    for model in models:
                        leg = run_leg(options, host, model, rate, round_number)
                        legs.append(leg)
                        print(
                            f"round {round_number} {model}: {leg.requests} requests, {leg.failures} failed, "
                            f"{leg.requests_per_second:.1f}/s, p50 {leg.p50:.0f} ms",
                            file=sys.stderr,
                            flush=True,
                        )
    except (NotReadyError, OSError, subprocess.SubprocessError) as error:
        print(f"loadtests: {error}; see the logs in {options.out}", file=sys.stderr)
        if not legs:
            return 1
        facts["incomplete"] = str(error)
    text = document(legs, facts)
    print(text)
    (options.out / "report.md").write_text(text, encoding="utf-8")
    return 1 if problems(legs) or "incomplete" in facts else 0


if __name__ == "__main__":
    sys.exit(main())

"""The order of a whole load test: interleaved rounds of legs, each a headless Locust process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from loadtests.gate import load
from loadtests.job import Job
from loadtests.legs import Leg, read_leg
from loadtests.machine import Cores, pinned, yardstick
from loadtests.plan import LONGEST_PAUSE, Limits, Steps, first_rate, next_rate, saturation

ROOT = Path(__file__).resolve().parent.parent
ATTEMPTS = 3  # at a leg, when the machine stands still


@dataclass(frozen=True, slots=True)
class Settings:
    """How to measure.

    :ivar users: of the legs with a fixed number of users.
    :ivar duration: seconds of such a leg; `step` seconds of a leg at an offered rate; 0 leaves these legs out.
    :ivar lead: seconds of load before each leg's window.
    :ivar first: the rate to begin with; 0: found from the throughput of the fixed users.
    :ivar minutes: after them no further leg begins.
    """

    models: tuple[str, ...]
    users: int
    duration: float
    step: float
    lead: float
    rounds: int
    first: float
    minutes: float
    seed: int
    steps: Steps
    limits: Limits


@dataclass
class Session:
    """Runs the legs against a service, and keeps what they measured."""

    settings: Settings
    host: str
    out: Path
    cores: Cores | None
    legs: list[Leg] = field(default_factory=list)
    yardsticks: dict[tuple[str, int], float] = field(default_factory=dict)
    repeated: int = 0
    cut_short: bool = False
    _until: float = 0.0

    def run(self, *, local: bool) -> None:
        """Run everything.

        :param local: whether the service runs on this machine, so that the yardstick measures its cores.
        :raises subprocess.SubprocessError: when Locust itself fails.
        """
        self._until = time.monotonic() + 60 * self.settings.minutes
        planned: dict[str, list[float]] = {}
        for number in range(1, self.settings.rounds + 1):
            for model in self.settings.models:
                if local and self._time_left():
                    self.yardsticks[model, number] = yardstick(self.cores.service if self.cores else None)
                self._leg(model, 0.0, number)
            if not self.settings.step:
                continue
            if number == 1:
                planned = self._search()
            else:
                for rate in sorted({rate for rates in planned.values() for rate in rates}):
                    for model in self.settings.models:
                        if rate in planned[model]:
                            self._leg(model, rate, number)

    def _time_left(self) -> bool:
        self.cut_short = self.cut_short or time.monotonic() > self._until
        return not self.cut_short

    def _search(self) -> dict[str, list[float]]:
        """The first round's steps: each model's next one in turn, until all are saturated; gives the rates of each.

        A machine's hiccup would end the search far too early, so a step counts as saturated only when it is so twice.
        """
        settings = self.settings
        tried: dict[str, dict[float, bool]] = {model: {} for model in settings.models}
        searching = list(settings.models)
        while searching and self._time_left():
            first = settings.first or first_rate([leg.achieved for leg in self.legs if not leg.rate])
            for model in tuple(searching):
                rate = next_rate(tried[model], first, settings.steps)
                if rate is None:
                    searching.remove(model)
                    continue
                legs = [self._leg(model, rate, 1)]
                if legs[0] and saturation(legs[0], settings.limits):
                    legs.append(self._leg(model, rate, 1, again="-again"))
                tried[model][rate] = all(leg and saturation(leg, settings.limits) for leg in legs)
        return {model: sorted(rates) for model, rates in tried.items()}

    def _leg(self, model: str, rate: float, number: int, again: str = "") -> Leg | None:
        """One leg, repeated if the machine stood still meanwhile; None if time is up."""
        settings = self.settings
        seconds = settings.step if rate else settings.duration
        prefix = self.out / f"{model}-{f'rate{rate:g}' if rate else 'users'}-round{number}{again}"
        job = Job(model, rate, settings.lead, seconds, f"{settings.seed}-{number}", str(prefix))
        for _ in range(ATTEMPTS):
            if not self._time_left():
                return None
            self._run(job)
            leg = read_leg(prefix, model=model, rate=rate, round_number=number, seconds=seconds)
            _tell(leg, settings.limits)
            if leg.pause <= LONGEST_PAUSE:
                break
            self.repeated += 1
        self.legs.append(leg)
        return leg

    def _run(self, job: Job) -> None:
        arguments = ["-m", "locust", "-f", str(ROOT / "loadtests" / "locustfile.py"), "--headless", "--only-summary"]
        arguments += ["--host", self.host, "--html", f"{job.prefix}.html", "--exit-code-on-error", "0"]
        if job.rate:
            arguments += ["--users", "1", "Arriving"]
        else:
            users = str(self.settings.users)
            arguments += ["--users", users, "--spawn-rate", users, "--stop-timeout", "30s", "Waiting"]
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        with open(f"{job.prefix}.log", "wb") as log:
            subprocess.run(
                pinned(self.cores.generator if self.cores else None, arguments),
                env={**os.environ, **job.variables(), "PYTHONPATH": path},
                stdout=log,
                stderr=subprocess.STDOUT,
                check=True,
                timeout=job.lead + job.seconds + 120,
            )


def _tell(leg: Leg, limits: Limits) -> None:
    why = saturation(leg, limits) if leg.rate else ""
    late = f"; stood still for {leg.pause:.1f} s" if leg.pause > LONGEST_PAUSE else ""
    print(
        f"round {leg.round}, {leg.model}, {load(leg.rate)}: {leg.offered:.1f}/s offered, {leg.achieved:.1f}/s "
        f"achieved, {leg.rejected} rejected, {leg.errors} errors, p50 {leg.overall.p50:.0f}, p95 "
        f"{leg.overall.p95:.0f}, p99 {leg.overall.p99:.0f} ms{f'; saturated: {why}' if why else ''}{late}",
        file=sys.stderr,
        flush=True,
    )

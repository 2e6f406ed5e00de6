"""What one Locust process is told to do: one model, under one load. Travels in an environment variable."""

from __future__ import annotations

import dataclasses
import json
import os
import random
from collections.abc import Mapping

VARIABLE = "ONOMA_LOADTEST"


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """One leg of the load test.

    :ivar model: value of `model` in the requests.
    :ivar rate: requests/s that arrive, whether or not earlier ones have been answered; 0: a fixed number of users, each
        of which sends its next request when it has its answer.
    :ivar lead: seconds of the same load before the measured window.
    :ivar seconds: length of the measured window.
    :ivar seed: of texts and arrival times; the same for every model.
    :ivar prefix: path of the files to write, without their endings.
    """

    model: str
    rate: float
    lead: float
    seconds: float
    seed: str
    prefix: str

    def variables(self) -> dict[str, str]:
        """The environment that carries it."""
        return {VARIABLE: json.dumps(dataclasses.asdict(self))}

    def arrivals(self) -> list[float]:
        """When the requests are due, in seconds from the window's begin (before it: negative), in order.

        The number in the window is exact; the times are uniformly random, which is a Poisson process of which one knows
        the count: independent clients, bursts included.
        """
        rng = random.Random(f"{self.seed}-arrivals")
        before = [rng.uniform(-self.lead, 0) for _ in range(round(self.rate * self.lead))]
        within = [rng.uniform(0, self.seconds) for _ in range(round(self.rate * self.seconds))]
        return sorted(before) + sorted(within)


def job_in(environment: Mapping[str, str] = os.environ) -> Job:
    """The job that an environment carries; KeyError if it carries none."""
    return Job(**json.loads(environment[VARIABLE]))

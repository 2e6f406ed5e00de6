"""Interleaved rounds: every scenario, its contenders one after the other, in an order that turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.service.pinned import Server, Worker
from benchmarks.service.scenarios import TAGGER, Scenario

# Results of a round: by scenario, by contender.
Round = dict[str, dict[str, dict[str, Any]]]


def turned(names: Sequence[str], turns: int) -> list[str]:
    """The names with another one first each turn."""
    at = turns % len(names) if names else 0
    return [*names[at:], *names[:at]]


def loaded(server: Server, generator: Worker, **job: Any) -> dict[str, Any]:
    """One load on one server: what the generator saw, the CPU time of an answer, the share of the core that was had.

    CPU time tells contenders apart also where other programs take turns on their core.
    """
    before = server.cpu_seconds()
    found = generator.ask(port=server.port, **job)
    spent = server.cpu_seconds() - before
    answers = sum(found["statuses"].values())
    return found | {"cpu_ms": 1000 * spent / max(1, answers), "core": spent / found["elapsed"]}


def measure(
    scenarios: Sequence[Scenario],
    *,
    servers: Mapping[str, Server],
    generator: Worker,
    tagger: Worker | None,
    rounds: int,
    seconds: float,
    warm_up: float,
    step: Callable[[str], None] = lambda _: None,
) -> list[Round]:
    """Run the rounds.

    :param tagger: answers for `Tagger` in process.
    :param seconds: of each run, after the warm-up.
    :param step: told before each run what comes.
    """
    done: list[Round] = []
    for number in range(rounds):
        this: Round = {}
        for place, scenario in enumerate(scenarios):
            present = present_in(scenario, {*servers, *([TAGGER] if tagger else [])})
            results: dict[str, dict[str, Any]] = {}
            for name in turned(present, number + place):
                step(f"round {number + 1}/{rounds}: {scenario.name}, {name}")
                # Other requests every round, the same ones for each contender.
                job = {"scenario": scenario.name, "seconds": seconds, "warm_up": warm_up, "first": 997 * number}
                if name == TAGGER and tagger is not None:
                    results[name] = tagger.ask(**job)
                    continue
                results[name] = loaded(servers[name], generator, **job)
                if scenario.share is not None:  # that was saturation: now a share of it
                    probe = results[name]
                    results[name] = loaded(servers[name], generator, **job, rate=scenario.share * probe["rate"])
                    results[name]["probe"] = probe
            this[scenario.name] = {name: results[name] for name in present}
        done.append(this)
    return done


def present_in(scenario: Scenario, names: set[str]) -> list[str]:
    """The contenders of a scenario that are there."""
    return [name for name in scenario.contenders if name in names]

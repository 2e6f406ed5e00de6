"""A whole recipe: every variant with every seed, in one process or several, and what came out."""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from distill.checks import check_run
from distill.console import console
from distill.corpora import source_title
from distill.distillation import distil
from distill.files import write_json
from distill.judging import judge_teacher
from distill.materials import Materials
from distill.mixture import data_hashes
from distill.monolingual import ALL, teacher_recipe
from distill.recipe import Recipe, load_recipe
from distill.recipe_tables import Variant
from distill.store import Store, first_process
from distill.training import accelerator_for, choose_device
from onoma.machine import processor

RESULTS = "results.json"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run reads and writes, and on what: picklable, for worker processes."""

    store: Path
    cache: Path
    device: str = "auto"
    engine: str | None = None


def run_recipe(
    path: Path, *, out: Path, place: Place, jobs: int = 1, only: Sequence[str] = ()
) -> dict[str, Any]:
    """Run a recipe and write `out`/results.json; everything that exists already is reused.

    Results of variants are written as they come, so that an interrupted study shows what it has. In a distributed run
    the first process writes them, and all return them.

    :param jobs: processes at once; each gets its share of the cores. In a distributed run 1.
    :param only: these variants only.
    :raises ValueError: if the recipe is wrong, see also distill.checks; or `only` names a variant it has not.
    """
    if jobs > 1 and "LOCAL_RANK" in os.environ:
        raise ValueError(f"jobs must be 1 where accelerate or torchrun has started the process, got {jobs}")
    recipe = load_recipe(path)
    runs = recipe.runs()
    if unknown := sorted(set(only) - {variant.name for variant, _ in runs}):
        raise ValueError(f"{path} has no variant {', '.join(unknown)}")
    runs = [(variant, seed) for variant, seed in runs if not only or variant.name in only]
    check_run(recipe, [_resolved(recipe, variant, place) for variant, seed in runs if seed == recipe.seeds[0]])
    about = _about(recipe, path) | _teacher_scores(recipe, runs, place)
    done: dict[tuple[str, int], dict[str, Any]] = {}
    out.mkdir(parents=True, exist_ok=True)

    def note(variant: Variant, seed: int, result: dict[str, Any]) -> None:
        done[variant.name, seed] = {"variant": variant.name, "x": variant.x, **result}
        if not first_process()[0]:
            return
        ordered = [done[one.name, seed] for one, seed in runs if (one.name, seed) in done]
        write_json(out / RESULTS, about | {"runs": ordered})
        f1 = result["dev"]["all"]["macro_f1"]
        console.log(f"{recipe.name}: {variant.name}, seed {seed}: dev F1 {f1} ({len(done)} of {len(runs)})")

    if jobs <= 1:
        for variant, seed in runs:
            note(variant, seed, run_one(recipe, variant, seed, place))
    else:
        context = multiprocessing.get_context("spawn")
        threads = max(1, len(os.sched_getaffinity(0)) // jobs)
        with ProcessPoolExecutor(jobs, context, initializer=torch.set_num_threads, initargs=(threads,)) as pool:
            waiting = {pool.submit(run_one, recipe, variant, seed, place): (variant, seed) for variant, seed in runs}
            try:
                for future in as_completed(waiting):
                    note(*waiting[future], future.result())
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    _, wait = first_process()
    wait()  # until the first process has written them
    results: dict[str, Any] = json.loads((out / RESULTS).read_text(encoding="utf-8"))
    return results


def run_one(recipe: Recipe, variant: Variant, seed: int, place: Place) -> dict[str, Any]:
    """One variant with one seed."""
    own = _resolved(recipe, variant, place)
    store, device = Store(place.store), _device(place.device)
    whole = Materials(own, store=store, cache=place.cache, device=device)
    if own.schedule.strategy == "D0":
        result = _merged(_each_alone(own, own.languages, whole, seed), seed)
    elif own.schedule.strategy == "teachers":
        result = _merged(_train_teachers(whole, seed), seed)
    else:
        if own.teachers is not None and own.schedule.taught:
            taught = _train_teachers(whole, seed)
            whole.teachers = {language: place.store / one["student"] for language, one in taught.items()}
        result = distil(whole, seed=seed)
    return result | {"reused": store.reused, "made": store.made}


def _train_teachers(materials: Materials, seed: int) -> dict[str, dict[str, Any]]:
    """The results of the recipe's own teachers, by language."""
    own, tokenizer = materials.recipe, materials.tokenizer_path
    assert own.teachers is not None
    begun: Path | None = None
    if own.teachers.pooled:
        pooled = _each_alone(teacher_recipe(own, tokenizer), (ALL,), materials, seed)
        if own.teachers.together:
            return pooled
        begun = materials.store.root / pooled[ALL]["student"]
    recipe = teacher_recipe(own, tokenizer, begun=begun)
    return _each_alone(recipe, own.labels.languages, materials, seed)


def _each_alone(
    recipe: Recipe, languages: Sequence[str], like: Materials, seed: int
) -> dict[str, dict[str, Any]]:
    """Results of one student for each of the languages."""
    return {
        language: distil(
            Materials(
                recipe,
                store=like.store,
                cache=like.cache,
                device=like.device,
                languages=(language,) if language else (),
            ),
            seed=seed,
        )
        for language in languages
    }


def _resolved(recipe: Recipe, variant: Variant, place: Place) -> Recipe:
    own = recipe.resolved(variant)
    if place.engine is None:
        return own
    return own.resolved(Variant(name=variant.name, set={"teacher.engine": place.engine}))


def _teacher_scores(recipe: Recipe, runs: Sequence[tuple[Variant, int]], place: Place) -> dict[str, Any]:
    """The scores of the teacher that the variants share, under `teacher`; nothing where they have several, or none."""
    resolved = [_resolved(recipe, variant, place) for variant, _ in runs]
    taught = [one for one in resolved if one.schedule.taught]
    judged = {
        (one.teacher.path, one.evaluation, one.labels.types, one.labels.source, one.labels.languages) for one in taught
    }
    if len(judged) != 1 or any(one.teachers for one in taught):
        return {}
    materials = Materials(taught[0], store=Store(place.store), cache=place.cache, device=_device(place.device))
    return {"teacher": judge_teacher(materials)}


def _device(name: str) -> torch.device:
    """As in distill.training.train: the device asked for; of several processes each has a GPU of its own."""
    device = choose_device(name)
    accelerator = accelerator_for(device)
    return accelerator.device if accelerator.use_distributed and device.type != "cpu" else device


def _merged(alone: dict[str, dict[str, Any]], seed: int) -> dict[str, Any]:
    """One result of students of one language each (strategy D0, teachers)."""
    results = list(alone.values())
    if len(results) == 1:
        return results[0]
    parts = [part for part in ("dev", "test", "gold", "zero_shot") if part in results[0]]
    scores: dict[str, Any] = {part: _merged_scores([one[part] for one in results]) for part in parts}
    return {
        "seed": seed,
        "steps": [],
        "student": None,
        "parameters": sum(one["parameters"] for one in results),
        "vocabulary": results[0]["vocabulary"],
        **scores,
    }


def _merged_scores(parts: list[dict[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for part in ("all", "unseen"):
        counted = _mean_of_rows([counted_rows(one[part]) for one in parts])
        worst = min(counted, key=lambda name: counted[name], default=None)
        merged[part] = {
            "macro_f1": round(statistics.fmean(counted.values()), 2) if counted else 0.0,
            "std": round(statistics.pstdev(counted.values()), 2) if counted else 0.0,
            "worst": [worst, counted[worst]] if worst else None,
            "f1": _mean_of_rows([one[part]["f1"] for one in parts]),
        }
    names = parts[0]["confusion"]
    merged["confusion"] = {
        gold: {found: sum(one["confusion"][gold][found] for one in parts) for found in names[gold]} for gold in names
    }
    return merged


def _mean_of_rows(parts: list[dict[str, float]]) -> dict[str, float]:
    """Each row's mean over those that have it: zero-shot rows are everyone's."""
    names = dict.fromkeys(name for one in parts for name in one)
    return {name: round(statistics.fmean(one[name] for one in parts if name in one), 2) for name in names}


def counted_rows(summary: dict[str, Any]) -> dict[str, float]:
    """F1 of the rows that have gold spans, of what distill.evaluation.summarise returned.

    The others have an F1 of 0, and the worst row is chosen without them: they are what is worse than it.
    """
    worst = summary["worst"]
    return {name: value for name, value in summary["f1"].items() if worst and value >= worst[1]}


def best_run(results: dict[str, Any]) -> dict[str, Any]:
    """The run with the highest macro F1 on dev that gave one student.

    :raises ValueError: if none did (strategy D0 gives one a language).
    """
    runs = [run for run in results["runs"] if run["student"]]
    if not runs:
        raise ValueError("no run gave a student of all languages (strategy D0 gives one for each)")
    return max(runs, key=lambda run: float(run["dev"]["all"]["macro_f1"]))


def metrics_of_run(run: dict[str, Any], own: Recipe) -> dict[str, Any]:
    """A run's test scores in the shape that a bundle's manifest and card hold, under names that say what they are.

    :param own: the run's recipe, with its variant's changes.
    """
    main = f"{source_title(own.labels.source)} test"
    limits = {main: ("test", own.evaluation.test), "gold test": ("gold", own.evaluation.gold)}
    found: dict[str, Any] = {"measured_on": "raw text, before quantization; strict span F1 in percent"}
    for title, (part, limit) in limits.items():
        name = title if limit is None else f"{title}, first {limit} sentences"
        for which, figures in run.get(part, {}).items():
            if which == "confusion":
                continue
            worst = figures["worst"] or ["none", 0.0]
            found[name if which == "all" else f"{name}, {which}"] = {
                "per_language": figures["f1"],
                "macro_f1": figures["macro_f1"],
                "std": figures["std"],
                "worst": f"{worst[0]} {worst[1]:.2f}",
            }
    return found


def _about(recipe: Recipe, path: Path) -> dict[str, Any]:
    return {
        "recipe": recipe.model_dump(mode="json"),
        "path": str(path),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": _machine(),
        "data": data_hashes(recipe.mixture()),
    }


def _machine() -> str:
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{processor()}, {len(os.sched_getaffinity(0))} cores{gpu}, torch {torch.__version__}"

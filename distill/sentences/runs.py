"""A whole recipe of sentence encoders: every variant with every seed, and what came out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from distill.console import console
from distill.files import write_json
from distill.recipe_tables import Variant
from distill.sentences.judging import judge
from distill.sentences.materials import SentenceMaterials
from distill.sentences.model import load_encoder, parameter_count
from distill.sentences.recipe import SentenceRecipe, load_sentence_recipe
from distill.sentences.splits import similarity_root
from distill.sentences.stages import make_assistant, make_bottleneck, make_contrastive, make_recurrent, stages_of
from distill.store import Store, first_process
from distill.studies import RESULTS, Place
from distill.training import accelerator_for, choose_device


def run_sentence_recipe(path: Path, *, out: Path, place: Place, only: Sequence[str] = ()) -> dict[str, Any]:
    """Run a recipe and write `out`/results.json; what exists already is reused.

    :param only: these variants only.
    :raises ValueError: if the recipe is wrong, or `only` names a variant it has not.
    :raises FileNotFoundError: if there is no tokenizer or no similarity data.
    """
    recipe = load_sentence_recipe(path)
    if unknown := sorted(set(only) - {variant.name for variant, _ in recipe.runs()}):
        raise ValueError(f"{path} has no variant {', '.join(unknown)}")
    if not Path(recipe.tokenizer).is_file():
        command = "onoma train-tokenizer --sentence-encoder --out"
        raise FileNotFoundError(f"{path}: tokenizer {recipe.tokenizer} is not there; `{command}` makes one")
    similarity_root()
    done = []
    out.mkdir(parents=True, exist_ok=True)
    about = {
        "kind": recipe.kind,
        "recipe": recipe.model_dump(mode="json"),
        "path": str(path),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "data": recipe.data.hashes(),
    }
    for variant, seed in recipe.runs():
        if only and variant.name not in only:
            continue
        done.append({"variant": variant.name, "x": variant.x, **run_one(recipe, variant, seed, place)})
        if first_process()[0]:
            write_json(out / RESULTS, about | {"runs": done})
        console.log(f"{recipe.name}: {variant.name}, seed {seed}: dev {done[-1]['dev']['score']}")
    return about | {"runs": done}


def run_one(recipe: SentenceRecipe, variant: Variant, seed: int, place: Place) -> dict[str, Any]:
    """One variant with one seed: the four stages, as far as the recipe asks for them."""
    device = choose_device(place.device)
    accelerator = accelerator_for(device)
    device = accelerator.device if accelerator.use_distributed and device.type != "cpu" else device
    store = Store(place.store)
    materials = SentenceMaterials(recipe.resolved(variant), store, place.cache, device)
    own = materials.recipe
    made: dict[str, Path] = {}
    if own.contrastive.checkpoint is None:
        made["assistant"] = make_assistant(materials, seed=seed)
        made["bottleneck"] = make_bottleneck(materials, made["assistant"], seed=seed)
        made["recurrent"] = make_recurrent(materials, made["assistant"], made["bottleneck"], seed=seed)
        before = made["recurrent"]
    else:
        before = Path(own.contrastive.checkpoint)
    made["student"] = make_contrastive(materials, before, seed=seed)
    judged = {name: judge(materials, folder) for name, folder in made.items()} if own.evaluation.test else {}
    return {
        **({"test": judged} if judged else {}),
        "seed": seed,
        "stages": stages_of(made["student"]),
        "dev": materials.evaluate(load_encoder(made["student"])[0].to(device)),
        "student": str(made["student"]),
        "artefacts": {name: str(folder) for name, folder in made.items()},
        "parameters": {name: parameter_count(load_encoder(folder)[0].config) for name, folder in made.items()},
        "config": asdict(load_encoder(made["student"])[0].config),
        "reused": store.reused,
        "made": store.made,
    }

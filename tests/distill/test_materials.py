"""What a run's steps are made from: which teachers are refused, and how often one is asked."""

from __future__ import annotations

import os

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # before anything imports ray

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from families import wordpiece
from toydata import Toy, random_packed

from distill import cluster, dataset, materials, teacher_cache
from distill.alignment import Targets
from distill.batches import epoch_batches, gather
from distill.dataset import Packed
from distill.materials import Materials
from distill.recipe import load_recipe
from distill.store import Store
from distill.teacher_cache import TargetSource
from distill.teachers import TeacherConfig, build_teacher, save_teacher

RAY = pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray(\..*)?", r"ignore::FutureWarning:ray(\..*)?")
CACHES = pytest.mark.parametrize("cache", ["disk", "memory"])


def made(toy: Toy, changes: dict[str, Any] | None = None, device: str = "cpu") -> Materials:
    recipe = load_recipe(toy.write(changes or {}))
    return Materials(recipe, store=Store(toy.place.store), cache=toy.place.cache, device=torch.device(device))


def all_of(source: TargetSource, data: Packed) -> list[Targets]:
    return [source(gather(data, index)) for index in epoch_batches(data, batch_tokens=99, seed=3, epoch=0)]


class Counting:
    """A function that counts its calls."""

    def __init__(self, original: Any) -> None:
        self.original, self.calls = original, 0

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.calls += 1
        return self.original(*arguments, **options)


def counting(patch: pytest.MonkeyPatch, owner: Any, name: str) -> Counting:
    patch.setattr(owner, name, counter := Counting(getattr(owner, name)))
    return counter


# Teachers


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_a_teacher_of_other_labels_stops_the_run_before_anything_is_made(toy: Toy, engine: str) -> None:
    teacher = shutil.copytree(toy.content["teacher"]["path"], toy.root / "teacher")
    path = teacher / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"id2label": {**config["id2label"], "6": "I-MISC"}}))
    with pytest.raises(ValueError, match=r"the teacher has \[.*'I-MISC'\], the student \[.*'I-LOC'\]"):
        toy.run({"teacher.path": str(teacher), "teacher.engine": engine})
    assert not list(toy.place.store.glob("*-*")) and not list(toy.place.cache.glob("teacher-*"))


@pytest.mark.parametrize("layer", [-4, 3])
def test_a_layer_that_the_teacher_lacks_stops_the_run_before_anything_is_made(toy: Toy, layer: int) -> None:
    with pytest.raises(ValueError, match=rf"teacher\.layer must be in -3\.\.2 .* 2 hidden layers\), got {layer}"):
        toy.run({"teacher.layer": layer})
    assert not list(toy.place.store.glob("*-*")) and not list(toy.place.cache.glob("teacher-*"))


def test_a_teacher_that_takes_less_than_the_longest_example_sees_the_text(toy: Toy) -> None:
    assert not made(toy).keeps_texts
    teacher = toy.root / "short"
    shape = TeacherConfig(architecture="bert", layers=2, hidden=12, heads=2, intermediate=16, max_length=8)
    tokenizer = made(toy).tokenizer
    save_teacher(build_teacher(shape, vocabulary=tokenizer.get_vocab_size()), tokenizer, teacher)
    own = made(toy, {"teacher.path": str(teacher)})
    assert own.keeps_texts and own.unlabelled.texts is not None and own.unlabelled.lengths.max() > 8
    found = all_of(own.targets(own.unlabelled, representation=False), own.unlabelled)
    assert all(bool(targets.known.all()) for targets in found)


def test_a_vocabulary_without_marks_has_no_first_pieces(toy: Toy) -> None:
    path = toy.root / "wordpiece.json"
    wordpiece().save(str(path))
    own = made(toy, {"tokenizer": str(path), "loss.pieces": "first"})
    with pytest.raises(ValueError, match=r"loss\.pieces is 'first', but no piece of .*wordpiece\.json begins with '▁'"):
        _ = own.chosen
    assert made(toy, {"tokenizer": str(path)}).chosen is None


# How often the teacher is asked


@CACHES
def test_a_run_asks_the_teacher_once_for_each_data(toy: Toy, cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = counting(monkeypatch, teacher_cache, "label_shard")
    checked = counting(monkeypatch, teacher_cache, "missing_shards")
    toy.run({"schedule.strategy": "D4.2", "teacher.cache": cache})
    assert asked.calls == 2, "the transfer set and dev, of one shard each, whatever the number of steps"
    assert checked.calls == (2 if cache == "disk" else 0), "shards are hashed once"


@CACHES
def test_states_and_logits_come_of_one_pass(toy: Toy, cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = counting(monkeypatch, teacher_cache, "label_shard")
    own = made(toy, {"teacher.cache": cache})
    both = all_of(own.targets(own.unlabelled, representation=True), own.unlabelled)
    logits = all_of(own.targets(own.unlabelled, representation=False), own.unlabelled)
    assert asked.calls == 1 and all(not one.hidden for one in logits)
    assert all(torch.equal(one.logits, other.logits) for one, other in zip(both, logits, strict=True))
    own.targets(own.everything, representation=False)
    assert asked.calls == 2
    alone = made(toy, {"teacher.cache": cache, "schedule.strategy": "D1"})
    alone.targets(alone.unlabelled, representation=False)
    assert asked.calls == 3 and list(alone._found) == [(alone.unlabelled.digest, ())], "D1 needs no states"


@CACHES
@pytest.mark.parametrize("first", [True, False])
def test_only_files_are_made_by_one_process_for_all(
    toy: Toy, cache: str, first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = made(toy, {"teacher.cache": cache})
    data, _ = own.unlabelled, own.tokenizer_path
    events: list[str] = []

    @contextmanager
    def locked(path: Path) -> Iterator[None]:
        events.append("lock")
        yield

    monkeypatch.setattr(materials, "first_process", lambda: (first, lambda: events.append("wait")))
    monkeypatch.setattr(materials, "locked", locked)
    asked = counting(monkeypatch, teacher_cache, "label_shard")
    for _ in range(2):
        own.targets(data, representation=False)
    together = ["lock", "wait"] if first else ["wait", "lock"]
    assert events == (together if cache == "disk" else []) and asked.calls == 1


def test_every_cache_gives_the_same(toy: Toy) -> None:
    found = []
    for cache in ("none", "memory", "disk"):
        own = made(toy, {"teacher.cache": cache})
        source, data = own.targets(own.unlabelled, representation=True), own.unlabelled
        # In the batches that the teacher was asked in, for its last bits depend on these.
        index = epoch_batches(data, batch_tokens=16_384, seed=0, epoch=0)
        found.append([source(gather(data, at)) for at in index])
    for live, memory, disk in zip(*found, strict=True):
        for one in (memory, disk):
            assert torch.equal(live.logits, one.logits) and torch.equal(live.hidden[1], one.hidden[1])


def test_a_gpus_answers_are_others_than_a_cpus(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(materials, "teacher_targets", lambda *_, fingerprint, **__: seen.append(fingerprint))
    monkeypatch.setattr(materials, "_answers", lambda *_: None)
    for device in ("cpu", "cuda"):
        own = made(toy, device=device)
        own._answered(own.unlabelled, (1,), own.tokenizer_path)
    assert seen[1] == f"{seen[0]} cuda" and seen[0].split()[0] == own.teacher.fingerprint


def test_rays_actors_are_told_the_device(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, Any] = {}
    monkeypatch.setattr(cluster, "label_with_ray", lambda load, data, **options: told.update(options, load=load))
    monkeypatch.setattr(materials, "_answers", lambda teacher, tokenizer, device, *_: device)
    own = made(toy, {"teacher.engine": "ray"}, device="cuda:1")
    own._answered(own.unlabelled, (), own.tokenizer_path)
    assert told["device"] == told["load"]() == torch.device("cuda"), "an actor numbers its only GPU 0"
    assert told["fingerprint"].endswith(" cuda") and told["workers"] == 2


@RAY
@pytest.mark.slow
def test_ray_makes_the_local_engines_shards(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a real Ray of two workers."""
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(materials, "teacher_targets", partial(materials.teacher_targets, shard_pieces=300))
    monkeypatch.setattr(cluster, "label_with_ray", partial(cluster.label_with_ray, shard_pieces=300))
    shards: dict[str, dict[str, bytes]] = {}
    found = {}
    assert torch.get_num_threads() == 1
    for engine in ("local", "ray"):
        own = made(toy, {"teacher.engine": engine, "teacher.workers": 2})
        own.cache = toy.root / engine
        found[engine] = all_of(own.targets(own.unlabelled, representation=True), own.unlabelled)
        (folder,) = own.cache.glob("teacher-*")
        shards[engine] = {f"{folder.name}/{path.name}": path.read_bytes() for path in folder.iterdir()}
    assert not ray.is_initialized()
    assert shards["ray"] == shards["local"] and len(shards["ray"]) >= 6, "two shards or more of three files"
    for one, other in zip(found["local"], found["ray"], strict=True):
        assert torch.equal(one.logits, other.logits) and torch.equal(one.hidden[1], other.hidden[1])


# Digests


def test_data_are_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    one, same, other = random_packed([3, 2]), random_packed([3, 2]), random_packed([3, 2], seed=1)
    hashes = Counting(dataset.hashlib.sha256)
    monkeypatch.setattr(dataset, "hashlib", SimpleNamespace(sha256=hashes))
    assert one.digest == one.digest and hashes.calls == 1
    assert same.digest == one.digest != other.digest and hashes.calls == 3

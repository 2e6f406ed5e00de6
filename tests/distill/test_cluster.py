"""Labelling by a real Ray of two workers: file for file what the serial engine writes."""

from __future__ import annotations

import os

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # before anything imports ray

import builtins
import subprocess
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toydata import random_packed

from distill.alignment import Answers, SharedPieces, Targets
from distill.batches import epoch_batches, gather
from distill.cluster import label_with_ray
from distill.dataset import Packed
from distill.teacher_cache import Mode, TargetSource, teacher_targets

pytestmark = pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray(\..*)?", r"ignore::FutureWarning:ray(\..*)?")
DATA = replace(random_packed([3, 5, 3, 2, 5, 4, 1, 7, 3, 2]), texts=tuple("abcdefghij"))
OPTIONS: dict[str, Any] = {"fingerprint": "toy", "shard_pieces": 10, "batch_tokens": 6}


HEAD = """
import ray
print("\\naddress", ray.init(address="local", num_cpus=2, include_dashboard=False).address_info["address"], flush=True)
input()
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A cluster that another process runs, at RAY_ADDRESS."""
    with subprocess.Popen(
        [sys.executable, "-c", HEAD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as head:
        assert head.stdout is not None
        address = next((line.split()[1] for line in head.stdout if line.startswith("address")), None)
        assert address is not None, head.communicate()[1]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("RAY_ADDRESS", address)
            yield
        head.communicate("\n", timeout=60)


def toy(trace: Path, dies_at: int = 0) -> Callable[[], Answers]:
    """A teacher that notes in a file which process loaded it; all inside, so that Ray pickles it by value."""

    def load() -> Answers:
        from types import SimpleNamespace

        class Teacher(torch.nn.Module):
            calls = 0

            def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, output_hidden_states: bool) -> Any:
                self.calls += 1
                if self.calls == dies_at:
                    raise RuntimeError("the teacher broke")
                place = torch.arange(input_ids.shape[1]) / 8
                states = [(input_ids + place)[..., None] * torch.arange(1, width + 1) / 16 for width in (7, 3)]
                return SimpleNamespace(logits=states[0], hidden_states=(states[1],))

        with trace.open("a") as file:
            file.write(f"{os.getpid()} {torch.get_num_threads()}\n")
        return SharedPieces(Teacher(), device=torch.device("cpu"), layers=(0,))

    return load


def serial(cache: Path, load: Callable[[], Answers], mode: Mode = "disk") -> TargetSource:
    return teacher_targets(load(), DATA, mode=mode, cache=cache, **OPTIONS)


def content(cache: Path) -> dict[str, bytes]:
    return {str(path.relative_to(cache)): path.read_bytes() for path in cache.rglob("*") if path.is_file()}


def all_of(source: TargetSource, data: Packed = DATA) -> list[Targets]:
    return [source(gather(data, index)) for index in epoch_batches(data, batch_tokens=9, seed=3, epoch=0)]


@pytest.mark.slow
@pytest.mark.ray
def test_two_workers_write_the_serial_engines_files(tmp_path: Path) -> None:
    """In a Ray of its own, which is gone afterwards."""
    ray = pytest.importorskip("ray")
    trace = tmp_path / "trace"
    want = all_of(serial(tmp_path / "serial", toy(tmp_path / "here")))
    found = all_of(label_with_ray(toy(trace), DATA, cache=tmp_path / "ray", workers=2, **OPTIONS))
    assert content(tmp_path / "ray") == content(tmp_path / "serial") and len(content(tmp_path / "ray")) > 9
    for one, other in zip(found, want, strict=True):
        assert torch.equal(one.logits, other.logits) and torch.equal(one.hidden[0], other.hidden[0])
    loaded = [line.split() for line in trace.read_text().splitlines()]
    assert 1 <= len(loaded) <= 2, "each actor loads the teacher once, whatever the number of shards"
    assert {threads for _, threads in loaded} == {"1"} and str(os.getpid()) not in {process for process, _ in loaded}
    assert not ray.is_initialized()


class FakeRay:
    """Does the work in this process; keeps what was put, and what each actor asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stored: list[Packed] = []
        self.asked: dict[str, Any] = {}
        ray, data = types.ModuleType("ray"), types.ModuleType("ray.data")
        context = types.SimpleNamespace(enable_progress_bars=True)
        vars(data).update(DataContext=types.SimpleNamespace(get_current=lambda: context), from_items=self._from_items)
        vars(ray).update(data=data, is_initialized=lambda: True, put=self._put, get=lambda at: self.stored[at])
        monkeypatch.setitem(sys.modules, "ray", ray)
        monkeypatch.setitem(sys.modules, "ray.data", data)

    def _put(self, data: Packed) -> int:
        self.stored.append(data)
        return len(self.stored) - 1

    def _from_items(self, rows: Sequence[dict[str, Any]], *, override_num_blocks: int) -> Any:
        def map_rows(actor: Any, *, fn_constructor_kwargs: dict[str, Any], **asked: Any) -> Any:
            self.asked = asked
            run = actor(**fn_constructor_kwargs)
            return types.SimpleNamespace(iter_rows=lambda: map(run, rows))

        return types.SimpleNamespace(map=map_rows)


def test_an_actor_is_given_its_shards_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serial(tmp_path / "serial", toy(tmp_path / "here"))
    fake = FakeRay(monkeypatch)
    label_with_ray(toy(tmp_path / "trace"), DATA, cache=tmp_path / "ray", workers=2, **OPTIONS)
    assert content(tmp_path / "ray") == content(tmp_path / "serial")
    assert len(fake.stored) > 2 and sum(len(one) for one in fake.stored) == len(DATA)
    assert max(one.pieces for one in fake.stored) <= 2 * OPTIONS["shard_pieces"] < DATA.pieces
    (folder,) = (tmp_path / "ray").iterdir()
    (folder / "shard-00001.json").unlink()
    fake.stored.clear()
    label_with_ray(toy(tmp_path / "trace"), DATA, cache=tmp_path / "ray", workers=2, **OPTIONS)
    assert len(fake.stored) == 1, "what is there is not sent out"
    assert content(tmp_path / "ray") == content(tmp_path / "serial")


@pytest.mark.parametrize(("device", "wants"), [("cpu", {"num_cpus": 1}), ("cuda", {"num_gpus": 1})])
def test_each_actor_takes_a_gpu_where_there_are_some(
    device: str, wants: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeRay(monkeypatch)
    options = OPTIONS | {"device": torch.device(device)}
    label_with_ray(toy(tmp_path / "trace"), DATA, cache=tmp_path / "ray", workers=2, **options)
    assert fake.asked == {"concurrency": 2, **wants}


@pytest.mark.slow
@pytest.mark.ray
def test_ray_finishes_what_the_serial_engine_began(cluster: None, tmp_path: Path) -> None:
    serial(tmp_path / "whole", toy(tmp_path / "here"))
    with pytest.raises(RuntimeError, match="the teacher broke"):
        serial(tmp_path / "half", toy(tmp_path / "here", dies_at=7))
    (folder,) = (tmp_path / "half").iterdir()
    began = {path: path.stat().st_mtime_ns for path in folder.glob("*-00000.*")}
    assert len(began) == 3 and len(list(folder.glob("shard-*.json"))) < len(list((tmp_path / "whole").rglob("shard-*")))
    label_with_ray(toy(tmp_path / "trace"), DATA, cache=tmp_path / "half", workers=2, **OPTIONS)
    assert content(tmp_path / "half") == content(tmp_path / "whole")
    assert {path: path.stat().st_mtime_ns for path in began} == began, "what was there is not made again"


@pytest.mark.slow
@pytest.mark.ray
def test_the_serial_engine_finishes_what_ray_began(cluster: None, tmp_path: Path) -> None:
    serial(tmp_path / "whole", toy(tmp_path / "here"))
    with pytest.raises(Exception, match="the teacher broke"):
        label_with_ray(toy(tmp_path / "trace", dies_at=4), DATA, cache=tmp_path / "half", workers=1, **OPTIONS)
    assert content(tmp_path / "half") != content(tmp_path / "whole")
    serial(tmp_path / "half", toy(tmp_path / "here"))
    assert content(tmp_path / "half") == content(tmp_path / "whole")


def test_a_whole_cache_starts_no_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serial(tmp_path, toy(tmp_path / "here"))
    without_ray(monkeypatch)
    (batch, *_) = epoch_batches(DATA, batch_tokens=9, seed=3, epoch=0)
    source = label_with_ray(toy(tmp_path / "trace"), DATA, cache=tmp_path, workers=2, **OPTIONS)
    assert source(gather(DATA, batch)).logits.shape[-1] == 7 and not (tmp_path / "trace").exists()


def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_ray(monkeypatch)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'onoma\[ray\]'"):
        label_with_ray(toy(tmp_path / "trace"), DATA, cache=tmp_path, workers=2, **OPTIONS)


def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: Any, **more: Any) -> Any:
        if name.partition(".")[0] == "ray":
            raise ModuleNotFoundError("No module named 'ray'")
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)


def test_wrong_settings_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        label_with_ray(toy(tmp_path), DATA, cache=tmp_path, workers=0, **OPTIONS)
    with pytest.raises(ValueError, match="transfer set is empty"):
        label_with_ray(toy(tmp_path), random_packed([0]), cache=tmp_path, workers=1, **OPTIONS)
    assert np.array_equal(list(tmp_path.iterdir()), [])

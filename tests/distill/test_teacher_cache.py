"""The teacher's answers: the same from disk, memory and the teacher itself, whatever breaks in between."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from toydata import Killed, random_packed

from distill import teacher_cache
from distill.alignment import SharedPieces, Targets
from distill.batches import Batch, epoch_batches, gather
from distill.dataset import Packed, select
from distill.teacher_cache import Mode, TargetSource, standard_of, teacher_targets

CPU = torch.device("cpu")
DATA = random_packed([3, 5, 3, 2, 5, 4, 1, 7, 3, 2])


class Teacher(nn.Module):
    """Outputs that depend on piece and place; counts its calls and dies at call `dies_at`."""

    def __init__(self, dies_at: int | None = None) -> None:
        super().__init__()
        self.calls, self.dies_at = 0, dies_at

    def forward(self, input_ids: Tensor, attention_mask: Tensor, output_hidden_states: bool) -> Any:
        self.calls += 1
        if self.calls == self.dies_at:
            raise Killed
        place = torch.arange(input_ids.shape[1]) / 9
        states = [(input_ids + place)[..., None] * torch.arange(1, width + 1) / 16 for width in (7, 3, 4)]
        return SimpleNamespace(logits=states[0], hidden_states=tuple(states[1:]) if output_hidden_states else None)


def targets(teacher: Teacher, cache: Path, mode: Mode = "disk", data: Packed = DATA, **more: Any) -> TargetSource:
    layers = more.pop("layers", ())
    options = {"fingerprint": f"a {layers}", "shard_pieces": 10, "batch_tokens": 6, **more}
    answers = SharedPieces(teacher, device=CPU, layers=layers)
    return teacher_targets(answers, data, mode=mode, cache=cache, **options)


def all_of(source: TargetSource, data: Packed = DATA) -> list[Tensor]:
    batches = [gather(data, index) for index in epoch_batches(data, batch_tokens=9, seed=3, epoch=0)]
    found = [source(batch) for batch in batches]
    return [tensor for one in found for tensor in (one.logits, *one.hidden.values())]


@pytest.mark.parametrize("layers", [(), (0,), (1, -1)])
def test_every_mode_gives_the_same(tmp_path: Path, layers: tuple[int, ...]) -> None:
    modes: tuple[Mode, ...] = ("none", "disk", "memory")
    live, disk, memory = (all_of(targets(Teacher(), tmp_path, mode, layers=layers)) for mode in modes)
    assert len(live) == len(disk) == len(memory) and len(live) % (1 + len(layers)) == 0
    for one, other, third in zip(live, disk, memory, strict=True):
        assert one.dtype == other.dtype == torch.float32
        assert torch.equal(one, other) and torch.equal(other, third)
    exact = SharedPieces(Teacher(), device=CPU)(DATA, np.array([7])).logits  # not of fp16
    assert not torch.equal(exact, exact.half().float()), "so that rounding shows"


@pytest.mark.parametrize("texts", [None, tuple("abcdefghij")])
def test_a_slice_is_selected_as_its_mask_is_without_a_copy(texts: tuple[str, ...] | None) -> None:
    data = replace(DATA, texts=texts)
    for low, high in ((0, 10), (0, 0), (2, 7), (9, 10), (7, 2), (4, 99), (None, 3), (-2, None)):
        chosen = np.zeros(len(data), dtype=np.bool_)
        chosen[low:high] = True
        one, other = select(data, slice(low, high)), select(data, chosen)
        for name in ("ids", "tags", "offsets", "language"):
            assert np.array_equal(getattr(one, name), getattr(other, name))
            assert getattr(one, name).dtype == getattr(other, name).dtype
        assert one.texts == other.texts and one.languages == other.languages
    assert np.shares_memory(select(data, slice(2, 7)).ids, data.ids)
    with pytest.raises(ValueError, match="the slice must have no step, got 2"):
        select(data, slice(0, 10, 2))


def test_shards_hold_fp16_and_whole_examples(tmp_path: Path) -> None:
    targets(Teacher(), tmp_path, layers=(1,))
    (folder,) = tmp_path.iterdir()
    shards = sorted(folder.glob("shard-*.json"))
    sizes = [len(np.load(folder / f"logits-{number:05}.npy")) for number in range(len(shards))]
    assert set(json.loads(shards[1].read_text())) == {"logits-00001.npy", "hidden1-00001.npy"}
    assert len(shards) > 2 and sum(sizes) == DATA.pieces and set(np.cumsum(sizes)) <= set(DATA.offsets)
    assert np.load(folder / "hidden1-00000.npy").dtype == np.float16
    assert np.load(folder / "hidden1-00000.npy").shape == (sizes[0], 4)


def test_the_teacher_runs_once_until_it_or_the_data_change(tmp_path: Path) -> None:
    teacher = Teacher()
    first = all_of(targets(teacher, tmp_path))
    calls = teacher.calls
    assert all(map(torch.equal, all_of(targets(teacher, tmp_path)), first)) and teacher.calls == calls
    other_tags = Packed(DATA.ids, np.full_like(DATA.tags, -1), DATA.offsets, DATA.language, DATA.languages)
    targets(teacher, tmp_path, data=other_tags)
    assert teacher.calls == calls, "labels are nothing to the teacher"
    changes: list[dict[str, Any]] = [{"fingerprint": "b"}, {"layers": (0,)}, {"data": random_packed([3, 5, 3], seed=9)}]
    for change in changes:
        before = teacher.calls
        targets(teacher, tmp_path, **change)
        assert teacher.calls > before
    assert len(list(tmp_path.iterdir())) == 4


def test_other_answers_of_the_same_teacher_are_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert teacher_cache.ANSWERS_VERSION == 1
    targets(Teacher(), tmp_path)
    monkeypatch.setattr(teacher_cache, "ANSWERS_VERSION", 2)
    teacher = Teacher()
    targets(teacher, tmp_path)
    assert teacher.calls and len(list(tmp_path.iterdir())) == 2


def test_a_broken_run_goes_on_with_the_next_shard(tmp_path: Path) -> None:
    whole = Teacher()
    want = all_of(targets(whole, tmp_path / "whole"))
    with pytest.raises(Killed):
        targets(Teacher(dies_at=whole.calls // 2), tmp_path / "broken")
    rest = Teacher()
    found = all_of(targets(rest, tmp_path / "broken"))
    assert 0 < rest.calls < whole.calls
    assert all(map(torch.equal, found, want))


@pytest.mark.parametrize("damage", ["flip", "remove"])
def test_a_damaged_shard_is_made_again(tmp_path: Path, damage: str) -> None:
    whole = Teacher()
    want = all_of(targets(whole, tmp_path))
    (folder,) = tmp_path.iterdir()
    path = folder / "logits-00001.npy"
    if damage == "flip":
        content = bytearray(path.read_bytes())
        content[-3] ^= 1
        path.write_bytes(content)
    else:
        path.unlink()
    again = Teacher()
    assert all(map(torch.equal, all_of(targets(again, tmp_path)), want))
    assert 0 < again.calls < whole.calls
    assert len(list(folder.glob("shard-*.json"))) == len(list(folder.glob("logits-*.npy")))


def test_wrong_settings_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be disk, memory or none, got 'tape'"):
        targets(Teacher(), tmp_path, "tape")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="transfer set is empty"):
        targets(Teacher(), tmp_path, data=random_packed([0]))


class Half:
    """States that are the piece's id and its square; no opinion of odd pieces."""

    def __init__(self, *, silent: bool) -> None:
        self.silent = silent

    def __call__(self, batch: Batch) -> Targets:
        ids = batch.ids[..., None].float()
        rows = torch.cat([ids, ids**2], dim=-1).masked_fill((ids % 2 == 1) | self.silent, torch.nan)
        return Targets(rows, {0: rows})


def test_states_are_scaled_by_those_that_the_teacher_has() -> None:
    data = random_packed([3, 5, 3, 2, 5, 4])
    even = torch.from_numpy(data.ids[data.ids % 2 == 0].astype(np.float32))
    assert 2 < len(even) < data.pieces
    rows = torch.stack([even, even**2], dim=1)
    want = torch.stack([rows.mean(dim=0), rows.std(dim=0)])
    torch.testing.assert_close(standard_of(Half(silent=False), data, 0), want)
    with pytest.raises(ValueError, match="no opinion of any of the 22 pieces"):
        standard_of(Half(silent=True), data, 0)

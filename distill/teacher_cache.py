"""What the teacher says about every piece of the transfer set: computed once, or as it is needed.

On disk lie shards of logits and chosen hidden states in fp16, memory-mapped when read, each with a manifest of their
SHA-256. Arrays are written under a temporary name and renamed when whole, the manifest last: a run that breaks off goes
on with the next shard, and half a shard is never read. Shards are independent, so that many workers can write them.
"""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distill.alignment import Answers, Targets
from distill.batches import Batch, epoch_batches, gather, piece_positions
from distill.console import console, follow
from distill.dataset import Packed, select
from distill.files import write_array, write_json
from onoma.bundle import sha256

Mode = Literal["disk", "memory", "none"]
Halves = NDArray[np.float16]
LOGITS = "logits"
# Goes into the hash of every folder of shards: to be raised when distill.alignment gives other answers than before.
ANSWERS_VERSION = 1


class TargetSource(Protocol):
    """Gives the teacher's targets of a batch, on the batch's device."""

    def __call__(self, batch: Batch) -> Targets:
        """Targets of one batch."""
        ...


class LiveTargets:
    """Asks the teacher for each batch: no disk, no memory, the teacher's time in every epoch.

    Answers are rounded to fp16, as the stored ones are.
    """

    def __init__(self, answers: Answers, data: Packed) -> None:
        self._answers, self._data = answers, data

    def __call__(self, batch: Batch) -> Targets:
        """Targets of one batch."""
        found = self._answers(self._data, batch.index)
        logits, *hidden = (
            rows.half().float().to(batch.ids.device) for rows in (found.logits, *found.hidden.values())
        )
        return Targets(logits, dict(zip(found.hidden, hidden, strict=True)))


class StoredTargets:
    """Looks targets up in arrays: one of (pieces, C or D) for the logits and each layer, in parts of whole examples."""

    def __init__(self, data: Packed, parts: dict[str, list[Halves]]) -> None:
        self._data, self._parts = data, parts
        self._begins = np.cumsum([0, *(len(part) for part in parts[LOGITS])])[:-1]

    def __call__(self, batch: Batch) -> Targets:
        """Targets of one batch."""
        positions = piece_positions(self._data, batch.index)
        found = {name: self._rows(name, positions).to(batch.ids.device) for name in self._parts}
        logits = found.pop(LOGITS)
        return Targets(logits, {int(name.removeprefix("hidden")): rows for name, rows in found.items()})

    def without_states(self) -> StoredTargets:
        """The logits alone: nothing else is read."""
        return StoredTargets(self._data, {LOGITS: self._parts[LOGITS]})

    def _rows(self, name: str, positions: NDArray[np.int64]) -> Tensor:
        parts = self._parts[name]
        rows = np.empty((*positions.shape, parts[0].shape[1]), dtype=np.float32)
        owner = np.searchsorted(self._begins, positions[:, 0], side="right") - 1
        for part in np.unique(owner):
            own = owner == part
            rows[own] = parts[part][positions[own] - self._begins[part]]
        return torch.from_numpy(rows)


def teacher_targets(
    answers: Answers,
    data: Packed,
    *,
    mode: Mode,
    cache: Path,
    fingerprint: str,
    shard_pieces: int = 2_000_000,
    batch_tokens: int = 16_384,
) -> TargetSource:
    """The teacher's targets for `data`, from the cache if this teacher has seen this data.

    :param mode: `disk` for shards under `cache`, `memory` for arrays in memory, `none` to ask the teacher each time.
    :param fingerprint: what tells these answers from others: the hash of the weights, the layers, the tokenizer.
    :raises ValueError: if the mode is another, or there are no examples.
    """
    if mode == "none":
        return LiveTargets(answers, data)
    if mode not in ("disk", "memory"):
        raise ValueError(f"cache must be disk, memory or none, got {mode!r}")
    shards = cut(data, shard_pieces)
    if mode == "memory":
        made = [label_shard(answers, select(data, one), batch_tokens=batch_tokens) for one in shards]
        return StoredTargets(data, {name: [shard[name] for shard in made] for name in made[0]})
    folder = shard_folder(cache, data, fingerprint=fingerprint, shard_pieces=shard_pieces)
    for number in missing_shards(folder, len(shards)):
        write_shard(folder, number, label_shard(answers, select(data, shards[number]), batch_tokens=batch_tokens))
        console.log(f"teacher: shard {number + 1} of {len(shards)}")
    return stored_targets(folder, data, len(shards))


def cut(data: Packed, pieces: int) -> list[slice]:
    """The examples of each shard: about `pieces` pieces, at least one.

    :raises ValueError: if there are no pieces at all.
    """
    if not data.pieces:
        raise ValueError("the transfer set is empty")
    cuts = np.searchsorted(data.offsets, np.arange(pieces, data.pieces, pieces)).tolist()
    borders = pairwise([0, *cuts, len(data)])
    return [slice(low, high) for low, high in borders if data.offsets[low] < data.offsets[high]]


def shard_folder(cache: Path, data: Packed, *, fingerprint: str, shard_pieces: int) -> Path:
    """Where the shards of this teacher's answers for this data lie."""
    digest = hashlib.sha256(json.dumps([ANSWERS_VERSION, fingerprint, shard_pieces]).encode())
    for array in (data.ids, data.offsets):
        digest.update(array.tobytes())
    for text in data.texts or ():  # unlike texts can have like pieces: `<unk>` is any character
        digest.update(text.encode("utf-8") + b"\0")
    return cache / f"teacher-{digest.hexdigest()[:20]}"


def missing_shards(folder: Path, count: int) -> list[int]:
    """Numbers of the shards, of `count`, that are not there whole."""
    return [number for number in range(count) if not _intact(folder, number)]


def label_shard(answers: Answers, data: Packed, *, batch_tokens: int = 16_384) -> dict[str, Halves]:
    """(pieces, C) logits and (pieces, D) hidden states of every piece."""
    made: dict[str, Halves] = {}
    for index in follow(epoch_batches(data, batch_tokens=batch_tokens, seed=0, epoch=0), "teacher"):
        targets = answers(data, index)
        found = {LOGITS: targets.logits, **{f"hidden{layer}": rows for layer, rows in targets.hidden.items()}}
        positions = piece_positions(data, index)
        for name, rows in found.items():
            if name not in made:
                made[name] = np.empty((data.pieces, rows.shape[-1]), dtype=np.float16)
            made[name][positions] = rows.cpu().numpy()
    return made


def write_shard(folder: Path, number: int, rows: dict[str, Halves]) -> None:
    """Write one shard's arrays, then its manifest with their SHA-256: without it the shard does not count."""
    files = {}
    for name, array in rows.items():
        path = folder / f"{name}-{number:05}.npy"
        write_array(path, array)
        files[path.name] = sha256(path)
    write_json(_manifest(folder, number), files)


def stored_targets(folder: Path, data: Packed, count: int) -> StoredTargets:
    """The targets in `count` whole shards, memory-mapped."""
    parts: dict[str, list[Halves]] = {}
    for number in range(count):
        for name in json.loads(_manifest(folder, number).read_text(encoding="utf-8")):
            parts.setdefault(name.rpartition("-")[0], []).append(np.load(folder / name, mmap_mode="r"))
    return StoredTargets(data, parts)


def standard_of(targets: TargetSource, data: Packed, layer: int, *, pieces: int = 200_000) -> Tensor:
    """(2, D) mean and standard deviation of the teacher's states, over about `pieces` pieces drawn at random.

    :raises ValueError: if it has no opinion of any piece.
    """
    rows: list[Tensor] = []
    seen = 0
    for index in epoch_batches(data, batch_tokens=4096, seed=0, epoch=0):
        found = targets(gather(data, index))
        hidden = found.hidden[layer][found.known]
        rows.append(hidden)
        seen += len(hidden)
        if seen >= pieces:
            break
    if not seen:
        raise ValueError(f"the teacher has no opinion of any of the {data.pieces} pieces")
    whole = torch.cat(rows)
    return torch.stack([whole.mean(dim=0), whole.std(dim=0).clamp_min(1e-6)])


def _manifest(folder: Path, number: int) -> Path:
    return folder / f"shard-{number:05}.json"


def _intact(folder: Path, number: int) -> bool:
    path = _manifest(folder, number)
    if not path.exists():
        return False
    files = json.loads(path.read_text(encoding="utf-8"))
    return all((folder / name).exists() and sha256(folder / name) == digest for name, digest in files.items())

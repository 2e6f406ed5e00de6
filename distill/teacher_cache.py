"""What the teacher says about every piece of the transfer set: computed once, or as it is needed.

On disk lie shards of logits and chosen hidden states in fp16, memory-mapped when read, with their SHA-256 in the
manifest. A shard is written under a temporary name, renamed when whole and only then listed, so a run that breaks off
goes on with the next one and half a shard is never read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distill.batches import Batch, epoch_batches, gather, piece_positions
from distill.console import console, follow
from distill.dataset import Packed, select
from distill.files import write_array, write_json
from onoma.bundle import sha256

Mode = Literal["disk", "memory", "none"]
Halves = NDArray[np.float16]
MANIFEST = "manifest.json"
LOGITS = "logits"


@dataclass(frozen=True, slots=True)
class Targets:
    """The teacher's logits (B, T, C) of a batch, and its hidden states (B, T, D) by layer, in fp32."""

    logits: Tensor
    hidden: dict[int, Tensor] = field(default_factory=dict)


class TargetSource(Protocol):
    """Gives the teacher's targets of a batch, on the batch's device."""

    def __call__(self, batch: Batch) -> Targets:
        """Targets of one batch."""
        ...


@torch.no_grad()
def teacher_outputs(model: nn.Module, ids: Tensor, layers: Sequence[int] = ()) -> Targets:
    """Logits and hidden states of a Hugging Face token classifier for (B, T) ids without padding.

    :param layers: 0 is the embeddings' output, k that of the k-th layer; negative ones count from the last.
    """
    with torch.autocast(ids.device.type, dtype=torch.bfloat16, enabled=ids.device.type == "cuda"):
        output = model(input_ids=ids, attention_mask=torch.ones_like(ids), output_hidden_states=bool(layers))
    return Targets(output.logits.float(), {layer: output.hidden_states[layer].float() for layer in layers})


class LiveTargets:
    """Asks the teacher for each batch: no disk, no memory, the teacher's time in every epoch."""

    def __init__(self, model: nn.Module, *, layers: Sequence[int], device: torch.device) -> None:
        self._model, self._layers = model.to(device).eval(), tuple(layers)

    def __call__(self, batch: Batch) -> Targets:
        """Targets of one batch."""
        return teacher_outputs(self._model, batch.ids, self._layers)


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

    def _rows(self, name: str, positions: NDArray[np.int64]) -> Tensor:
        parts = self._parts[name]
        rows = np.empty((*positions.shape, parts[0].shape[1]), dtype=np.float32)
        owner = np.searchsorted(self._begins, positions[:, 0], side="right") - 1
        for part in np.unique(owner):
            own = owner == part
            rows[own] = parts[part][positions[own] - self._begins[part]]
        return torch.from_numpy(rows)


def teacher_targets(
    model: nn.Module,
    data: Packed,
    *,
    mode: Mode,
    cache: Path,
    fingerprint: str,
    device: torch.device,
    layers: Sequence[int] = (),
    shard_pieces: int = 2_000_000,
    batch_tokens: int = 16_384,
) -> TargetSource:
    """The teacher's targets for `data`, from the cache if this teacher has seen this data.

    :param mode: `disk` for shards under `cache`, `memory` for arrays in memory, `none` to ask the teacher each time.
    :param fingerprint: what tells this teacher from others, such as the hash of its weights.
    :raises ValueError: if the mode is another, or there are no examples.
    """
    if mode == "none":
        return LiveTargets(model, layers=layers, device=device)
    if mode not in ("disk", "memory"):
        raise ValueError(f"cache must be disk, memory or none, got {mode!r}")
    if not data.pieces:
        raise ValueError("the transfer set is empty")
    model.to(device).eval()
    shards = list(_shards(data, shard_pieces))
    if mode == "memory":
        made = [_compute(model, one, layers=layers, device=device, batch_tokens=batch_tokens) for one in shards]
        return StoredTargets(data, {name: [shard[name] for shard in made] for name in made[0]})
    folder = cache / f"teacher-{_key(data, fingerprint, layers, shard_pieces)}"
    files = _read_manifest(folder)
    for number, shard in enumerate(shards):
        if number < len(files) and all(_intact(folder / name, digest) for name, digest in files[number].items()):
            continue
        rows = _compute(model, shard, layers=layers, device=device, batch_tokens=batch_tokens)
        files[number:] = [_write(folder, number, rows), *files[number + 1 :]]
        write_json(folder / MANIFEST, {"teacher": fingerprint, "pieces": data.pieces, "shards": files})
        console.log(f"teacher: shard {number + 1} of {len(shards)}")
    parts: dict[str, list[Halves]] = {}
    for shard_files in files:
        for name in shard_files:
            parts.setdefault(name.rpartition("-")[0], []).append(np.load(folder / name, mmap_mode="r"))
    return StoredTargets(data, parts)


def _shards(data: Packed, pieces: int) -> Iterator[Packed]:
    """The data cut at example borders into parts of about `pieces` pieces."""
    cuts = np.searchsorted(data.offsets, np.arange(pieces, data.pieces, pieces))
    for low, high in zip([0, *cuts], [*cuts, len(data)], strict=True):
        if data.offsets[low] < data.offsets[high]:
            yield select(data, slice(low, high))


def _key(data: Packed, fingerprint: str, layers: Sequence[int], shard_pieces: int) -> str:
    digest = hashlib.sha256(json.dumps([fingerprint, list(layers), shard_pieces]).encode())
    for array in (data.ids, data.offsets):
        digest.update(array.tobytes())
    return digest.hexdigest()[:20]


def _read_manifest(folder: Path) -> list[dict[str, str]]:
    path = folder / MANIFEST
    return list(json.loads(path.read_text(encoding="utf-8"))["shards"]) if path.exists() else []


def _intact(path: Path, digest: str) -> bool:
    return path.exists() and sha256(path) == digest


def _compute(
    model: nn.Module, data: Packed, *, layers: Sequence[int], device: torch.device, batch_tokens: int
) -> dict[str, Halves]:
    """(pieces, C) logits and (pieces, D) hidden states of every piece."""
    made: dict[str, Halves] = {}
    for index in follow(epoch_batches(data, batch_tokens=batch_tokens, seed=0, epoch=0), "teacher"):
        targets = teacher_outputs(model, gather(data, index).ids.to(device), layers)
        found = {LOGITS: targets.logits, **{f"hidden{layer}": rows for layer, rows in targets.hidden.items()}}
        positions = piece_positions(data, index)
        for name, rows in found.items():
            if name not in made:
                made[name] = np.empty((data.pieces, rows.shape[-1]), dtype=np.float16)
            made[name][positions] = rows.cpu().numpy()
    return made


def _write(folder: Path, number: int, rows: dict[str, Halves]) -> dict[str, str]:
    """Write one shard's arrays; returns file names with their SHA-256."""
    files = {}
    for name, array in rows.items():
        path = folder / f"{name}-{number:05}.npy"
        write_array(path, array)
        files[path.name] = sha256(path)
    return files

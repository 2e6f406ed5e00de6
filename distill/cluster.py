"""The teacher cache written by many workers: a Ray Data pipeline whose actors each hold the teacher.

It writes the very files that distill.teacher_cache writes, so either finishes what the other began.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from distill.alignment import Answers
from distill.console import console
from distill.dataset import Packed, select
from distill.teacher_cache import (
    TargetSource,
    cut,
    label_shard,
    missing_shards,
    shard_folder,
    stored_targets,
    write_shard,
)

_CPU = torch.device("cpu")


def label_with_ray(
    load_answers: Callable[[], Answers],
    data: Packed,
    *,
    cache: Path,
    fingerprint: str,
    workers: int,
    device: torch.device = _CPU,
    shard_pieces: int = 2_000_000,
    batch_tokens: int = 16_384,
) -> TargetSource:
    """The teacher's targets for `data` from disk; what is missing is computed by `workers` actors.

    The cluster is the one at RAY_ADDRESS, else a local one that is shut down afterwards. On a cluster `cache` must be a
    file system that all machines share, at the same path, and whatever `load_answers` reads must be on each of them.

    What must fit where: all of `data` in this process; the pieces and texts of the missing shards in Ray's object
    store, which moves to disk what it has no room for; in an actor the teacher, one shard and its answers, whatever the
    size of the corpus.

    :param load_answers: makes the teacher in an actor, on `device`; called once in each. Ray must be able to pickle it.
    :param device: on CUDA each actor takes one GPU, more actors than GPUs wait for their turn; else one CPU.
    :param cache: as `fingerprint`, `shard_pieces` and `batch_tokens`, that of distill.teacher_cache.teacher_targets.
    :raises ModuleNotFoundError: if Ray is not installed.
    :raises ValueError: if there are no workers or no examples.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    shards = cut(data, shard_pieces)
    folder = shard_folder(cache.absolute(), data, fingerprint=fingerprint, shard_pieces=shard_pieces)
    missing = missing_shards(folder, len(shards))
    if missing:
        console.log(f"teacher: {len(missing)} of {len(shards)} shards to make, {workers} workers")
        with _ray(workers) as ray:
            data_of = {number: ray.put(select(data, shards[number])) for number in missing}
            settings = {"data_of": data_of, "folder": folder, "batch_tokens": batch_tokens}
            work = ray.data.from_items([{"shard": number} for number in missing], override_num_blocks=len(missing))
            made = work.map(
                _Labeller,
                fn_constructor_kwargs={"load_answers": load_answers, **settings},
                concurrency=min(workers, len(missing)),
                **({"num_gpus": 1} if device.type == "cuda" else {"num_cpus": 1}),
            )
            for count, row in enumerate(made.iter_rows(), start=1):
                console.log(f"teacher: shard {row['shard'] + 1} is there, {count} of {len(missing)}")
    return stored_targets(folder, data, len(shards))


class _Labeller:
    """An actor: holds the teacher, writes one shard per row.

    :param data_of: Ray's references to the examples (Packed) of each missing shard, by its number.
    """

    def __init__(
        self, *, load_answers: Callable[[], Answers], data_of: dict[int, Any], folder: Path, batch_tokens: int
    ) -> None:
        torch.set_num_threads(1)
        self._answers = load_answers()
        self._data_of, self._folder, self._batch_tokens = data_of, folder, batch_tokens

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        import ray

        number = row["shard"]
        own: Packed = ray.get(self._data_of[number])
        write_shard(self._folder, number, label_shard(self._answers, own, batch_tokens=self._batch_tokens))
        return row


@contextmanager
def _ray(workers: int) -> Iterator[Any]:
    """Ray, connected to a cluster; disconnected again unless it was connected before."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("the ray engine needs Ray: pip install 'onoma[ray]'") from error

    ray.data.DataContext.get_current().enable_progress_bars = False
    if ray.is_initialized():
        yield ray
        return
    if os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=False)
    else:
        ray.init(address="local", num_cpus=workers, include_dashboard=False, log_to_driver=False)
    try:
        yield ray
    finally:
        ray.shutdown()

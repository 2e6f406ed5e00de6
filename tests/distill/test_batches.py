from __future__ import annotations

import numpy as np
import pytest
from toydata import random_packed

from distill.batches import epoch_batches, gather

LENGTHS = [3, 1, 7, 3, 3, 2, 7, 1, 0, 3, 5, 2, 3, 30]


def order(**options: int) -> list[list[int]]:
    made = epoch_batches(random_packed(LENGTHS), **{"batch_tokens": 7, "seed": 1, "epoch": 0, **options})
    return [batch.tolist() for batch in made]


@pytest.mark.parametrize("batch_tokens", [1, 7, 10_000])
def test_every_example_comes_once_an_epoch_among_its_equals(batch_tokens: int) -> None:
    made = order(batch_tokens=batch_tokens)
    seen = sorted(index for batch in made for index in batch)
    assert seen == [index for index, length in enumerate(LENGTHS) if length], "all but the empty one"
    for batch in made:
        lengths = {LENGTHS[index] for index in batch}
        assert len(lengths) == 1
        assert len(batch) == 1 or len(batch) * lengths.pop() <= batch_tokens


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    assert order() == order()
    assert order() != order(seed=2) and order() != order(epoch=1) and order(seed=2) != order(epoch=1)


def test_batches_come_in_no_order_of_length() -> None:
    data = random_packed([length for length in range(1, 30) for _ in range(4)])
    lengths = [int(data.lengths[batch[0]]) for batch in epoch_batches(data, batch_tokens=60, seed=1, epoch=0)]
    assert lengths not in (sorted(lengths), sorted(lengths, reverse=True))


def test_no_examples_no_batches() -> None:
    assert epoch_batches(random_packed([0, 0]), batch_tokens=8, seed=1, epoch=0) == []


def test_gather() -> None:
    data = random_packed([2, 3, 1, 3])
    batch = gather(data, np.array([3, 1]))
    assert batch.ids.tolist() == [data.ids[6:9].tolist(), data.ids[2:5].tolist()]
    assert batch.tags.tolist() == [data.tags[6:9].tolist(), data.tags[2:5].tolist()]
    assert batch.mask.tolist() == [[1, 1, 1]] * 2

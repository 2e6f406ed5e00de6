"""Which weights a run ends with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toydata import Killed, killing_loss, random_packed

from distill.dataset import LABELS
from distill.keeping import Keep, Keeper, mean_weights
from distill.students import Student, StudentConfig
from distill.training import Schedule, train

DATA = random_packed([5, 3, 8, 5, 1, 3, 8, 2, 6, 4] * 4)
SCHEDULE = Schedule(tokens=900, batch_tokens=24, learning_rate=1e-2)
EVERY = 150  # six evaluations


class One(nn.Module):
    """A single weight and a counter."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.register_buffer("count", torch.tensor(0))

    def put(self, value: float) -> One:
        self.weight.data.fill_(value)
        self.count.fill_(int(value))  # type: ignore[operator]
        return self


def ended(keep: Keep, seen: list[tuple[float, float]], *, of_average: float = 0.0, window: int = 3) -> float:
    """The weight to end with after (weight, score) evaluations; the average scores `of_average`."""
    model, keeper = One(), Keeper(keep, window=window)
    for value, score in seen:
        keeper.see(model.put(value), {"score": score})
    model.put(99.0)
    keeper.finish(model, lambda: {"score": of_average})
    return model.weight.item()


def test_last_stays_as_it_is() -> None:
    model, keeper = One().put(7.0), Keeper("last")
    keeper.see(model, {"no score": 1.0})
    keeper.finish(model, lambda: pytest.fail("nothing to score"))
    assert model.weight.item() == 7.0


def test_best_is_the_first_of_the_highest_score() -> None:
    assert ended("best", [(1.0, 0.2), (2.0, 0.8), (3.0, 0.8), (4.0, 0.1)]) == 2.0
    assert ended("best", [(1.0, -5.0), (2.0, -9.0)]) == 1.0, "scores may be negative losses"
    assert ended("best", []) == 99.0, "nothing seen, nothing to put back"
    assert ended("best", [(1.0, float("nan")), (2.0, 0.5), (3.0, float("nan"))]) == 2.0


def test_average_of_the_late_ones_if_it_scores_higher() -> None:
    seen = [(1.0, 0.9), (2.0, 0.1), (4.0, 0.2), (6.0, 0.3)]
    assert ended("average", seen, of_average=0.95) == 4.0
    assert ended("average", seen, of_average=0.9) == 1.0, "the best of all evaluations, not only of the late ones"
    assert ended("average", seen, of_average=0.95, window=2) == 5.0
    assert ended("average", seen[:1], of_average=0.95) == 1.0, "an average of one is that one"


def test_whole_numbers_are_not_averaged() -> None:
    mean = mean_weights([dict(One().put(value).state_dict()) for value in (1.0, 2.0, 6.0)])
    assert mean["weight"].item() == 3.0 and mean["count"].item() == 6 and mean["count"].dtype == torch.int64


def test_what_was_seen_is_not_changed_by_training_on() -> None:
    model, keeper = One().put(1.0), Keeper("best")
    keeper.see(model, {"score": 1.0})
    model.put(5.0)
    keeper.finish(model, dict)
    assert model.weight.item() == 1.0


def test_the_state_goes_through_a_checkpoint(tmp_path: Path) -> None:
    first = Keeper("average")
    model = One()
    for value, score in ((1.0, 0.4), (2.0, 0.6)):
        first.see(model.put(value), {"score": score})
    torch.save(first.state(), tmp_path / "state")
    second = Keeper("average")
    second.load(torch.load(tmp_path / "state", weights_only=True))
    for keeper in (first, second):
        keeper.see(model.put(9.0), {"score": 0.5})
        keeper.finish(model, lambda: {"score": 0.7})
        assert model.weight.item() == 4.0
        keeper.finish(model, lambda: {"score": 0.5})
        assert model.weight.item() == 2.0


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(ValueError, match="keep must be last, best or average, got 'first'"):
        Keeper("first")  # type: ignore[arg-type]


class Run:
    """A training run whose scores are a given list; notes the weights at every evaluation."""

    def __init__(self, folder: Path, scores: list[float], *, keep: Keep, average: float = -1.0) -> None:
        self.folder, self.scores, self.keep, self.average = folder, scores, keep, average
        self.seen: list[dict[str, Tensor]] = []

    def score(self, model: nn.Module) -> dict[str, float]:
        """By the weights, not by the count, so that a resumed run scores alike."""
        weights = {name: value.clone() for name, value in model.state_dict().items()}
        for at, old in enumerate(self.seen):
            if all(torch.equal(weights[name], old[name]) for name in old):
                return {"score": self.scores[at]}
        if len(self.seen) == len(self.scores):
            return {"score": self.average}
        self.seen.append(weights)
        return {"score": self.scores[len(self.seen) - 1]}

    def go(self, *, stop_at: int | None = None, **options: Any) -> dict[str, Tensor]:
        torch.manual_seed(7)
        model = Student(StudentConfig(vocabulary=40, embedding=8, hidden=8, labels=LABELS.tags, dropout=0.3))
        settings: dict[str, Any] = {
            "schedule": SCHEDULE,
            "folder": self.folder,
            "evaluate": self.score,
            "evaluate_every": EVERY,
            "keep": self.keep,
            "device": torch.device("cpu"),
            "checkpoint_minutes": 0,
            **options,
        }
        return dict(train(model, DATA, killing_loss(stop_at), **settings).state_dict())


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


SCORES = [0.1, 0.7, 0.3, 0.6, 0.2, 0.5]


def test_a_run_ends_with_its_best_weights(tmp_path: Path) -> None:
    run = Run(tmp_path, SCORES, keep="best")
    assert equal(run.go(), run.seen[1]) and len(run.seen) == 6


def test_a_run_ends_with_the_average_of_its_late_weights(tmp_path: Path) -> None:
    run = Run(tmp_path / "a", SCORES, keep="average", average=0.8)
    assert equal(run.go(), mean_weights(run.seen[-3:]))
    worse = Run(tmp_path / "b", SCORES, keep="average", average=0.65)
    assert equal(worse.go(), worse.seen[1])


@pytest.mark.parametrize("keep", ["best", "average"])
@pytest.mark.parametrize("stop_at", [8, 14, 15, 16, 30])
def test_a_killed_run_keeps_what_the_whole_one_keeps(tmp_path: Path, keep: Keep, stop_at: int) -> None:
    whole = Run(tmp_path / "whole", SCORES, keep=keep, average=0.8)
    want = whole.go()
    broken = Run(tmp_path / "broken", SCORES, keep=keep, average=0.8)
    with pytest.raises(Killed):
        broken.go(stop_at=stop_at)
    assert equal(broken.go(), want) and len(broken.seen) == 6
    assert equal(broken.go(stop_at=1), want), "a finished run loads and ends with the same"


@pytest.mark.parametrize("dies_at", [1, 2, 4])
def test_a_run_killed_in_an_evaluation_makes_up_for_it(tmp_path: Path, dies_at: int) -> None:
    want = Run(tmp_path / "whole", SCORES, keep="best").go()
    broken = Run(tmp_path / "broken", SCORES, keep="best")
    score, calls = broken.score, 0

    def dying(model: nn.Module) -> dict[str, float]:
        nonlocal calls
        calls += 1
        if calls == dies_at:
            raise Killed
        return score(model)

    with pytest.raises(Killed):
        broken.go(evaluate=dying)
    assert equal(broken.go(), want) and len(broken.seen) == 6


def test_keeping_by_score_needs_scores(tmp_path: Path) -> None:
    for change in ({"evaluate": None}, {"evaluate_every": 0}):
        with pytest.raises(ValueError, match="keep is 'best', but nothing is ever evaluated"):
            Run(tmp_path, SCORES, keep="best").go(**change)  # type: ignore[arg-type]

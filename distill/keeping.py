"""Which of a run's weights to end with: the last, the best on dev, or an average of late ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

Keep = Literal["last", "best", "average"]
Weights = dict[str, Tensor]


class Keeper:
    """Sees the model at every evaluation and gives back the weights to keep.

    `best` restores those of the highest `score` (Algorithm 1). `average` is the mean of the last few evaluated ones
    (checkpoint averaging, Popel & Bojar 2018), if that scores higher on dev than the best. `last` keeps
    the weights as they are.

    :param window: how many late weights are averaged.
    """

    def __init__(self, keep: Keep, *, window: int = 3) -> None:
        if keep not in ("last", "best", "average"):
            raise ValueError(f"keep must be last, best or average, got {keep!r}")
        self.keep, self.window = keep, window
        self._best: Weights | None = None
        self._score = -float("inf")
        self._late: list[Weights] = []

    def see(self, model: nn.Module, scores: dict[str, float]) -> None:
        """An evaluation; `scores` needs a `score`, higher is better, unless the last weights are kept anyway."""
        if self.keep == "last":
            return
        weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
        if scores["score"] > self._score:
            self._score, self._best = scores["score"], weights
        if self.keep == "average":
            self._late = [*self._late, weights][-self.window :]

    def finish(self, model: nn.Module, score: Callable[[], dict[str, float]]) -> None:
        """Put the weights to keep into the model; `score` scores it as it stands."""
        if self._best is None:
            return
        if len(self._late) > 1:
            model.load_state_dict(mean_weights(self._late))
            if score()["score"] > self._score:
                return
        model.load_state_dict(self._best)

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold to go on."""
        return {"best": self._best, "score": self._score, "late": self._late}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        self._best, self._score, self._late = state["best"], state["score"], state["late"]


def mean_weights(many: list[Weights]) -> Weights:
    """The mean of floating-point weights; whole numbers are those of the last."""
    return {
        name: torch.stack([one[name] for one in many]).mean(dim=0) if value.is_floating_point() else value
        for name, value in many[-1].items()
    }

"""The training loop: any model and loss, on CPU, GPU or several (accelerate), resumable at any step.

A run is a folder with `checkpoint.pt` (model, optimizer, step, weights to keep) and `log.jsonl`. The order of batches
depends only on seed and epoch, and what is drawn at random in a step (dropout) only on seed, step and process, so a
resumed run goes on exactly where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn

from distill.batches import Batch, epoch_batches, gather
from distill.console import console
from distill.crf import Crf
from distill.dataset import Packed
from distill.keeping import Keep, Keeper


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast: linear warm-up, then decay to `final` of the peak, along a cosine or a line.

    `embedding_rate` multiplies the learning rate of word embeddings: a row sees a gradient only where its piece occurs.
    `transition_rate` does that of a CRF's transitions: few numbers that start at 0 and have far to go.
    """

    tokens: int
    batch_tokens: int = 8192
    learning_rate: float = 1e-3
    warmup: float = 0.04
    final: float = 0.01
    weight_decay: float = 0.01
    clip: float = 1.0
    seed: int = 1
    embedding_rate: float = 1.0
    transition_rate: float = 1.0
    decay: Literal["cosine", "linear"] = "cosine"

    @property
    def facts(self) -> dict[str, Any]:
        """What tells it from others: a `transition_rate` of 1 does not, as models without a CRF have none.

        Nor does a cosine, as there was nothing else when checkpoints began to hold this.
        """
        unsaid = {"transition_rate": 1.0, "decay": "cosine"}
        return {name: value for name, value in asdict(self).items() if name not in unsaid or value != unsaid[name]}

    def factor(self, done: int) -> float:
        """Share of the peak learning rate after `done` pieces."""
        progress = min(1.0, done / self.tokens)
        if progress < self.warmup:
            return max(progress, 1e-3) / self.warmup
        way = (progress - self.warmup) / (1 - self.warmup)
        left = 1 - way if self.decay == "linear" else 0.5 * (1 + math.cos(math.pi * way))
        return self.final + (1 - self.final) * left


LossFunction = Callable[[nn.Module, Batch], Tensor]
Evaluate = Callable[[nn.Module], dict[str, float]]


def choose_device(name: str = "auto") -> torch.device:
    """The device asked for; `auto` is the GPU where there is one."""
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def build_optimizer(model: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    """AdamW without decay on vectors, embeddings and transitions; each group's `rate` multiplies the learning rate."""
    rates: dict[int, float] = {}
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            rates[id(module.weight)] = schedule.embedding_rate
        if isinstance(module, Crf):
            rates |= {id(parameter): schedule.transition_rate for parameter in module.parameters()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            decay = 0.0 if id(parameter) in rates or parameter.ndim < 2 else schedule.weight_decay
            groups.setdefault((decay, rates.get(id(parameter), 1.0)), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": members, "weight_decay": decay, "rate": rate, "lr": schedule.learning_rate * rate}
            for (decay, rate), members in groups.items()
        ],
        betas=(0.9, 0.98),
        fused=True,
    )


@dataclass
class _State:
    step: int = 0
    done: int = 0
    epoch: int = 0
    batch: int = 0
    taken: int = 0  # pieces of the present step, over all processes


def _save(path: Path, **content: Any) -> None:
    temporary = path.with_suffix(".tmp")
    torch.save(content, temporary)
    temporary.replace(path)


def fingerprint(data: Packed, schedule: Schedule, **facts: Any) -> str:
    """Hash of what a checkpoint belongs to: data, schedule and whatever else the caller names."""
    digest = hashlib.sha256(json.dumps([schedule.facts, facts], sort_keys=True, default=str).encode())
    for array in (data.ids, data.tags, data.offsets):
        digest.update(array.tobytes())
    return digest.hexdigest()


def accelerator_for(device: torch.device) -> Accelerator:
    """What runs the steps. Started by `accelerate launch` or torchrun, every process takes its share of the batches.

    Accelerate keeps one state for the whole process, whatever later calls ask for. So it only learns the device where
    it must choose one for each process; otherwise models and batches are put where they belong without it.
    """
    launched = "LOCAL_RANK" in os.environ
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)  # a stage may leave the head out
    # The others wait while the first process labels or scores, which takes longer than torch's 10 or 30 minutes.
    patient = InitProcessGroupKwargs(timeout=timedelta(days=1))
    return Accelerator(
        cpu=not launched or device.type == "cpu",
        device_placement=False,
        mixed_precision="no",
        kwargs_handlers=[unused, patient],
    )


def train(
    model: nn.Module,
    data: Packed,
    loss_function: LossFunction,
    *,
    schedule: Schedule,
    folder: Path,
    evaluate: Evaluate | None = None,
    keep: Keep = "last",
    device: torch.device | None = None,
    checkpoint_minutes: float = 5.0,
    evaluate_every: int = 0,
    name: str = "train",
    facts: dict[str, Any] | None = None,
) -> nn.Module:
    """Train until `schedule.tokens` pieces were seen; resume if `folder` holds this very run's checkpoint.

    Parameters that need no gradient stay as they are. Several processes need one folder that all of them see; the first
    one writes it, and its scores count.

    :param evaluate_every: pieces between evaluations on dev (0: never).
    :param keep: which weights to end with, by the `score` of the evaluations; see distill.keeping.
    :raises ValueError: if the folder's checkpoint belongs to other data, schedule or facts, an epoch has fewer batches
        than there are processes, or weights are to be kept by score and there are no evaluations.
    :raises FloatingPointError: if the gradients are no longer finite.
    """
    device = device or choose_device()
    if keep != "last" and (evaluate is None or not evaluate_every):
        raise ValueError(f"keep is {keep!r}, but nothing is ever evaluated")
    accelerator = accelerator_for(device)
    if accelerator.use_distributed and device.type != "cpu":  # torch.load cannot put anything on accelerate's "cpu:0"
        device = accelerator.device
    folder.mkdir(parents=True, exist_ok=True)
    keeper = Keeper(keep)
    own = fingerprint(data, schedule, keep=keep, evaluate_every=evaluate_every, about=facts or {})
    path = folder / "checkpoint.pt"
    model.to(device).train()
    optimizer = accelerator.prepare(build_optimizer(model, schedule))
    parallel: nn.Module = accelerator.prepare(model)
    state = _State()

    def say(line: str) -> None:
        if accelerator.is_main_process:
            console.log(f"{name}: {line}")

    if path.exists():
        content = torch.load(path, map_location=device, weights_only=True)
        if content["fingerprint"] != own:
            reason = "data, schedule or model differ"
            raise ValueError(f"{path} belongs to another run ({reason}); remove it or use a new folder")
        model.load_state_dict(content["model"])
        optimizer.load_state_dict(content["optimizer"])
        keeper.load(content["kept"])
        state = _State(**content["state"])
        say(f"resumed at step {state.step}, {state.done / 1e6:.1f}M pieces")

    def checkpoint() -> None:
        # The others go on: waiting here would need a clock that all of them share.
        if accelerator.is_main_process:
            _save(
                path,
                model=model.state_dict(),
                optimizer=optimizer.state_dict(),
                kept=keeper.state(),
                state=asdict(state),
                fingerprint=own,
            )

    def scores_of() -> dict[str, float]:
        assert evaluate is not None
        model.eval()
        with torch.no_grad():
            scores = evaluate(model)
        model.train()
        # Processes must not differ in what they keep, however little their scores differ.
        first: dict[str, float] = broadcast_object_list([scores])[0]
        return first

    log = folder / "log.jsonl"

    def write(line: dict[str, Any]) -> None:
        if accelerator.is_main_process:
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    began = saved = shown = time.monotonic()
    at_start = state.done
    next_evaluation = (state.done // evaluate_every + 1) * evaluate_every if evaluate_every else 0
    running = 0.0
    since = 0
    # bf16 on a GPU; a CPU without bf16 arithmetic would only get slower. Evaluations are in fp32 everywhere.
    autocast = torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")
    for batch in _stream(data, schedule, state, accelerator):
        torch.manual_seed(_step_seed(schedule.seed, state.step, accelerator.process_index))
        for group in optimizer.param_groups:
            group["lr"] = group["rate"] * schedule.learning_rate * schedule.factor(state.done)
        with autocast:
            loss = loss_function(parallel, batch.to(device))
        optimizer.zero_grad(set_to_none=True)
        accelerator.backward(loss)
        norm = accelerator.clip_grad_norm_(model.parameters(), schedule.clip)
        if norm is not None and not torch.isfinite(norm):
            reason = f"loss {float(loss.detach())}, gradient norm {float(norm)} at step {state.step + 1}"
            raise FloatingPointError(f"{name} diverged: {reason}; go on from {path} with a lower learning rate")
        optimizer.step()
        state.step += 1
        state.done += state.taken
        running += float(loss.detach())
        since += 1
        now = time.monotonic()
        if now - shown > 20:
            speed = (state.done - at_start) / (now - began)
            left = (schedule.tokens - state.done) / max(speed, 1)
            line = {
                "step": state.step, "pieces": state.done, "epoch": state.epoch, "loss": round(running / since, 5),
                "pieces_per_second": round(speed), "minutes_left": round(left / 60, 1),
            }
            say(str(line))
            write(line)
            running, since, shown = 0.0, 0, now
        if evaluate is not None and evaluate_every and state.done >= next_evaluation:
            next_evaluation = (state.done // evaluate_every + 1) * evaluate_every
            scores = scores_of()
            keeper.see(model, scores)
            say(f"dev {scores}")
            write({"step": state.step, "pieces": state.done, "dev": scores})
        # After the evaluation: a run that resumes here has seen it.
        if now - saved > checkpoint_minutes * 60:
            checkpoint()
            saved = now
    checkpoint()
    if evaluate is not None:
        keeper.finish(model, scores_of)
    accelerator.wait_for_everyone()
    return model.eval()


def _step_seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def _stream(data: Packed, schedule: Schedule, state: _State, accelerator: Accelerator) -> Iterator[Batch]:
    """Batches from the state's place on, until enough pieces were seen; each process takes every n-th."""
    many, rank = accelerator.num_processes, accelerator.process_index
    while state.done < schedule.tokens:
        order = epoch_batches(data, batch_tokens=schedule.batch_tokens, seed=schedule.seed, epoch=state.epoch)
        if len(order) < many:
            raise ValueError(f"an epoch has {len(order)} batches, too few for {many} processes")
        # What is left over at an epoch's end would leave some processes without a batch.
        while state.batch + many <= len(order) and state.done < schedule.tokens:
            step = order[state.batch : state.batch + many]
            state.batch += many
            state.taken = sum(int(data.lengths[index[0]]) * len(index) for index in step)
            yield replace(gather(data, step[rank]), progress=min(1.0, state.done / schedule.tokens))
        if state.batch + many > len(order):
            state.epoch += 1
            state.batch = 0

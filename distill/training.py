"""The training loop: any model and loss, on CPU or GPU, resumable at any step.

A run is a folder with `checkpoint.pt` (model, optimizer, step, random states) and `log.jsonl`. The order of batches
depends only on seed and epoch, so a resumed run goes on exactly where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from distill.batches import Batch, epoch_batches, gather
from distill.console import console
from distill.dataset import Packed


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast: linear warm-up, then cosine decay to `final` of the peak.

    `embedding_rate` multiplies the learning rate of word embeddings: a row sees a gradient only where its piece occurs.
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

    def factor(self, done: int) -> float:
        """Share of the peak learning rate after `done` pieces."""
        progress = min(1.0, done / self.tokens)
        if progress < self.warmup:
            return max(progress, 1e-3) / self.warmup
        cosine = 0.5 * (1 + math.cos(math.pi * (progress - self.warmup) / (1 - self.warmup)))
        return self.final + (1 - self.final) * cosine


LossFunction = Callable[[nn.Module, Batch], Tensor]
Evaluate = Callable[[nn.Module], dict[str, float]]


def choose_device(name: str = "auto") -> torch.device:
    """The device asked for; `auto` is the GPU where there is one."""
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def build_optimizer(model: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    """AdamW without decay on vectors and embeddings; each group's `rate` multiplies the learning rate."""
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            table = id(parameter) in tables
            decay = 0.0 if table or parameter.ndim < 2 else schedule.weight_decay
            groups.setdefault((decay, schedule.embedding_rate if table else 1.0), []).append(parameter)
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


def _save(path: Path, **content: Any) -> None:
    temporary = path.with_suffix(".tmp")
    torch.save(content, temporary)
    temporary.replace(path)


def fingerprint(data: Packed, schedule: Schedule, **facts: Any) -> str:
    """Hash of what a checkpoint belongs to: data, schedule and whatever else the caller names."""
    digest = hashlib.sha256(json.dumps([asdict(schedule), facts], sort_keys=True, default=str).encode())
    for array in (data.ids, data.tags, data.offsets):
        digest.update(array.tobytes())
    return digest.hexdigest()


def train(
    model: nn.Module,
    data: Packed,
    loss_function: LossFunction,
    *,
    schedule: Schedule,
    folder: Path,
    evaluate: Evaluate | None = None,
    device: torch.device | None = None,
    checkpoint_minutes: float = 5.0,
    evaluate_every: int = 0,
    name: str = "train",
    facts: dict[str, Any] | None = None,
) -> nn.Module:
    """Train until `schedule.tokens` pieces were seen; resume if `folder` holds this very run's checkpoint.

    :param evaluate_every: pieces between evaluations on dev (0: never).
    :raises ValueError: if the folder's checkpoint belongs to other data, schedule or facts.
    """
    device = device or choose_device()
    folder.mkdir(parents=True, exist_ok=True)
    own = fingerprint(data, schedule, **(facts or {}))
    path = folder / "checkpoint.pt"
    torch.manual_seed(schedule.seed)
    model.to(device).train()
    optimizer = build_optimizer(model, schedule)
    state = _State()
    if path.exists():
        content = torch.load(path, map_location=device, weights_only=True)
        if content["fingerprint"] != own:
            reason = "data, schedule or model differ"
            raise ValueError(f"{path} belongs to another run ({reason}); remove it or use a new folder")
        model.load_state_dict(content["model"])
        optimizer.load_state_dict(content["optimizer"])
        torch.set_rng_state(content["random"].cpu())
        state = _State(**content["state"])
        console.log(f"{name}: resumed at step {state.step}, {state.done / 1e6:.1f}M pieces")

    def checkpoint() -> None:
        _save(
            path,
            model=model.state_dict(),
            optimizer=optimizer.state_dict(),
            random=torch.get_rng_state(),
            state=asdict(state),
            fingerprint=own,
        )

    log = folder / "log.jsonl"
    began = saved = shown = time.monotonic()
    at_start = state.done
    next_evaluation = (state.done // evaluate_every + 1) * evaluate_every if evaluate_every else 0
    running = 0.0
    since = 0
    # bf16 on a GPU; a CPU without bf16 arithmetic would only get slower.
    autocast = torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")
    for batch in _stream(data, schedule, state, device):
        for group in optimizer.param_groups:
            group["lr"] = group["rate"] * schedule.learning_rate * schedule.factor(state.done)
        with autocast:
            loss = loss_function(model, batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(model.parameters(), schedule.clip)
        if not torch.isfinite(norm):
            reason = f"loss {float(loss.detach())}, gradient norm {float(norm)} at step {state.step + 1}"
            raise FloatingPointError(f"{name} diverged: {reason}; go on from {path} with a lower learning rate")
        optimizer.step()
        state.step += 1
        state.done += batch.ids.numel()
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
            console.log(f"{name}: {line}")
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            running, since, shown = 0.0, 0, now
        if now - saved > checkpoint_minutes * 60:
            checkpoint()
            saved = now
        if evaluate is not None and evaluate_every and state.done >= next_evaluation:
            next_evaluation += evaluate_every
            model.eval()
            with torch.no_grad():
                scores = evaluate(model)
            model.train()
            console.log(f"{name}: dev {scores}")
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": state.step, "pieces": state.done, "dev": scores}) + "\n")
    checkpoint()
    return model.eval()


def _stream(data: Packed, schedule: Schedule, state: _State, device: torch.device) -> Iterator[Batch]:
    """Batches from the state's place on, until enough pieces were seen."""
    while state.done < schedule.tokens:
        order = epoch_batches(data, batch_tokens=schedule.batch_tokens, seed=schedule.seed, epoch=state.epoch)
        while state.batch < len(order) and state.done < schedule.tokens:
            batch = gather(data, order[state.batch])
            state.batch += 1
            yield Batch(batch.index, batch.ids.to(device), batch.tags.to(device))
        if state.batch >= len(order):
            state.epoch += 1
            state.batch = 0

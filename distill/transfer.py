"""Distillation of a student from a teacher's logits: the plain two-step version (XtremeDistil, eq. 2 and 4).

Step 1 regresses the student's logits on the teacher's over labelled and unlabelled text (mean squared error, no
temperature). Step 2 trains on gold labels. The teacher runs once; its logits lie in a cache in fp16.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from distill.batches import Batch, epoch_batches, gather, gather_rows
from distill.console import follow
from distill.dataset import Packed


@torch.no_grad()
def teacher_logits(
    model: PreTrainedModel,
    data: Packed,
    *,
    cache: Path,
    fingerprint: str,
    device: torch.device,
    batch_tokens: int = 16384,
) -> NDArray[np.float16]:
    """(sum T, C) logits of the teacher for every piece, in fp16; from the cache if this teacher has seen this data.

    The file is written under a temporary name and renamed when whole, so a broken run never leaves half a cache.
    """
    digest = hashlib.sha256(json.dumps([fingerprint, len(data), data.pieces]).encode())
    for array in (data.ids, data.offsets):
        digest.update(array.tobytes())
    target = cache / f"logits-{digest.hexdigest()[:20]}.npy"
    if target.exists():
        return _open(target)
    cache.mkdir(parents=True, exist_ok=True)
    columns = int(model.config.num_labels)
    temporary = target.with_suffix(".tmp")
    rows = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float16, shape=(data.pieces, columns))
    model.to(device).eval()
    autocast = torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")
    order = epoch_batches(data, batch_tokens=batch_tokens, seed=0, epoch=0)
    for index in follow(order, "teacher logits"):
        ids = gather(data, index).ids.to(device)
        with autocast:
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        positions = data.offsets[index][:, None] + np.arange(ids.shape[1])
        rows[positions] = logits.float().cpu().numpy().astype(np.float16)
    rows.flush()
    del rows
    temporary.replace(target)
    return _open(target)


def _open(path: Path) -> NDArray[np.float16]:
    rows: NDArray[np.float16] = np.load(path, mmap_mode="r")
    return rows


def centred(logits: Tensor) -> Tensor:
    """Logits without their mean over tags: a softmax ignores it, so the student need not match it."""
    return logits - logits.mean(dim=-1, keepdim=True)


def logit_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Half the squared distance of the logits, summed over tags, mean over pieces (eq. 4)."""
    return 0.5 * (centred(student) - centred(teacher)).pow(2).sum(dim=-1).mean()


def label_loss(student: Tensor, tags: Tensor) -> Tensor:
    """Cross-entropy over labelled pieces (eq. 2); zero if the batch has none (tag -1)."""
    if not bool((tags >= 0).any()):
        return student.sum() * 0.0
    return F.cross_entropy(student.flatten(0, 1), tags.flatten(), ignore_index=-1)


class TransferLoss:
    """Weighted sum of the logit loss on everything and the label loss on what has labels."""

    def __init__(self, data: Packed, rows: NDArray[np.float16], *, logits: float, labels: float) -> None:
        self.data, self.rows, self.logits, self.labels = data, rows, logits, labels

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Loss of one batch."""
        output = model(batch.ids, batch.mask)
        loss: Tensor = output.sum() * 0.0
        if self.logits:
            target = gather_rows(self.data, self.rows, batch.index).to(output.device)
            loss = loss + self.logits * logit_loss(output, target)
        if self.labels:
            loss = loss + self.labels * label_loss(output, batch.tags)
        return loss


def supervised_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Cross-entropy on the labels alone."""
    return label_loss(model(batch.ids, batch.mask), batch.tags)


class TutoredLoss:
    """Cross-entropy of a Transformer on labels and on a smaller tutor's distribution (Furlanello et al. 2018, BAN).

    WikiANN's labels are noisy; the tutor says how sure they are. It runs along, in eval mode: a student is ten times
    faster than what it teaches.

    :param weight: of the tutor's part, 0..1; the labels have the rest.
    """

    def __init__(self, tutor: nn.Module, *, weight: float) -> None:
        if not 0 <= weight <= 1:
            raise ValueError(f"the tutor's weight must be in 0..1, got {weight}")
        self.tutor, self.weight = tutor.eval(), weight

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Loss of one batch."""
        self.tutor.to(batch.ids.device)
        logits = model(input_ids=batch.ids, attention_mask=batch.mask).logits.float()
        with torch.no_grad():
            target = self.tutor(batch.ids, batch.mask).float().softmax(dim=-1)
        soft = F.cross_entropy(logits.flatten(0, 1), target.flatten(0, 1))
        return self.weight * soft + (1 - self.weight) * label_loss(logits, batch.tags)

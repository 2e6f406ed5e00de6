"""A teacher's answers on the student's pieces: directly where they share pieces, by words where they do not."""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn

from distill.batches import gather
from distill.crf import Chain
from distill.dataset import Packed, training_encoder
from onoma.bundle import TokenizerFacts
from onoma.encoding import Encoded, Encoder
from onoma.labels import LabelSet
from onoma.model import padded

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Targets:
    """The teacher's logits (B, T, C) of a batch, and its hidden states (B, T, D) by layer, in fp32.

    Of pieces that it has no opinion of both are NaN: zeros would be a uniform distribution.

    :param transitions: (B, C, C) of teachers with a CRF, whose logits are emissions; `start` and `end` (B, C) likewise.
    """

    logits: Tensor
    hidden: dict[int, Tensor] = field(default_factory=dict)
    transitions: Tensor | None = None
    start: Tensor | None = None
    end: Tensor | None = None

    @property
    def known(self) -> Tensor:
        """(B, T) which pieces it has an opinion of."""
        return ~self.logits.isnan().any(dim=-1)

    @property
    def chain(self) -> Chain:
        """The chain of the teacher's tags: without transitions, if it has no CRF."""
        return Chain(self.logits, self.transitions, self.start, self.end)


class Answers(Protocol):
    """A teacher that answers for examples of equal length."""

    def __call__(self, data: Packed, index: Ints) -> Targets:
        """Targets of the examples (B,) of `data`, on whatever device they were made."""
        ...


@torch.no_grad()
def teacher_outputs(
    model: nn.Module, ids: Tensor, mask: Tensor, layers: Sequence[int] = (), *, columns: Tensor | None = None
) -> Targets:
    """Logits and hidden states of a Hugging Face token classifier for (B, T) ids.

    :param layers: 0 is the embeddings' output, k that of the k-th layer; negative ones count from the last.
    :param columns: (C,) which of the teacher's columns each of the student's labels is; None where they agree.
    :raises FloatingPointError: if a logit is NaN, which in Targets means something else.
    """
    with torch.autocast(ids.device.type, dtype=torch.bfloat16, enabled=ids.device.type == "cuda"):
        output = model(input_ids=ids, attention_mask=mask, output_hidden_states=bool(layers))
    logits = output.logits.float()
    if bool(logits[mask.bool()].isnan().any()):
        raise FloatingPointError(f"the teacher gives NaN for a logit of a batch of {tuple(ids.shape)} pieces")
    if columns is not None:
        logits = logits[..., columns.to(logits.device)]
    return Targets(logits, {layer: output.hidden_states[layer].float() for layer in layers})


class SharedPieces:
    """A teacher that knows all of the student's pieces, perhaps under other ids (a trimmed vocabulary).

    It is asked about the student's cuts. Where the vocabulary was trimmed these are not its own in words that held a
    piece seen fewer than `student.minimum_count` times: rare words only, spelled in smaller pieces that it knows.

    :param ids: (V,) the teacher's id of each of the student's pieces; None where they are the same.
    :param facts: the pieces that the teacher wants around a text; they get no answers.
    :param columns: (C,) which of the teacher's columns each of the student's labels is; None where they agree.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        device: torch.device,
        layers: Sequence[int] = (),
        ids: Tensor | None = None,
        facts: TokenizerFacts | None = None,
        columns: Tensor | None = None,
    ) -> None:
        self._model, self._device, self._layers = model.to(device).eval(), device, tuple(layers)
        self._ids = None if ids is None else ids.to(device)
        self._before = torch.tensor(facts.prefix_ids if facts else (), dtype=torch.long, device=device)
        self._after = torch.tensor(facts.suffix_ids if facts else (), dtype=torch.long, device=device)
        self._columns = columns

    def __call__(self, data: Packed, index: Ints) -> Targets:
        """Targets of the examples (B,) of equal length."""
        own = gather(data, index).ids.to(self._device)
        if self._ids is not None:
            own = self._ids[own]
        many, length = own.shape
        ids = torch.cat([self._before.expand(many, -1), own, self._after.expand(many, -1)], dim=1)
        targets = teacher_outputs(self._model, ids, torch.ones_like(ids), self._layers, columns=self._columns)
        inner = slice(len(self._before), len(self._before) + length)
        return Targets(targets.logits[:, inner], {layer: rows[:, inner] for layer, rows in targets.hidden.items()})


def shared_ids(student: Tokenizer, teacher: Tokenizer) -> Tensor | None:
    """(V,) the teacher's id of each of the student's pieces.

    None unless the teacher has them all, splits text into words as the student does, and cuts words by the same rules
    (a Unigram model's scores, a BPE's merges, prefixes) as far as these are about the student's pieces.
    """
    one, other = json.loads(student.to_str()), json.loads(teacher.to_str())
    if any(one[part] != other[part] for part in ("normalizer", "pre_tokenizer")):
        return None
    theirs = teacher.get_vocab()
    own = student.get_vocab()
    if any(piece not in theirs for piece in own) or _rules(one["model"], own) != _rules(other["model"], own):
        return None
    ids = torch.zeros(max(own.values(), default=-1) + 1, dtype=torch.long)
    for piece, at in own.items():
        ids[at] = theirs[piece]
    return ids


def _rules(model: dict[str, Any], pieces: Container[str]) -> dict[str, Any]:
    """What decides how a tokenizer's model cuts words, as far as it is about `pieces`."""
    rules = {name: value for name, value in model.items() if name not in ("vocab", "merges", "unk_id", "unk_token")}
    if model["type"] == "Unigram":
        rules["scores"] = {piece: score for piece, score in model["vocab"] if piece in pieces}
    if model["type"] == "BPE":
        prefix = model["continuing_subword_prefix"] or ""
        rules["merges"] = [
            (left, right)
            for left, right in model["merges"]
            if left in pieces and right in pieces and left + right.removeprefix(prefix) in pieces
        ]
    return rules


class OtherPieces:
    """A teacher with a tokenizer of its own: what it says of a word is said of each of the student's pieces in it.

    The first of the teacher's pieces that reaches into the word speaks for it. On the student's pieces that continue a
    word, and on words that the speaker does not begin in, the score of B-X goes over to I-X. Of words that the
    teacher's tokenizer drops (control characters), and of texts of which it leaves nothing, it has no opinion: logits
    and states are NaN.

    :param tokenizer: the teacher's; `facts` are the pieces it puts around a text, `longest` its most pieces with them.
    :param labels: the student's.
    :param columns: (C,) which of the teacher's columns each of the student's labels is; None where they agree.
    :param batch_tokens: most pieces, with padding, that go into the teacher at once.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        tokenizer: Tokenizer,
        facts: TokenizerFacts,
        longest: int,
        student: Tokenizer,
        labels: LabelSet,
        device: torch.device,
        layers: Sequence[int] = (),
        columns: Tensor | None = None,
        batch_tokens: int = 16_384,
    ) -> None:
        room = longest - len(facts.prefix_ids) - len(facts.suffix_ids)
        self._encoder = Encoder(tokenizer, facts=facts, limit=room, overlap=room // 4)
        self._student = training_encoder(student)
        self._model, self._device, self._layers = model.to(device).eval(), device, tuple(layers)
        self._columns, self._batch_tokens = columns, batch_tokens
        begins = [column for column, tag in enumerate(labels.tags) if tag.startswith("B-")]
        self._tags = len(labels.tags)
        self._begins = torch.tensor(begins, dtype=torch.long)
        self._inside = torch.tensor([labels.index["I-" + labels.tags[column][2:]] for column in begins]).long()

    def __call__(self, data: Packed, index: Ints) -> Targets:
        """Targets (on the CPU) of the examples (B,) of equal length.

        :raises ValueError: if the data was packed without texts, or by another tokenizer than the student's.
        """
        if data.texts is None:
            raise ValueError("a teacher with another vocabulary needs the texts: pack the data with texts=True")
        texts = [data.texts[example] for example in index]
        theirs, ours = self._encoder.encode(texts), self._student.encode(texts)
        rows = iter(self._run([ids for one in theirs for ids in one.inputs]))
        found = []
        for example, own, other in zip(index, ours, theirs, strict=True):
            pieces = np.concatenate([np.empty(0, np.int64), *(segment.ids for segment in own.segments)])
            if not np.array_equal(pieces, data.ids[data.offsets[example] : data.offsets[example + 1]]):
                raise ValueError(f"the student's tokenizer cuts {own.text[:80]!r} otherwise than the data was packed")
            found.append(self._aligned(own, other, list(islice(rows, other.window_count))))
        logits, *hidden = (torch.stack(parts) for parts in zip(*found, strict=True))
        return Targets(logits, dict(zip(self._layers, hidden, strict=True)))

    def _run(self, inputs: list[Ints]) -> list[list[Tensor]]:
        """For each window of pieces (T,): logits (T, C), then hidden states (T, D) of each layer."""
        facts = self._encoder.facts
        around = len(facts.prefix_ids) + len(facts.suffix_ids)
        made: dict[int, list[Tensor]] = {}
        for chosen in self._batches([len(own) + around for own in inputs]):
            ids, mask, places = padded([inputs[at] for at in chosen], facts)
            own, real = (torch.from_numpy(part).to(self._device) for part in (ids, mask))
            targets = teacher_outputs(self._model, own, real, self._layers, columns=self._columns)
            parts = [part.cpu() for part in (targets.logits, *(targets.hidden[layer] for layer in self._layers))]
            for row, (at, place) in enumerate(zip(chosen, places, strict=True)):
                made[at] = [part[row, place] for part in parts]
        return [made[at] for at in range(len(inputs))]

    def _batches(self, lengths: list[int]) -> Iterator[list[int]]:
        """Which windows go in together: of like length, so that one long text does not pad all others."""
        batch: list[int] = []
        for at in sorted(range(len(lengths)), key=lengths.__getitem__):
            if batch and (len(batch) + 1) * lengths[at] > self._batch_tokens:
                yield batch
                batch = []
            batch.append(at)
        if batch:
            yield batch

    def _aligned(self, ours: Encoded, theirs: Encoded, windows: list[list[Tensor]]) -> list[Tensor]:
        """Logits (T, C) and hidden states (T, D) on the student's pieces of one text."""
        begins, finishes, continues = _flat(ours)
        if not windows:
            config: Any = self._model.config
            widths = [self._tags, *(int(config.hidden_size) for _ in self._layers)]
            return [torch.full((len(begins), width), torch.nan) for width in widths]
        cuts = [window for segment in theirs.segments for window in segment.windows]
        kept = [slice(window.keep_low - window.low, window.keep_high - window.low) for window in cuts]
        parts = [
            torch.cat([rows[own] for rows, own in zip(of_windows, kept, strict=True)])
            for of_windows in zip(*windows, strict=True)
        ]
        starts, ends, _ = _flat(theirs)
        # The word of each of the student's pieces, and the first of the teacher's pieces that reaches into it.
        heads = np.flatnonzero(~continues)
        word = np.cumsum(~continues) - 1
        low, high = begins[heads][word], finishes[np.append(heads[1:], len(begins)) - 1][word]
        speaker = np.minimum(np.searchsorted(ends, low, side="right"), len(ends) - 1)
        silent = torch.from_numpy((starts[speaker] >= high) | (ends[speaker] <= low))
        goes_on = torch.from_numpy(continues | (starts[speaker] < low))
        chosen = torch.from_numpy(speaker)
        found = [part[chosen] for part in parts]
        moved = found[0][goes_on]
        top, lowest = torch.maximum(moved[:, self._begins], moved[:, self._inside]), moved.amin(dim=-1, keepdim=True)
        moved[:, self._inside] = top
        moved[:, self._begins] = lowest.expand(-1, len(self._begins))
        found[0][goes_on] = moved
        return [part.masked_fill(silent[:, None], torch.nan) for part in found]


def _flat(encoded: Encoded) -> tuple[Ints, Ints, NDArray[np.bool_]]:
    """Starts, ends and word continuations of all pieces of a text."""
    segments = encoded.segments
    return (
        np.concatenate([segment.starts for segment in segments]),
        np.concatenate([segment.ends for segment in segments]),
        np.concatenate([segment.continues for segment in segments]),
    )

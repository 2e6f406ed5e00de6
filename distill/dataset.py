"""Packed examples: sentences as the service would cut and encode them, with a tag for every piece, in flat arrays.

Packing is done once and cached under the hash of everything that went into it: the data files, the tokenizer, the form
of the text. Both forms are made: raw (detokenised by the language's habits, what requests carry) and joined tokens.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, compress, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from distill.corpora import ENTITY_TYPES, as_text, read_split, read_text, split_path, text_path
from onoma.bundle import TokenizerFacts, sha256
from onoma.encoding import Encoder, Segment
from onoma.labels import LabelSet

LABELS = LabelSet.of_types(ENTITY_TYPES)  # unless a recipe has other types
NO_TAG = -1
PACK_VERSION = 4
MAX_VOCABULARY = 1 << 16


@dataclass(frozen=True)
class Packed:
    """N examples of T_i pieces in flat arrays.

    :param ids: (sum T,) piece ids, uint16.
    :param tags: (sum T,) tag columns, int8; NO_TAG where there is no label (unlabelled text).
    :param offsets: (N + 1,) where each example starts.
    :param language: (N,) index into `languages`.
    :param texts: (N,) the text of each example, for teachers with another vocabulary; None where nobody asked for it.
    """

    ids: NDArray[np.uint16]
    tags: NDArray[np.int8]
    offsets: NDArray[np.int64]
    language: NDArray[np.int16]
    languages: tuple[str, ...]
    texts: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.language)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(N,) pieces in each example."""
        return np.diff(self.offsets)

    @property
    def pieces(self) -> int:
        """Pieces altogether."""
        return len(self.ids)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over pieces, tags, borders, and texts where there are any."""
        whole = hashlib.sha256()
        for array in (self.ids, self.tags, self.offsets):
            whole.update(array.tobytes())
        if self.texts is not None:
            whole.update(json.dumps(self.texts).encode())
        return whole.hexdigest()

    def save(self, path: Path) -> None:
        """Write at once, uncompressed (it is a cache)."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp.npz")
        arrays: dict[str, Any] = {
            "ids": self.ids,
            "tags": self.tags,
            "offsets": self.offsets,
            "language": self.language,
            "languages": np.array(self.languages),
        }
        if self.texts is not None:
            # Bytes and their borders: an array of strings would give every text the room of the longest.
            coded = [text.encode("utf-8") for text in self.texts]
            arrays["texts"] = np.frombuffer(b"".join(coded), dtype=np.uint8)
            arrays["text_offsets"] = np.cumsum([0, *map(len, coded)])
        np.savez(temporary, **arrays)
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path) -> Packed:
        """Read what `save` wrote."""
        with np.load(path) as content:
            return cls(
                content["ids"],
                content["tags"],
                content["offsets"],
                content["language"],
                tuple(str(name) for name in content["languages"]),
                _texts(content["texts"].tobytes(), content["text_offsets"]) if "texts" in content else None,
            )


def _texts(coded: bytes, offsets: NDArray[np.int64]) -> tuple[str, ...]:
    return tuple(coded[low:high].decode("utf-8") for low, high in pairwise(offsets.tolist()))


def concatenate(parts: Sequence[Packed]) -> Packed:
    """One Packed of several, in their order; languages are merged; texts stay if all have them.

    :raises ValueError: if there is none.
    """
    if not parts:
        raise ValueError("no training data: check the limits, and what ONOMA_DATA holds")
    languages = tuple(sorted({name for part in parts for name in part.languages}))
    at = {name: index for index, name in enumerate(languages)}
    sizes = np.concatenate([part.lengths for part in parts])
    texts = [part.texts for part in parts if part.texts is not None]
    return Packed(
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.tags for part in parts]),
        np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        np.concatenate(
            [np.array([at[name] for name in part.languages], dtype=np.int16)[part.language] for part in parts]
        ),
        languages,
        tuple(chain.from_iterable(texts)) if len(texts) == len(parts) else None,
    )


def laid_end_to_end(begins: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Every position of the intervals that begin at `begins` (N,) and hold `sizes` (N,), one interval after another."""
    before = np.cumsum(sizes) - sizes
    return np.repeat(begins - before, sizes) + np.arange(sizes.sum())


def select(data: Packed, examples: slice | NDArray[np.bool_]) -> Packed:
    """The examples of a slice without a step, or of a mask (N,), in their order; those of a slice are not copied.

    :raises ValueError: if the slice has a step.
    """
    if isinstance(examples, slice):
        low, high, step = examples.indices(len(data))
        if step != 1:
            raise ValueError(f"the slice must have no step, got {step}")
        high = max(low, high)
        inner = slice(data.offsets[low], data.offsets[high])
        texts = None if data.texts is None else data.texts[low:high]
        offsets = data.offsets[low : high + 1] - data.offsets[low]
        return Packed(data.ids[inner], data.tags[inner], offsets, data.language[low:high], data.languages, texts)
    chosen = examples
    lengths = data.lengths
    inside = np.repeat(chosen, lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths[chosen])]).astype(np.int64)
    texts = None if data.texts is None else tuple(compress(data.texts, chosen.tolist()))
    return Packed(data.ids[inside], data.tags[inside], offsets, data.language[chosen], data.languages, texts)


def untagged(data: Packed) -> Packed:
    """The same examples without their labels."""
    return replace(data, tags=np.full_like(data.tags, NO_TAG))


def sample(data: Packed, pieces: int, *, seed: int) -> Packed:
    """A random subset of the examples with about `pieces` pieces; all of them if there are no more."""
    order = np.random.default_rng(seed).permutation(len(data))
    chosen = np.zeros(len(data), dtype=np.bool_)
    chosen[order[np.cumsum(data.lengths[order]) <= pieces]] = True
    return select(data, chosen)


def segment_tags(
    segment: Segment, entities: Sequence[tuple[int, int, str]], *, labels: LabelSet = LABELS
) -> NDArray[np.int8]:
    """(T,) tag of each piece: the first piece that overlaps an entity begins it, the others continue it."""
    tags = np.full(len(segment.ids), labels.outside, dtype=np.int8)
    for start, end, label in entities:
        touched = np.flatnonzero((segment.starts < end) & (segment.ends > start))
        if len(touched):
            tags[touched] = labels.index["I-" + label]
            tags[touched[0]] = labels.index["B-" + label]
    return tags


def training_encoder(tokenizer: Tokenizer, *, limit: int = 192) -> Encoder:
    """The encoder of training examples: the service's, with a shorter window."""
    return Encoder(tokenizer, facts=TokenizerFacts(pad_id=0), limit=limit, overlap=0)


def pack(
    texts: Iterator[tuple[str, Sequence[tuple[int, int, str]] | None]],
    *,
    tokenizer: Tokenizer,
    language: str,
    labels: LabelSet = LABELS,
    keep_texts: bool = False,
) -> Packed:
    """Pack texts with their entities (None: unlabelled) as the service would segment and window them.

    :param labels: whose columns the tags are; it must have the entities' types.
    :param keep_texts: keep each example's text; the few whose text alone gives other pieces are left out.
    :raises ValueError: if the vocabulary does not fit the 16 bits of an id.
    """
    if tokenizer.get_vocab_size() > MAX_VOCABULARY:
        size = tokenizer.get_vocab_size()
        raise ValueError(f"packed data has room for {MAX_VOCABULARY} pieces, the tokenizer has {size}")
    encoder = training_encoder(tokenizer)
    ids: list[NDArray[np.uint16]] = []
    tags: list[NDArray[np.int8]] = []
    kept: list[str] = []
    chunk: list[tuple[str, Sequence[tuple[int, int, str]] | None]] = []

    def flush() -> None:
        slices: list[str] = []
        first = len(ids)
        for (text, entities), encoded in zip(chunk, encoder.encode([text for text, _ in chunk]), strict=True):
            for segment in encoded.segments:
                if entities is None:
                    own = np.full(len(segment.ids), NO_TAG, dtype=np.int8)
                else:
                    own = segment_tags(segment, entities, labels=labels)
                for window in segment.windows:
                    ids.append(segment.ids[window.low : window.high].astype(np.uint16))
                    tags.append(own[window.low : window.high])
                    if keep_texts:
                        slices.append(text[segment.starts[window.low] : segment.ends[window.high - 1]])
        if keep_texts:
            again = [np.concatenate([np.empty(0, np.int64), *one.inputs]) for one in encoder.encode(slices)]
            same = [np.array_equal(one, other) for one, other in zip(again, ids[first:], strict=True)]
            ids[first:], tags[first:] = compress(ids[first:], same), compress(tags[first:], same)
            kept.extend(compress(slices, same))
        chunk.clear()

    for entry in texts:
        chunk.append(entry)
        if len(chunk) >= 2048:
            flush()
    flush()
    return Packed(
        np.concatenate([np.empty(0, np.uint16), *ids]),
        np.concatenate([np.empty(0, np.int8), *tags]),
        np.concatenate([[0], np.cumsum([len(one) for one in ids])]).astype(np.int64),
        np.zeros(len(ids), dtype=np.int16),
        (language,),
        tuple(kept) if keep_texts else None,
    )


def types_in_key(types: Sequence[str]) -> dict[str, Any]:
    """What a hash holds of the types: nothing where they are PER, ORG, LOC, as when there were no others."""
    return {} if tuple(types) == ENTITY_TYPES else {"types": list(types)}


def _key(**facts: object) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:20]


def packed_split(
    source: str,
    language: str,
    split: str,
    *,
    tokenizer_path: Path,
    cache: Path,
    raw: bool,
    limit: int | None = None,
    texts: bool = False,
    types: tuple[str, ...] = ENTITY_TYPES,
) -> Packed:
    """One labelled split, packed with tags of `types`; from the cache if nothing that went into it changed."""
    path = split_path(source, language, split)
    facts = {"raw": raw, "limit": limit, **({"texts": "utf-8"} if texts else {}), **types_in_key(types)}
    key = _key(data=sha256(path), tokenizer=sha256(tokenizer_path), version=PACK_VERSION, **facts)
    target = cache / f"{source.replace('/', '-')}-{language}-{split}-{key}.npz"
    if not target.exists():
        sentences = read_split(source, language, split, types=types)[:limit]
        made = pack(
            (as_text(sentence, raw=raw) for sentence in sentences),
            tokenizer=Tokenizer.from_file(str(tokenizer_path)),
            language=language,
            labels=LabelSet.of_types(types),
            keep_texts=texts,
        )
        made.save(target)
        read_split.cache_clear()
    return Packed.load(target)


def packed_text(language: str, *, tokenizer_path: Path, cache: Path, limit: int, texts: bool = False) -> Packed:
    """At most `limit` unlabelled lines of one language that has some, packed and cached likewise."""
    facts = {"limit": limit, **({"texts": "utf-8"} if texts else {})}
    key = _key(text=sha256(text_path(language)), tokenizer=sha256(tokenizer_path), version=PACK_VERSION, **facts)
    target = cache / f"text-{language}-{key}.npz"
    if not target.exists():
        lines = ((line, None) for line in read_text(language, limit))
        tokenizer = Tokenizer.from_file(str(tokenizer_path))
        pack(lines, tokenizer=tokenizer, language=language, keep_texts=texts).save(target)
    return Packed.load(target)

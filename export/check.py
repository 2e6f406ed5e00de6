"""Checks of an exported model: parity with the original, and size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.errors import ExportError
from export.source import Decide, Floats, Ints, Source, most_probable
from onoma.bundle import TokenizerFacts
from onoma.decode import build_decoder
from onoma.labels import LabelSet
from onoma.model import Model
from onoma.tagger import Tagger
from onoma.words import Words

PARITY_TEXTS = (
    "Angela Merkel visited the Siemens works in München on 3 May 2019.",
    "Die Deutsche Bahn verlegt ihren Sitz von Berlin nach Frankfurt am Main.",
    "Le président Emmanuel Macron a reçu à Paris le directeur de l'UNESCO.",
    "В Москве состоялась встреча Сергея Лаврова с представителями ООН.",
    "زار الملك عبد الله الثاني مقر الأمم المتحدة في نيويورك.",
    "प्रधानमंत्री नरेन्द्र मोदी ने नई दिल्ली में इसरो के वैज्ञानिकों से भेंट की।",
    "阿里巴巴集团的总部设在杭州，创始人是马云。",
    "トヨタ自動車の本社は愛知県豊田市にあり、豊田章男が会長を務める。",
    "삼성전자는 이재용 회장과 함께 서울에서 회의를 열었다.",
    "พระบาทสมเด็จพระเจ้าอยู่หัวเสด็จไปยังจังหวัดเชียงใหม่",
    "Rais Samia Suluhu Hassan alikutana na viongozi wa Umoja wa Afrika mjini Dodoma.",
    "Ο Νίκος Καζαντζάκης γεννήθηκε στο Ηράκλειο της Κρήτης.",
    "בנימין זאב הרצל ייסד את ההסתדרות הציונית בבזל.",
    "soooo happy!!! 😀 meeting @nasa in houston (texas), with dr. o'neill",
)
"""Sentences in several scripts, of several lengths."""

MAX_FP32_DIFFERENCE = 1e-3
MIN_FP32_AGREEMENT = 0.99  # of decided tags; less than all of them, as there are ties


@dataclass(frozen=True, slots=True)
class Parity:
    """How an exported model compares with the original on real sentences.

    :param pieces: pieces compared.
    :param max_difference: largest difference of any logit.
    :param agreement: share of pieces whose decided tag is the same: the most probable one, or for a CRF that of the
        best sequence.
    :param batch_difference: largest difference of any logit between a sentence alone and one in a padded batch.
    """

    pieces: int
    max_difference: float
    agreement: float
    batch_difference: float


def full_window(inputs: Sequence[Ints], limit: int) -> list[Ints]:
    """One window of as many pieces as the model takes, of the pieces of `inputs` over and over; none of nothing."""
    pieces = np.concatenate([np.empty(0, dtype=np.int64), *inputs])
    return [np.resize(pieces, limit)] if len(pieces) else []


def measure_parity(source: Source, model: Model, inputs: Sequence[Ints]) -> Parity:
    """Compare an exported model with the original: each window (T,) of piece ids, alone and all in one padded batch.

    :raises ExportError: if there is nothing to compare, the model does not run, or the shapes of the logits differ.
    """
    if not inputs:
        raise ExportError("parity needs at least one sentence with a piece in it")
    facts, decide = source.facts, _decide_as_bundle(source)
    expected = [_without_specials(source.reference(_with_specials(ids, facts)), facts) for ids in inputs]
    try:
        alone = [model.infer([ids])[0] for ids in inputs]
        together = model.infer(inputs)
    except Exception as error:  # onnxruntime's errors share no base class
        raise ExportError(f"the exported graph does not run on inputs of every length: {error}") from error
    for want, one, many in zip(expected, alone, together, strict=True):
        if not want.shape == one.shape == many.shape:
            raise ExportError(f"logits have shape {want.shape} before the export and {one.shape}, {many.shape} after")
    decided = np.concatenate([source.decide(want) for want in expected])
    same = [decided == np.concatenate([decide(rows) for rows in got]) for got in (alone, together)]
    want, one, many = np.concatenate(expected), np.concatenate(alone), np.concatenate(together)
    return Parity(
        pieces=len(want),
        max_difference=float(max(np.abs(want - one).max(), np.abs(want - many).max())),
        agreement=float(np.mean(same)),
        batch_difference=float(np.abs(one - many).max()),
    )


def _decide_as_bundle(source: Source) -> Decide:
    """How onoma decides with the source's transitions."""
    if source.transitions is None:
        return most_probable
    chain = build_decoder(LabelSet(source.labels), transitions=source.transitions)

    def decide(logits: Floats) -> Ints:
        words = Words(np.zeros(len(logits), dtype=np.bool_), np.zeros(1, dtype=np.int64))
        return chain.decode(logits, words)[0]

    return decide


def _with_specials(ids: Ints, facts: TokenizerFacts) -> Ints:
    return np.concatenate([np.array(part, dtype=np.int64) for part in (facts.prefix_ids, ids, facts.suffix_ids)])


def _without_specials(logits: Floats, facts: TokenizerFacts) -> Floats:
    return logits[len(facts.prefix_ids) : len(logits) - len(facts.suffix_ids)]


def require_parity(
    parity: Parity, what: str, *, max_difference: float | None = None, min_agreement: float | None = None
) -> None:
    """Refuse a model that differs too much from the original.

    :raises ExportError: names the measure that is over its limit; a NaN is always over it.
    """
    if max_difference is not None and not parity.max_difference <= max_difference:
        raise ExportError(
            f"{what} differs from torch by {parity.max_difference:.2g} in a logit, limit {max_difference:g}"
        )
    if min_agreement is not None and not parity.agreement >= min_agreement:
        raise ExportError(
            f"{what} gives {parity.agreement:.2%} of {parity.pieces} pieces the tag that torch gives, "
            f"at least {min_agreement:.2%} are needed; try another --quantization"
        )


def begun_inside(tagger: Tagger, texts: Sequence[str]) -> tuple[int, int]:
    """How many entities the model begins with I-X, and how many it begins, if each word has its most probable tag.

    Where labels may be IOB1 or IOB2, this tells which of them the model has learnt.
    """
    labels, inside, every = tagger.labels, 0, 0
    for encoded in tagger.encode(texts):
        for segment in encoded.segments:
            if len(segment.windows) == 1:
                tags = tagger.infer([segment.ids])[0][~segment.continues].argmax(axis=1)
                begun = labels.begins_after[np.append(len(labels.tags), tags[:-1]), tags]
                inside += int((begun & labels.inside[tags]).sum())
                every += int(begun.sum())
    return inside, every


def folder_bytes(folder: Path) -> int:
    """Size of all files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def require_size(folder: Path, max_bytes: int | None) -> None:
    """Refuse a bundle that is too large.

    :raises ExportError: names the limit and the size of each file.
    """
    if max_bytes is not None and (size := folder_bytes(folder)) > max_bytes:
        parts = ", ".join(f"{file.name} {file.stat().st_size:,}" for file in sorted(folder.iterdir()))
        raise ExportError(f"the bundle takes {size:,} bytes, limit {max_bytes:,} ({parts})")

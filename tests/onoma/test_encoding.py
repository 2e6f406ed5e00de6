from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from families import FAMILIES, HARD, RandomModel, texts
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from onoma import LabelSet, Tagger
from onoma.bundle import Calibration, TokenizerFacts
from onoma.encoding import Encoder
from onoma.windows import segments

LABELS = LabelSet.of_types(["PER", "ORG", "LOC"])
FACTS = TokenizerFacts(pad_id=0)


def encoder_of(tokenizer: Tokenizer, limit: int = 12, overlap: int = 4) -> Encoder:
    return Encoder(tokenizer, facts=FACTS, limit=limit, overlap=overlap)


def may_stay_uncovered(char: str) -> bool:
    """What a tokenizer may drop: controls, invisible formats, the unassigned, BERT also lone marks and U+FFFD."""
    return (
        char.isspace() or char == "\ufffd" or unicodedata.category(char) in ("Cc", "Cf", "Cn", "Co", "Mn", "Mc", "Me")
    )


def check_pieces(text: str, encoder: Encoder) -> None:
    [encoded] = encoder.encode([text])
    covered = np.zeros(len(text), dtype=bool)
    spans = segments(text)
    end_before = 0
    for segment in encoded.segments:
        starts, ends = segment.starts, segment.ends
        assert len(segment.ids) == len(starts) == len(ends) == len(segment.continues) > 0
        assert (starts < ends).all() and starts[0] >= end_before and ends[-1] <= len(text)
        assert (np.diff(starts) >= 0).all() and (np.diff(ends) >= 0).all()
        assert any(low <= starts[0] and ends[-1] <= high for low, high in spans)
        for at, (start, end) in enumerate(zip(starts, ends, strict=True)):
            assert not text[start].isspace() and not text[end - 1].isspace()
            covered[start:end] = True
            # Pieces that share a character cannot be split between entities.
            assert at == 0 or start >= ends[at - 1] or segment.continues[at]
        end_before = int(ends[-1])
    for at, char in enumerate(text):
        assert covered[at] or may_stay_uncovered(char), (text, at, hex(ord(char)))


@given(texts)
@example("한국")
@example("ﬁnd ﷺ นำ กำ้")
@example("a" * 30 + "      " + "👨\u200d👩\u200d👧" * 3)
@example("Dr. Smith.\u0301 e\u0301")
@example("。\ufe0f東京")
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_pieces_cover_the_text(family: str, text: str) -> None:
    check_pieces(text, encoder_of(FAMILIES[family]()))


@pytest.mark.parametrize("hard", HARD)
def test_hard_characters_in_words(tokenizer: Tokenizer, hard: str) -> None:
    for text in (hard, f"Köln{hard}er", f"{hard} {hard}", f"the {hard}. Angela"):
        check_pieces(text, encoder_of(tokenizer))


@pytest.mark.parametrize("text", ["한", "한국", "각", "e\u0301", "नमस्ते", "がぎ", "กำ"])
def test_composed_characters_are_covered_whole(tokenizer: Tokenizer, text: str) -> None:
    [encoded] = encoder_of(tokenizer).encode([unicodedata.normalize("NFD", text)])
    [segment] = encoded.segments
    assert segment.starts[0] == 0
    assert segment.ends[-1] == len(encoded.text)


def test_words_continue(tokenizer: Tokenizer) -> None:
    text = "Kölner (Köln-er) हिन्दी ไทย"
    [encoded] = encoder_of(tokenizer, limit=200).encode([text])
    [segment] = encoded.segments
    free = {int(start) for start, continues in zip(segment.starts, segment.continues, strict=True) if not continues}
    assert {text.index(word) for word in ("Kölner", "(", "Köln-", "-", "er)", ")", "हिन्दी", "ไ")} <= free
    assert not free & {1, 2, 3, 4, 5}
    hindi = text.index("हिन्दी")
    assert not free & set(range(hindi + 1, hindi + 6))


def test_special_tokens_in_a_text_are_text(tokenizer: Tokenizer) -> None:
    specials = {
        token for token in ("<pad>", "<mask>", "[SEP]", "[PAD]", "[CLS]") if tokenizer.token_to_id(token) is not None
    }
    assert specials
    [encoded] = encoder_of(tokenizer).encode([" ".join(specials)])
    found = {int(piece) for segment in encoded.segments for piece in segment.ids}
    assert not found & {tokenizer.token_to_id(token) for token in specials}


def test_only_space_is_nothing(tokenizer: Tokenizer) -> None:
    encoded = encoder_of(tokenizer).encode(["", "  \n\n \t", "\u3000"])
    assert [one.window_count for one in encoded] == [0, 0, 0]
    assert [one.inputs for one in encoded] == [[], [], []]


def tagger_of(tokenizer: Tokenizer, seed: int, limit: int = 12) -> Tagger:
    return Tagger(
        encoder=encoder_of(tokenizer, limit=limit),
        model=RandomModel(len(LABELS.tags), seed),
        labels=LABELS,
        calibration=Calibration(),
    )


@given(texts, st.integers(0, 50))
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_entities_are_exact_slices(family: str, text: str, seed: int) -> None:
    tagged = tagger_of(FAMILIES[family](), seed).tag(text)
    end = 0
    for entity in tagged.entities:
        assert end <= entity.start < entity.end <= len(text)
        found = text[entity.start : entity.end]
        assert found.strip() == found
        assert 0 <= entity.score <= 1
        end = entity.end
    assert 0 <= tagged.confidence <= 1


SENTENCES = (
    "Angela Merkel lived in Köln, not in Hamburg.",
    "The answer was given yesterday!",
    "Москва дарит радость.",
    "東京都の人。",
    "हिन्दी भाषा है।",
    "أحمد يعيش هنا؟",
    "He met the others there.",
)


@given(st.lists(st.sampled_from(SENTENCES), min_size=1, max_size=60), st.integers(0, 20))
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_long_text_holds_the_entities_of_its_sentences(family: str, parts: list[str], seed: int) -> None:
    tagger = tagger_of(FAMILIES[family](), seed)
    text = " ".join(parts)
    expected = []
    at = 0
    alone = {part: tagger.tag(part) for part in set(parts)}
    for part in parts:
        expected += [entity.shifted(at) for entity in alone[part].entities]
        at += len(part) + 1
    together = tagger.tag(text)
    assert [(e.start, e.end, e.label) for e in together.entities] == [(e.start, e.end, e.label) for e in expected]
    assert together.confidence == pytest.approx(min(one.confidence for one in alone.values()), abs=1e-6)
    assert together.windows == sum(alone[part].windows for part in parts)

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from bundles import LABELS, transitions, write_bundle
from families import RandomModel, unigram
from hypothesis import given
from hypothesis import strategies as st

from onoma import Entity, Tagged, Tagger, TextError
from onoma.bundle import Calibration, TokenizerFacts, Transitions
from onoma.encoding import Encoder
from onoma.labels import LabelSet
from onoma.tagger import length_batches, to_token_spans
from onoma.text import join_tokens


def spans(tagged: Tagged) -> list[tuple[int, int, str]]:
    return [(entity.start, entity.end, entity.label) for entity in tagged.entities]


def test_tag(bundle: Path) -> None:
    tagged = Tagger.load(bundle).tag("  Angela in Köln, not Angela's")
    assert spans(tagged) == [(2, 8, "PER"), (12, 16, "LOC"), (22, 28, "PER")]
    assert tagged.entities[0].score > tagged.entities[1].score > 0.9
    assert tagged.windows == 1


def test_nothing_is_truncated(bundle: Path) -> None:
    text = "Angela the Köln " * 500
    tagged = Tagger.load(bundle).tag(text)
    assert len(tagged.entities) == 1000
    assert {text[e.start : e.end] for e in tagged.entities} == {"Angela", "Köln"}
    assert tagged.windows > 40


def test_batch_is_as_one_by_one(bundle: Path) -> None:
    tagger = Tagger.load(bundle, threads=1)
    texts = ["Angela", "", "in Köln. Angela!", "x" * 100, " "]
    assert tagger.tag_batch(texts, batch_tokens=3) == [tagger.tag(text) for text in texts]
    assert tagger.tag_batch([]) == []


def test_batches_are_decoded_as_texts_are(bundle: Path) -> None:
    tagger = Tagger.load(bundle, threads=1)
    encoded = tagger.encode(["Angela", "", "in Köln. Angela the Köln " * 30, " "])
    emissions = [tagger.infer([ids])[0] for one in encoded for ids in one.inputs]
    alone, rest = [], emissions
    for one in encoded:
        alone.append(tagger.decode(one, rest[: one.window_count]))
        rest = rest[one.window_count :]
    assert tagger.decode_batch(encoded, emissions) == alone
    assert tagger.decode_batch([], []) == []


def test_a_crf_decodes_what_is_unlikely_alone(tmp_path: Path) -> None:
    write_bundle(tmp_path / "softmax")
    plain = Tagger.load(tmp_path / "softmax", threads=1)
    assert spans(plain.tag("Köln Angela")) == [(0, 4, "LOC"), (5, 11, "PER")]
    # A person begins nowhere but where a sentence does.
    width = len(LABELS.tags)
    rows, person = [[0.0] * width for _ in range(width)], LABELS.index["B-PER"]
    for row in rows:
        row[person] = -20.0
    crf = Transitions(transitions=rows, start=[0.0] * width, end=[0.0] * width)
    write_bundle(tmp_path / "crf", decoder="crf", crf=crf)
    tagger = Tagger.load(tmp_path / "crf", threads=1)
    assert tagger.transitions == crf
    assert spans(tagger.tag("Köln Angela")) == [(0, 4, "LOC")]
    assert spans(tagger.tag("Angela Köln")) == [(0, 6, "PER"), (7, 11, "LOC")]


def test_the_temperature_of_a_crf_may_change(tmp_path: Path) -> None:
    write_bundle(tmp_path, decoder="crf", crf=transitions())
    tagger = Tagger.load(tmp_path, threads=1)
    before = tagger.tag("Angela in Köln")
    tagger.calibration = Calibration(temperature=4.0)
    after = tagger.tag("Angela in Köln")
    assert spans(after) == spans(before) and after.confidence < before.confidence


@given(st.lists(st.text(max_size=60), max_size=4), st.integers(0, 30))
def test_a_crf_has_the_same_answer_in_batches_and_windows(texts: list[str], seed: int) -> None:
    labels = LabelSet.of_types(["PER", "LOC"])
    texts = [text.replace("\0", "") for text in texts if text.isprintable()] + ["Angela the Köln " * 20]

    def tagger(limit: int) -> Tagger:
        return Tagger(
            encoder=Encoder(unigram(), facts=TokenizerFacts(pad_id=0), limit=limit, overlap=2),
            model=RandomModel(len(labels.tags), seed),
            labels=labels,
            calibration=Calibration(temperature=1.5),
            transitions=transitions(labels, seed=seed),
        )

    together = tagger(8).tag_batch(texts)
    for text, one in zip(texts, together, strict=True):
        for other in (tagger(8).tag(text), tagger(500).tag(text)):  # windows are joined before they are decoded
            assert spans(other) == spans(one)
            assert [e.score for e in other.entities] == pytest.approx([e.score for e in one.entities], abs=1e-9)
            assert other.confidence == pytest.approx(one.confidence, abs=1e-9)


def test_tokens(bundle: Path) -> None:
    tagger = Tagger.load(bundle)
    [one, two, three] = tagger.tag_tokens([["Angela", "in", "Köln", "."], [], ["Köln-Ost", "", "Angela"]])
    assert spans(one) == [(0, 1, "PER"), (2, 3, "LOC")]
    assert spans(two) == []
    assert spans(three) == [(0, 1, "LOC"), (2, 3, "PER")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ab\ud800", r"text has a lone surrogate U\+D800 at character 2"),
        ("a\0", "text has a NUL character at character 1"),
    ],
)
def test_refused_texts(bundle: Path, text: str, message: str) -> None:
    with pytest.raises(TextError, match=message):
        Tagger.load(bundle).tag(text)
    with pytest.raises(TextError, match=r"texts\[1\] has"):
        Tagger.load(bundle).tag_batch(["fine", text])


def test_two_entities_in_one_token() -> None:
    tagged = Tagged((Entity(0, 2, "A", 1.0), Entity(3, 8, "B", 1.0), Entity(9, 10, "C", 1.0)), 1.0, 1)
    assert spans(to_token_spans(tagged, [(0, 5), (6, 8), (9, 10)])) == [(0, 1, "A"), (1, 2, "B"), (2, 3, "C")]


@given(
    st.lists(st.sampled_from(["Angela", "Köln", "東", "京", "-", "", "a b", "ไ", ".", "!", "\n", "é"]), max_size=20),
    st.integers(0, 30),
)
def test_token_spans_are_ordered_and_in_range(words: list[str], seed: int) -> None:
    labels = LabelSet.of_types(["PER", "LOC"])
    tagger = Tagger(
        encoder=Encoder(unigram(), facts=TokenizerFacts(pad_id=0), limit=8, overlap=2),
        model=RandomModel(len(labels.tags), seed),
        labels=labels,
        calibration=Calibration(),
    )
    [by_token] = tagger.tag_tokens([words])
    text, at = join_tokens(words)
    by_character = tagger.tag(text)
    end = 0
    for entity in by_token.entities:
        assert end <= entity.start < entity.end <= len(words)
        end = entity.end
        covered = (at[entity.start][0], at[entity.end - 1][1])
        assert any(
            e.start < covered[1] and covered[0] < e.end and e.label == entity.label for e in by_character.entities
        )
    assert len(by_token.entities) <= len(by_character.entities)


@given(st.lists(st.integers(0, 50), max_size=30), st.integers(1, 100))
def test_length_batches(lengths: list[int], most: int) -> None:
    groups = list(length_batches(lengths, most))
    assert sorted(itertools.chain(*groups)) == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or len(group) * max(1, *(lengths[i] for i in group)) <= most

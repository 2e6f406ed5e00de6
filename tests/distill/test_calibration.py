from __future__ import annotations

import itertools
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from families import RandomModel, unigram

from distill.calibration import Labelled, calibrate, calibrate_bundles, fit_temperature, isotonic, loss, possible
from distill.corpora import as_text, read_split
from distill.dev_examples import dev_halves, score, tag_examples
from distill.evaluation import as_spans
from distill.reliability import reliability
from distill.threshold import macro_f1
from onoma.bundle import Calibration, TokenizerFacts, Transitions
from onoma.decode import Softmax, build_decoder
from onoma.encoding import Encoder
from onoma.labels import LabelSet
from onoma.tagger import Tagger
from onoma.words import Words

LABELS = LabelSet.of_types(["PER", "LOC"])
C = len(LABELS.tags)


def fitted(pieces: Labelled, transitions: Transitions | None) -> float:
    def loss_at(temperature: float) -> float:
        return loss(pieces, build_decoder(LABELS, transitions=transitions, temperature=temperature))

    return fit_temperature(loss_at)


@pytest.mark.parametrize("scale", [3.0, 0.5])
def test_temperature_recovers_the_scale_of_the_logits(scale: float) -> None:
    rng = np.random.default_rng(1)
    true = rng.normal(size=(20_000, C)).astype(np.float32) * 2
    words = Words(np.zeros(len(true), dtype=np.bool_), np.arange(len(true)))
    probabilities = np.exp(Softmax(LABELS).log_probabilities(true, words))
    tags = (probabilities.cumsum(axis=1) > rng.random((len(true), 1))).argmax(axis=1)
    assert fitted(Labelled(true * np.float32(scale), tags, words), None) == pytest.approx(scale, rel=0.05)


@pytest.mark.parametrize("scale", [3.0, 0.5])
def test_temperature_recovers_the_scale_of_a_crf(scale: float) -> None:
    rng = np.random.default_rng(2)
    length, sentences = 4, 4000
    emissions, transitions = rng.normal(size=(sentences, length, C)), rng.normal(size=(C, C))
    # Drawn from the chain: all legal sequences of a sentence, with their probabilities.
    every = np.array(list(itertools.product(range(C), repeat=length)))
    legal = LABELS.legal_start[every[:, 0]] & LABELS.legal[every[:, :-1], every[:, 1:]].all(axis=1)
    every = every[legal]
    scores = emissions[:, np.arange(length), every].sum(axis=2) + transitions[every[:, :-1], every[:, 1:]].sum(axis=1)
    drawn = every[(scores + rng.gumbel(size=scores.shape)).argmax(axis=1)]
    numbers = Transitions(transitions=(scale * transitions).tolist(), start=[0.0] * C, end=[0.0] * C)
    words = Words(np.zeros(sentences * length, dtype=np.bool_), length * np.arange(sentences))
    logits = (scale * emissions).reshape(-1, C).astype(np.float32)
    assert fitted(Labelled(logits, drawn.ravel(), words), numbers) == pytest.approx(scale, rel=0.07)


def test_sentences_that_no_legal_sequence_fits_do_not_count() -> None:
    begin, inside, outside = LABELS.index["B-PER"], LABELS.index["I-PER"], LABELS.outside
    tags = np.array([begin, inside, outside, begin, begin, inside])
    words = Words(np.array([False, True, False, True, False, True]), np.array([0, 2, 4]))
    logits = np.arange(6 * C, dtype=np.float32).reshape(6, C)
    kept = possible(Labelled(logits, tags, words), LABELS)
    assert kept.tags.tolist() == [begin, inside, begin, inside]
    assert kept.logits.tolist() == logits[[0, 1, 4, 5]].tolist()
    assert kept.words.begins.tolist() == [0, 2]
    assert possible(kept, LABELS) is kept


def test_the_halves_of_dev_share_no_sentence_and_every_language(data: Path) -> None:
    halves = dev_halves(limit=5, languages=["en", "de"])
    assert [[one.language for one in half] for half in halves] == [["en"] * 3 + ["de"] * 3, ["en"] * 2 + ["de"] * 2]
    for language, places in (("en", (0, 3, 0, 2)), ("de", (3, 6, 2, 4))):
        own = read_split("wikiann", language, "dev")[:5]
        low, high, other_low, other_high = places
        assert (*halves[0][low:high],) == own[::2] and (*halves[1][other_low:other_high],) == own[1::2]


def test_examples_are_scored_as_their_tagger_tags_them(data: Path) -> None:
    labels = LabelSet.of_types(["PER", "ORG", "LOC"])
    tagger = Tagger(
        encoder=Encoder(unigram(), facts=TokenizerFacts(pad_id=0), limit=8, overlap=2),
        model=RandomModel(len(labels.tags)),
        labels=labels,
        calibration=Calibration(temperature=2.0, confidence=((0.0, 0.1), (1.0, 0.9))),
    )
    sentences = dev_halves(limit=12, languages=["en"])[0]
    texts = [as_text(sentence, raw=True) for sentence in sentences]
    examples = tag_examples(tagger, sentences)
    assert any(len(example.emissions) > 1 for example in examples), "some sentences need several windows"
    assert [(one.encoded.text, list(one.gold)) for one in examples] == texts
    assert all(0 < one.seconds < 10 for one in examples)
    tagged = [tagger.tag(text) for text, _ in texts]
    scored = score(tagger, examples)
    assert [(list(one.predicted), one.confidence) for one in scored] == [
        (as_spans(one), pytest.approx(one.confidence)) for one in tagged
    ]
    tagger.calibration = Calibration()
    assert [one.confidence for one in score(tagger, examples)] != [one.confidence for one in scored]
    right = [set(as_spans(one)) == set(gold) for one, (_, gold) in zip(tagged, texts, strict=True)]
    assert [one.right for one in scored] == right


@pytest.mark.parametrize("decoder", ["softmax", "crf"])
def test_a_tagger_is_calibrated_by_its_own_probabilities(data: Path, decoder: str) -> None:
    labels = LabelSet.of_types(["PER", "ORG", "LOC"])
    width = len(labels.tags)
    moves = np.random.default_rng(0).normal(size=(width, width)).tolist()
    tagger = Tagger(
        encoder=Encoder(unigram(), facts=TokenizerFacts(pad_id=0), limit=64, overlap=8),
        model=RandomModel(width),
        labels=labels,
        calibration=Calibration(),
        transitions=None if decoder == "softmax" else Transitions(transitions=moves, start=moves[0], end=moves[1]),
    )
    examples = tag_examples(tagger, [*itertools.chain(*dev_halves(limit=30, languages=["en", "de"]))])
    calibration = calibrate(tagger, examples)
    assert calibration.temperature > 3, "these tags have nothing to do with the text"
    assert calibration.confidence and calibration.fallback_threshold == 0.0
    assert tagger.calibration == calibration
    assert all(right < 0.2 for _, right in calibration.confidence)


def test_isotonic_is_monotone_and_keeps_the_mean() -> None:
    rng = np.random.default_rng(2)
    raw = rng.random(3000)
    right = (rng.random(3000) < raw**2).astype(np.float64)
    points = isotonic(raw, right)
    shares = [share for _, share in points]
    assert shares == sorted(shares) and [at for at, _ in points] == sorted(at for at, _ in points)
    calibration = Calibration(confidence=points)
    for value in (0.3, 0.6, 0.9):
        assert calibration.calibrated(value) == pytest.approx(value**2, abs=0.06)


def test_isotonic_pools_violators_by_hand() -> None:
    # One value a bin: 0.2 is right and 0.4 wrong, so they are pooled to a half.
    points = isotonic(np.array([0.1, 0.2, 0.4, 0.8]), np.array([0.0, 1.0, 0.0, 1.0]), points=4)
    assert points == ((0.1, 0.0), (0.3, 0.5), (0.8, 1.0))


def test_half_of_dev_is_fitted_and_the_other_measured(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = LabelSet.of_types(["PER", "ORG", "LOC"])

    def load(folder: Path, *, threads: int | None = None) -> Tagger:
        assert threads == 1
        return Tagger(
            encoder=Encoder(unigram(), facts=TokenizerFacts(pad_id=0), limit=64, overlap=8),
            model=RandomModel(len(labels.tags), seed={"student": 1, "teacher": 2}[folder.name]),
            labels=labels,
            calibration=Calibration(temperature=3.0),
        )

    monkeypatch.setattr(Tagger, "load", load)
    report = calibrate_bundles(
        Path("student"), Path("teacher"), limit=60, most_fallback=1.0, languages=["en", "de"], threads=1
    )
    to_fit, to_measure = dev_halves(limit=60, languages=["en", "de"])
    student, teacher = load(Path("student"), threads=1), load(Path("teacher"), threads=1)
    fitted = calibrate(student, tag_examples(student, to_fit))
    chosen = report["chosen"]["threshold"]
    expected = fitted.model_copy(update={"fallback_threshold": chosen})
    assert Calibration.model_validate(report["calibration"]) == expected
    ours, theirs = score(student, tag_examples(student, to_measure)), score(teacher, tag_examples(teacher, to_measure))
    assert report["reliability"]["after"]["bins"] == [asdict(one) for one in reliability(ours)]
    student.calibration = Calibration()
    raw = score(student, tag_examples(student, to_measure))
    assert report["reliability"]["before"]["bins"] == [asdict(one) for one in reliability(raw)]
    others = score(teacher, tag_examples(teacher, to_fit))
    assert report["alone"]["teacher"]["macro_f1"] == pytest.approx(macro_f1(theirs), abs=0.001)
    assert macro_f1(theirs) != pytest.approx(macro_f1(others), abs=0.1), "or the line above shows nothing"
    assert report["curve"][0]["macro_f1"] == report["alone"]["student"]["macro_f1"]

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from families import RandomModel, unigram

from distill.calibration import (
    CascadePoint,
    Labelled,
    calibrate,
    choose_threshold,
    fit_temperature,
    isotonic,
    loss,
    possible,
)
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
    calibration = calibrate(tagger, limit=30, languages=["en", "de"])
    assert calibration.temperature > 3, "these tags have nothing to do with the text"
    assert calibration.confidence and calibration.fallback_threshold == 0.0
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


def test_threshold_is_the_cheapest_point_near_the_best_allowed() -> None:
    points = [(0.0, 0.0, 70.0), (0.2, 0.1, 71.95), (0.3, 0.15, 72.0), (0.9, 0.8, 80.0)]
    curve = [CascadePoint(*point) for point in points]
    assert choose_threshold(curve, most_fallback=0.2).threshold == 0.2
    assert choose_threshold(curve, most_fallback=0.2, tolerance=0.0).threshold == 0.3
    assert choose_threshold(curve, most_fallback=1.0).threshold == 0.9
    assert choose_threshold(curve, most_fallback=0.0).threshold == 0.0

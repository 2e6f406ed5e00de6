from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from tokenizers import Tokenizer

from distill.dataset import LABELS
from distill.students import Student, StudentConfig
from distill.teachers import TeacherConfig, build_teacher
from distill.torch_model import TorchModel, torch_tagger
from onoma.bundle import TokenizerFacts

TEXT = "Ada Byron works for Nordbank in Port Alto. Omar left (1805)."


def models(vocabulary: int) -> list[torch.nn.Module]:
    torch.manual_seed(2)
    shape = TeacherConfig(architecture="roformer", layers=1, hidden=16, heads=2, intermediate=16)
    return [
        Student(StudentConfig(vocabulary, 8, 8, LABELS.tags)).eval(),
        build_teacher(shape, vocabulary=vocabulary).eval(),
    ]


def test_a_window_has_the_same_emissions_alone_and_among_others() -> None:
    inputs = [np.array(ids, dtype=np.int64) for ids in ([3, 4, 5, 6], [7], [8, 9])]
    for model in models(20):
        behind = TorchModel(model, facts=TokenizerFacts(pad_id=0))
        together = behind.infer(inputs)
        assert [rows.shape for rows in together] == [(4, 7), (1, 7), (2, 7)]
        for ids, rows in zip(inputs, together, strict=True):
            np.testing.assert_allclose(behind.infer([ids])[0], rows, atol=1e-5)
        assert behind.infer([]) == []


def test_pieces_around_a_window_and_other_columns() -> None:
    asked: list[torch.Tensor] = []

    class Echo(torch.nn.Linear):
        def forward(self, ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
            asked.append(ids * attention_mask - 1 + attention_mask)
            return ids[..., None] + torch.arange(3) / 10

    facts = TokenizerFacts(pad_id=9, prefix_ids=(1, 2), suffix_ids=(3,))
    behind = TorchModel(Echo(1, 1), facts=facts, columns=torch.tensor([2, 0, 1]))
    rows = behind.infer([np.array([5, 6]), np.array([7])])
    assert asked[0].tolist() == [[1, 2, 5, 6, 3], [1, 2, 7, 3, -1]]
    np.testing.assert_allclose(rows[0], [[5.2, 5.0, 5.1], [6.2, 6.0, 6.1]], rtol=1e-6)
    np.testing.assert_allclose(rows[1], [[7.2, 7.0, 7.1]], rtol=1e-6)


def test_a_crf_is_decoded_with_its_transitions(tokenizer: Tokenizer) -> None:
    torch.manual_seed(2)
    shape = StudentConfig(tokenizer.get_vocab_size(), 8, 8, LABELS.tags, decoder="crf")
    crf, plain = Student(shape).eval(), Student(replace(shape, decoder="softmax")).eval()
    plain.load_state_dict({name: value for name, value in crf.state_dict().items() if not name.startswith("crf")})
    assert crf.crf is not None
    with torch.no_grad():
        crf.crf.transitions[LABELS.outside, LABELS.outside] = 50.0
        crf.crf.start[LABELS.index["B-ORG"]] = 900.0
    told, bare = (torch_tagger(one, tokenizer).tag(TEXT).entities for one in (crf, plain))
    assert [(TEXT[one.start : one.end], one.label) for one in told] == [("Ada", "ORG"), ("Omar", "ORG")]
    assert len(bare) > 2, "the emissions alone say something else"


def test_the_tagger_answers_texts(tokenizer: Tokenizer) -> None:
    for model in models(tokenizer.get_vocab_size()):
        for max_length, overlap in ((256, 48), (8, 2)):
            tagger = torch_tagger(model, tokenizer, max_length=max_length, overlap=overlap)
            tagged = tagger.tag_batch([TEXT, "", "Omar"])
            assert len(tagged) == 3 and tagged[1].entities == ()
            assert all(0 <= one.start < one.end <= len(TEXT) for one in tagged[0].entities)
            assert (tagged[0].windows > 2) == (max_length == 8)

"""Another tagging task than named entities: parts of speech, from a source outside of ner/; and other types."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from toydata import NAMES, POS, WORDS, Toy, sentences, write_conll, write_pos

from distill import dataset
from distill.checks import check_run
from distill.corpora import judged_languages, read_split, source_folder, split_path, training_languages
from distill.dataset import LABELS, Packed, packed_split
from distill.gazetteer import packed_gazetteer
from distill.mixture import Mixture, data_hashes, labelled, unlabelled
from distill.piece_scores import f1_by_language, macro_f1, spans
from distill.recipe import Recipe, load_recipe
from distill.store import RECORD
from distill.students import Output, Student, StudentConfig, load_student, save_student
from distill.teachers import TeacherConfig, build_teacher, save_teacher
from distill.torch_model import torch_tagger
from onoma.labels import LabelSet

UPOS = ("NOUN", "VERB", "ADJ", "DET", "PUNCT")
TASK = {"labels.types": list(UPOS), "labels.source": POS}
LANGUAGES = {"labels.languages": [], "labels.wikiann": 99}
ALONE: dict[str, Any] = TASK | LANGUAGES | {
    "schedule.strategy": "D0-S", "schedule.representation": 0, "schedule.logits": 0, "schedule.labels": 12_000,
    "schedule.rate": 0.03, "student.start": "random", "student.projection": "none",
}  # fmt: skip
LEAST: dict[str, Any] = {"name": "least", "tokenizer": "t", "teacher": {"path": "p"}}


@pytest.fixture
def pos(own_data: Path) -> Path:
    """A data folder with nothing but parts of speech and a little text."""
    write_pos(own_data)
    return own_data


@pytest.fixture
def tagger_of_words(toy_tokenizer: Path, tmp_path: Path) -> Path:
    """A teacher of random weights that tags parts of speech."""
    tokenizer = Tokenizer.from_file(str(toy_tokenizer))
    torch.manual_seed(5)
    shape = TeacherConfig(architecture="bert", layers=2, hidden=12, heads=2, intermediate=16, max_length=256)
    labels = LabelSet.of_types(UPOS[::-1])  # their order may differ
    model = build_teacher(shape, vocabulary=tokenizer.get_vocab_size(), labels=labels)
    save_teacher(model, tokenizer, tmp_path / "tagger of words")
    return tmp_path / "tagger of words"


def recipe_of(toy: Toy, changes: dict[str, Any]) -> Recipe:
    return load_recipe(toy.write(changes))


def test_a_source_is_below_ner_or_with_a_slash_below_the_data_folder(pos: Path) -> None:
    assert source_folder("wikiann") == pos / "ner/wikiann" and source_folder(POS) == pos / "pos/ud"
    assert split_path(POS, "gv", "dev") == pos / "pos/ud/gv/dev.conll.xz"
    assert training_languages(POS) == ["de", "en", "gv", "zu"], "WikiANN-45 narrows down WikiANN alone"
    assert judged_languages(POS) == ["de", "en", "gv"], "Zulu has no test split"


def test_the_first_piece_of_a_word_begins_it(pos: Path, toy_tokenizer: Path, tmp_path: Path) -> None:
    made = packed_split(
        POS, "gv", "train", tokenizer_path=toy_tokenizer, cache=tmp_path / "cache", raw=True, limit=3, types=UPOS
    )
    tags = [LabelSet.of_types(UPOS).tags[tag] for tag in made.tags]
    begun = [tag[2:] for tag in tags if tag.startswith("B-")]
    assert begun == [tag[2:] for one in read_split(POS, "gv", "train", types=UPOS)[:3] for tag in one.tags]
    assert "O" not in tags and any(tag.startswith("I-") for tag in tags), "words of several pieces, and nothing else"
    (file,) = (tmp_path / "cache").iterdir()
    assert file.name.startswith("pos-ud-gv-train-")


def test_a_student_is_trained_and_judged(toy: Toy, pos: Path) -> None:
    results = toy.run(ALONE)
    (run,) = results["runs"]
    student = load_student(toy.place.store / run["student"])
    assert student.config.labels == LabelSet.of_types(UPOS).tags
    for part in ("dev", "test"):
        assert list(run[part]["all"]["f1"]) == ["de", "en", "gv"] and run[part]["all"]["macro_f1"] > 60
        confusion = run[part]["confusion"]
        assert list(confusion) == [*UPOS, "other borders", "nothing"]
        assert sum(confusion["PUNCT"].values()) == (10 * 3), "one full stop in each sentence"
    told = json.loads((toy.place.store / run["student"] / "training.json").read_text(encoding="utf-8"))
    assert told["recipe"]["labels"]["types"] == list(UPOS) and told["recipe"]["labels"]["source"] == POS
    assert list(told["data"]) == list(told["licences"]) == list(results["data"]) == [POS]
    tagger = torch_tagger(student, Tokenizer.from_file(toy.content["tokenizer"]))
    assert {one.label for one in tagger.tag("the old river left.").entities} >= {"DET", "NOUN", "PUNCT"}
    assert toy.run(ALONE)["new"] == {}, "nothing is made again"
    other = toy.run(ALONE | {"labels.types": [*UPOS[1:], UPOS[0]]})
    assert other["new"] == {"start": 1, "step": 1, "student": 1, "scores": 1}, "another order of labels"


def test_a_student_for_each_language(toy: Toy, pos: Path) -> None:
    (run,) = toy.run(ALONE | {"schedule.strategy": "D0", "schedule.labels": 900, "student.minimum_count": 1})["runs"]
    assert list(run["dev"]["all"]["f1"]) == ["de", "en", "gv"]


def test_a_student_of_a_teacher(toy: Toy, pos: Path, tagger_of_words: Path) -> None:
    keys = TASK | LANGUAGES | {"teacher.path": str(tagger_of_words), "transfer.text": 10}
    results = toy.run(keys)
    assert list(results["runs"][0]["test"]["all"]["f1"]) == ["de", "en", "gv"]
    assert list(results["teacher"]["test"]["confusion"]) == [*UPOS, "other borders", "nothing"]
    answers = len(list(toy.place.cache.glob("teacher-*")))
    toy.run(keys | {"labels.types": list(UPOS[::-1])})
    assert len(list(toy.place.cache.glob("teacher-*"))) == 2 * answers == 4, "in the order of these labels"


def test_a_teacher_or_checkpoint_of_entities_is_refused(toy: Toy, pos: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"labels differ: the teacher has \[.*'B-PER'.*the student \[.*'B-NOUN'"):
        toy.run(TASK | LANGUAGES)
    vocabulary = Tokenizer.from_file(toy.content["tokenizer"]).get_vocab_size()
    before = tmp_path / "before"
    save_student(Student(StudentConfig(vocabulary, 6, 5, LABELS.tags)), before)
    shutil.copy(toy.content["tokenizer"], before / "tokenizer.json")
    with pytest.raises(ValueError, match=r"labels differ: .*before has \[.*'B-PER'.*labels.types gives \[.*'B-NOUN'"):
        toy.run(ALONE | {"student.checkpoint": str(before)})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels.types": []}, r"labels.types: .*types must be 1 to 63, all different, got \[\]"),
        ({"labels.types": ["PER", "LOC", "PER"]}, r"types must be 1 to 63, all different, got \['PER', 'LOC', 'PER'\]"),
        ({"labels.types": [f"T{n}" for n in range(64)]}, r"types must be 1 to 63, .*'T63'\]"),
        ({"labels.types": ["PER", ""]}, r"labels.types: .*words without spaces, got \[''\]"),
        ({"labels.types": ["PER", "A B", "C\t"]}, r"words without spaces, got \['A B', 'C\\t'\]"),
        ({"labels.source": ""}, "labels.source: .*a source is a folder below ner/, or .*, got ''"),
        ({"labels.source": "../pos"}, "a source is .*, got '../pos'"),
        ({"labels.source": "/pos"}, "a source is .*, got '/pos'"),
        ({"labels.source": POS, "labels.gold": 7}, "labels.gold is for .* with labels.source 'pos/ud' it got 7"),
        ({"labels.source": POS, "labels.massive": 7}, "labels.massive is for .* got 7"),
        ({"labels.source": POS, "labels.mentions": 0.5}, "labels.mentions is for .* got 0.5"),
        ({"labels.source": POS, "transfer.gold": 7}, "transfer.gold is for .* got 7"),
        ({"labels.source": POS, "transfer.massive": 7}, "transfer.massive is for .* got 7"),
        ({"labels.source": POS, "evaluation.gold": 7}, "evaluation.gold is for .* got 7"),
    ],
)
def test_wrong_types_and_sources_are_named(toy: Toy, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recipe_of(toy, changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels.source": "pos/no"}, "labels.source must have training sentences, got 'pos/no': none below .*pos/no$"),
        ({"labels.source": "no"}, "labels.source must have training sentences, got 'no': none below .*/ner/no$"),
        ({"labels.languages": ["gv", "fr"]}, "labels.languages must be languages of the data, got fr$"),
        ({"labels.languages": ["gv", "zu"]}, r"must have pos/ud dev and test sentences, got zu \(as it is empty"),
        ({"evaluation.languages": ["ru"]}, "evaluation.languages must have pos/ud dev and test sentences, got ru$"),
    ],
)
def test_what_the_data_lack_is_named_before_anything_runs(
    toy: Toy, pos: Path, changes: dict[str, Any], message: str
) -> None:
    own = recipe_of(toy, ALONE | {"transfer.text": 0} | changes)
    with pytest.raises(ValueError, match=message):
        check_run(own, [own])


def test_a_source_without_a_language_to_judge_is_named(toy: Toy, pos: Path) -> None:
    for language in WORDS:
        split_path(POS, language, "dev").unlink()
    own = recipe_of(toy, ALONE)
    with pytest.raises(ValueError, match="evaluation.languages is empty, and pos/ud has no language with train, dev"):
        check_run(own, [own])


def test_other_types_become_o(data: Path, toy_tokenizer: Path, tmp_path: Path) -> None:
    whole = Mixture(wikiann=20, gold=5, massive=0, together=0, balance=1)
    found = []
    for own in (whole, replace(whole, types=("MISC", "PER"))):
        made = labelled(own, tokenizer_path=toy_tokenizer, cache=tmp_path)
        found.append((made.ids, np.array(LabelSet.of_types(own.types).tags)[made.tags]))
    (ids, before), (same, tags) = found
    assert np.array_equal(ids, same)
    for kind in ("B-PER", "I-PER"):
        assert np.array_equal(tags == kind, before == kind) and (tags == kind).any()
    assert (tags == "B-MISC").sum() == 5 and set(tags) == {"O", "B-PER", "I-PER", "B-MISC", "I-MISC"}


def test_mentions_and_names_of_other_types(data: Path, toy_tokenizer: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.tsv"
    names.write_text("LOC\tQuito\n", encoding="utf-8")
    types = ("LOC", "PER")
    listed = packed_gazetteer(names, tokenizer_path=toy_tokenizer, types=types)
    assert LabelSet.of_types(types).tags[listed.tags[0]] == "B-LOC"
    own = Mixture(wikiann=40, gold=0, massive=0, mentions=1.0, gazetteer=str(names), together=0, types=types)
    made = labelled(own, tokenizer_path=toy_tokenizer, cache=tmp_path)
    kinds = LabelSet.of_types(types)
    found = {tuple(made.ids[low:high].tolist()) for low, high, kind in spans(made.tags, made.offsets, labels=kinds)
             if kinds.types[kind - 1] == "LOC"}  # fmt: skip
    assert tuple(listed.ids.tolist()) in found
    names.write_text("ORG\tWerft AG\n", encoding="utf-8")
    with pytest.raises(ValueError, match="names.tsv line 1: want one of LOC, PER, a tab and a name"):
        packed_gazetteer(names, tokenizer_path=toy_tokenizer, types=types)


def test_another_source_below_ner_is_the_main_one(own_data: Path, toy_tokenizer: Path, tmp_path: Path) -> None:
    for source in ("news", "wikiann", "massive_ner", "chat"):
        for language in ("en", "zu"):
            write_conll(own_data / f"ner/{source}/{language}/train.conll.xz", sentences("en", 9, seed=1))
    own = Mixture(source="news", wikiann=4, gold=0, massive=0, joined=("zu",), balance=1, together=0)
    assert set(data_hashes(own)) == {"news"}
    made = labelled(own, tokenizer_path=toy_tokenizer, cache=tmp_path)
    assert made.languages == ("en", "zu") and len(made) == 4 * 3, "Zulu in both forms"
    asked = Mixture(source="news", wikiann=4, gold=2, massive=3)
    assert set(data_hashes(asked)) == {"news", "chat", "massive_ner"}, "WikiANN is no gold source"


def test_text_is_that_of_the_sources_languages(data: Path, toy_tokenizer: Path, tmp_path: Path) -> None:
    root = shutil.copytree(data, tmp_path / "data")
    write_pos(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ONOMA_DATA", str(root))
        made = {
            source: unlabelled(Mixture(text=5, source=source), tokenizer_path=toy_tokenizer, cache=tmp_path).languages
            for source in ("wikiann", POS)
        }
    assert made == {"wikiann": tuple(sorted(NAMES)), POS: ("de", "en", "gv")}


def test_f1_of_other_labels() -> None:
    labels = LabelSet.of_types(["X", "Y"])
    gold = [labels.index[tag] for tag in ("B-X", "I-X", "B-Y", "O")]
    data = Packed(
        np.arange(4, dtype=np.uint16), np.array(gold, np.int8), np.array([0, 4]), np.zeros(1, np.int16), ("en",)
    )
    said = np.array([labels.index[tag] for tag in ("B-X", "I-X", "B-X", "O")], np.int8)
    assert f1_by_language(said, data, labels=labels) == {"en": 50.0}

    class Says(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = torch.nn.Parameter(torch.eye(5)[torch.from_numpy(said).long()])

        def forward(self, ids: torch.Tensor, mask: torch.Tensor, *, full: bool) -> Output:
            return Output(self.table[ids], self.table[ids])

    assert macro_f1(Says(), data, labels=labels) == 50


# What earlier versions made stays valid


def test_the_key_of_packed_entities_is_what_it_was(
    own_data: Path, toy_tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Computed before there were other types."""
    write_conll(own_data / "ner/wikiann/de/train.conll.xz", [(["Köln"], ["B-LOC"])])
    monkeypatch.setattr(dataset, "sha256", lambda path: path.name)  # compressed bytes differ by version of xz
    options: dict[str, Any] = {"tokenizer_path": toy_tokenizer, "cache": tmp_path / "cache", "raw": True, "limit": 3}
    for more in ({"texts": False}, {"texts": True}, {"types": ("PER", "ORG", "LOC")}):
        packed_split("wikiann", "de", "train", **options, **more)
    names = ["wikiann-de-train-4591dffb7e089a531db6.npz", "wikiann-de-train-d013c55e826f51445313.npz"]
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == names
    packed_split("wikiann", "de", "train", **options, types=("LOC", "PER", "ORG"))
    assert len(list((tmp_path / "cache").iterdir())) == 3


def test_what_artefacts_of_entities_hang_on_is_what_it_was(toy: Toy) -> None:
    toy.run({"student.minimum_count": 1})
    records = [json.loads(path.read_text(encoding="utf-8")) for path in toy.place.store.glob(f"*/{RECORD}")]
    assert {one["kind"] for one in records} == {"vocabulary", "start", "step", "student", "scores", "teacher"}
    assert not [one for one in records if {"types", "source"} & set(one["facts"])]
    recipe = recipe_of(toy, {})
    assert recipe.labels.other_task == {} and recipe.label_set == LABELS
    assert Recipe.model_validate(LEAST | {"labels": {"source": POS}}).labels.other_task == {"source": POS}
    (student,) = toy.place.store.glob("student-*")
    told = json.loads((student / "training.json").read_text(encoding="utf-8"))
    assert not {"types", "source"} & set(told["recipe"]["labels"])

from __future__ import annotations

import json
import lzma
from pathlib import Path

import pytest

from distill.sentences.naming import Quotas, best_translations, named_words, owners
from distill.sentences.start import NAMES_FILE
from distill.sentences.stems import known_forms, short_beginnings, stems_of, told_by
from distill.sentences.vocabulary import teacher_pieces, with_words
from distill.sentences.word_counts import Counted, counted_words
from distill.tokenizer import SPECIALS
from onoma.cli import main
from onoma.word_table import WORDS_FILE, is_han, read_words
from tests.encoders import save_sentence_transformer

BASE = [*SPECIALS, "▁", "▁p", "fer", "d", "e", "▁und", "▁男", "▁π"]


def test_forms_are_counted_with_their_lemmas() -> None:
    lines = ["Das Pferd frisst."] * 3 + ["Die Pferde fressen!"] * 3 + ["Selten"]
    german = counted_words("de", lines)
    assert german.forms["pferd"] == german.forms["pferde"] == 3
    assert "selten" not in german.forms and "." not in german.forms
    assert german.lemmas["pferde"] == "pferd" and "pferd" not in german.lemmas
    english = counted_words("en", ["she was playing"] * 5 + ["play it"] * 9)
    assert english.lemmas["playing"] == "play"
    assert counted_words("ta", ["பூனை"] * 3).lemmas == {}  # a language that simplemma does not know


def test_han_runs_are_counted_as_the_words_of_a_dictionary() -> None:
    lines = ["男人在弹吉他"] * 3 + ["人在"] * 3
    found = counted_words("zh", lines, ["男人", "吉他", "人在"]).forms
    assert found["男人"] == found["吉他"] == 3 and found["人在"] == 6
    inside = counted_words("zh", ["图书馆"] * 4 + ["图书"] * 3, ["图书馆", "图书"]).forms
    assert inside["图书馆"] == 4 and inside["图书"] == 3  # what stands within the longer word counts for that


def test_a_word_is_of_the_language_that_says_it_most() -> None:
    counted = {
        "de": Counted({"die": 40, "hut": 40, "boot": 20}, {}),
        "en": Counted({"die": 1, "hut": 9, "the": 90}, {}),
        "sv": Counted({"hut": 99, "boot": 1}, {}),
    }
    # English counts ten times, German thrice.
    assert owners(counted) == {"die": "de", "hut": "de", "boot": "de", "the": "en"}


def test_a_translation_is_frequent_and_not_everybodys() -> None:
    english = {"go": 100, "run": 81, "the": 9000, "horse": 4}
    pairs = [("laufen", "go"), ("laufen", "run"), ("gehen", "go"), ("Pferd", "horses"), ("der", "the")]
    pairs += [("der", "horse"), ("laufen", "on foot"), ("laufen", "perambulate")]
    best = best_translations(pairs, english, {"horses": "horse"})
    assert best == {"laufen": "run", "gehen": "go", "pferd": "horse", "der": "horse"}  # 9 / 1 against 10 / 2


COUNTED = {
    "en": Counted({"horse": 9, "horses": 6, "the": 50, "guitar": 5, "rare": 1}, {"horses": "horse"}),
    "de": Counted(
        {"der": 50, "pferd": 8, "pferde": 7, "gitarre": 5, "hufe": 4, "ungar": 3, "jurte": 2}, {"pferde": "pferd"}
    ),
    "fr": Counted({"cheval": 5}, {}),
    "sw": Counted({"farasi": 9, "gitaa": 3}, {}),
}
DICTIONARY = {"de": [("Pferd", "horse"), ("Gitarre", "guitar"), ("Klampfe", "guitar"), ("Ross", "horse")]}


def no_forms(language: str) -> list[tuple[str, str]]:
    return []


def test_words_share_embeddings_with_their_translations() -> None:
    quotas = Quotas(english=3, frequent=1, untranslated=1, dictionary=1, other=1, unseen=10)
    named = named_words(COUNTED, DICTIONARY, quotas, forms=no_forms)
    assert named["horse"] == named["horses"] == named["pferd"] == named["pferde"] == "en horse"
    assert named["guitar"] == named["gitarre"] == "en guitar"
    assert named["der"] == "de der" and named["hufe"] == "de hufe"  # frequent; without a translation
    assert named["farasi"] == "sw farasi" and named["2026"] == "en 2026"
    assert named["ross"] == "en horse"  # no text has it, but it is of a frequent word, other than Klampfe
    assert not {"rare", "ungar", "jurte", "gitaa", "klampfe"} & named.keys()
    more = named_words(
        COUNTED, DICTIONARY, Quotas(english=3, frequent=2, untranslated=9, other=9), forms=no_forms
    )
    assert more["pferde"] == "de pferd"  # now one of the most frequent
    assert {"ungar", "jurte", "gitaa"} <= more.keys()


def test_a_base_piece_that_is_a_word_lends_its_embedding() -> None:
    named = dict.fromkeys(("pferd", "pferde", "horse"), "en horse")
    named |= {"und": "de und", "男子": "ja 男子", "男": "ja 男"}
    vocabulary = with_words(BASE, named)
    table, names = vocabulary.table, vocabulary.names
    assert len(names) == table.size == len(BASE) + 2
    assert [names[at] for at in table.ids("Pferde und Pferd, horse")][:3] == ["en horse", "de und", "en horse"]
    assert table.words["und"] == 8 and names[8] == "de und" and table.words["男"] == 9
    assert [names[at] for at in table.ids("男子男")] == ["ja 男子", "ja 男"]
    assert [names[at] for at in table.ids("pd")] == [" ▁p", " ##d"]
    assert names[:4] == ("", "", "", " ▁")
    assert with_words(BASE, {}).names[9] == "zh 男"  # a sign has translations


def test_the_teachers_pieces_come_instead_of_latin_ones() -> None:
    theirs = teacher_pieces("[PAD] [unused7] [CLS] p ##fer und ##ü 2 [ ! π ##π horses ##".split())
    assert theirs == ["▁p", "##fer", "▁und", "##ü", "▁2", "▁[", "▁!", "▁horses", "▁##"]
    named = {"horses": "en horse", "und": "de und", "pferde": "en horse"}
    table, names = with_words(BASE, named, theirs)
    assert [names[at] for at in table.ids("pfer! π und Pferde 2")] == [
        " ▁p", " ##fer", " ▁!", " ▁π", "de und", "en horse", " ▁2"
    ]  # fmt: skip
    assert not {" ##d", " ##e", " ▁horses"} & {*names}  # the one is not theirs, the other has the row of its lemma
    told = with_words(BASE, {"horse*": "en horse"}, theirs)
    assert " ▁horses" not in told.names and told.names[told.table.ids("horses")[0]] == "en horse"


def test_is_han() -> None:
    assert is_han("馬") and is_han("々") and not is_han("あ") and not is_han("a")


def some_forms(language: str) -> list[tuple[str, str]]:
    guitars = [(f"гитар{ending}", "гитара") for ending in ("а", "ы", "у", "ой", "ами")]
    houses = [(f"дом{ending}", "дом") for ending in ("", "а", "у", "ами")]
    return [*guitars, *houses, ("домино", "домино")] if language == "ru" else []


def test_forms_that_no_text_has_are_told_by_their_beginnings() -> None:
    counted = {
        "en": Counted({"guitar": 9, "house": 9}, {}),
        "ru": Counted({"дом": 30, "гитара": 5, "гитары": 4}, {"гитары": "гитара"}),
        "sw": Counted({"nyumba": 9}, {}),
    }
    quotas = Quotas(english=9, frequent=1, untranslated=0, dictionary=1, other=1, unseen=1)
    named = named_words(counted, {"ru": [("гитара", "guitar"), ("дом", "house")]}, quotas, forms=some_forms)
    names = with_words([*SPECIALS, "▁г", "и", "т"], named)
    words = ("гитарами", "гитару", "домами", "Дому")
    found = {word: [names.names[at] for at in names.table.ids(word)] for word in words}
    assert found["гитарами"] == found["гитару"] == ["en guitar"]
    assert found["домами"] == found["Дому"] == ["ru дом"]  # too short for a beginning: simplemma's forms themselves
    assert "гитары" not in named  # its beginning tells it
    assert told_by("гитарой", named) == "en guitar" and told_by("гит", named) is None


def test_beginnings_tell_most_forms_apart() -> None:
    forms = {"laufe": "run", "laufen": "run", "laufend": "run", "laufbahn": "career", "laufbahnen": "career"}
    assert stems_of(forms, {}) == {"laufe": "run", "laufbahn": "career"}
    assert stems_of({"münzen": "coin", "münze": "coin"}, {}) == {"munze": "coin"}
    cans = {"kanne": "can", "kannen": "can", "kannenform": "can"}
    assert short_beginnings("kannst") == ["kann"] and short_beginnings("ist") == []
    assert stems_of(cans, {}) == {"kanne": "can"}
    assert stems_of({"sofa": "sofa", "sofas": "sofa"}, {"sofa": 0}) == {"sofa": "sofa"}
    assert stems_of({"sofa": "sofa", "sofas": "sofa"}, {"sofa": 1}) == {}  # as many begin so and mean other things
    assert stems_of({"one": "1"}, {}) == {}


def test_simplemma_has_forms() -> None:
    assert ("maisons", "maison") in known_forms("fr") and not [*known_forms("ta")]


def test_the_command_writes_the_table(
    similarity: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distill.sentences.teacher.DEFAULT", str(save_sentence_transformer(tmp_path / "teacher")))
    monkeypatch.setattr("distill.sentences.stems.simplemma_code", lambda language: None)  # all forms take minutes
    words = tmp_path / "words.tsv.xz"
    with lzma.open(words, "wt", encoding="utf-8") as file:
        file.write("de\tdecat\ten\tcat\n")
    out = tmp_path / "made" / "tokenizer.json"
    sizes = ["--vocabulary", "120", "--bytes", "3000", "--other-bytes", "3000"]
    arguments = ["train-tokenizer", *sizes, "--dictionaries", str(words), "--out", str(out)]
    assert main([*arguments, "--sentence-encoder"]) == 0
    table, names = read_words(out.with_name(WORDS_FILE)), json.loads(out.with_name(NAMES_FILE).read_text("utf-8"))
    assert names[table["cat"]] == "en cat" and out.is_file()
    assert "words, " in capsys.readouterr().out
    assert main(arguments) == 1
    assert "--dictionaries needs --sentence-encoder" in capsys.readouterr().err

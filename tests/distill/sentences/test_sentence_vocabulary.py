from __future__ import annotations

import json
import lzma
from pathlib import Path

import pytest

from distill.sentences.start import NAMES_FILE
from distill.sentences.vocabulary import (
    Counted,
    Quotas,
    best_translations,
    counted_words,
    named_words,
    owners,
    with_words,
)
from distill.tokenizer import SPECIALS, piece_scores
from onoma.cli import main
from onoma.word_table import WORDS_FILE, is_han, read_words

SCORES = [("▁", -3.0), ("▁p", -4.0), ("fer", -5.0), ("d", -4.5), ("e", -3.5), ("▁und", -4.0), ("▁男", -6.0)]
BASE = [*((special, 0.0) for special in SPECIALS), *SCORES]


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


def test_words_share_embeddings_with_their_translations() -> None:
    quotas = Quotas(english=3, frequent=1, untranslated=1, dictionary=1, other=1, unseen=10)
    named = named_words(COUNTED, DICTIONARY, quotas)
    assert named["horse"] == named["horses"] == named["pferd"] == named["pferde"] == "en horse"
    assert named["guitar"] == named["gitarre"] == "en guitar"
    assert named["der"] == "de der" and named["hufe"] == "de hufe"  # frequent; without a translation
    assert named["farasi"] == "sw farasi" and named["2026"] == "en 2026"
    assert named["ross"] == "en horse"  # no text has it, but it is of a frequent word, other than Klampfe
    assert not {"rare", "ungar", "jurte", "gitaa", "klampfe"} & named.keys()
    more = named_words(COUNTED, DICTIONARY, Quotas(english=3, frequent=2, untranslated=9, other=9))
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


def test_base_pieces_of_a_tokenizer() -> None:
    assert piece_scores(with_words(BASE, {}).table.tokenizer) == BASE
    assert is_han("馬") and is_han("々") and not is_han("あ") and not is_han("a")


def test_the_command_writes_the_table(similarity: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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

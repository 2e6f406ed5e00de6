from __future__ import annotations

import argparse
import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

import distill.data_commands
from distill.sentences.beginning import begin
from distill.sentences.dictd import Dictionary, dictionaries_in
from distill.sentences.dictionaries import (
    Words,
    bridged,
    bridged_once,
    cleaned,
    english_words,
    make_dictionaries,
    parsed,
    read_dictionaries,
    words_of,
)
from distill.sentences.materials import SentenceMaterials
from distill.sentences.parallel import LICENCES, SOURCES, parallel_hashes, read_pairs
from distill.sentences.recipe import SentenceRecipe
from distill.sentences.start import word_lines
from distill.store import Store
from onoma.bundle import sha256
from tests.distill.sentences.toy_recipe import write_lines
from tests.similarity import sentence

BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
ABOUT = "00-database-info\nA dictionary for tests\n"
FREE = "CC-BY-SA-3.0"


def number(value: int) -> str:
    digits = BASE64[value % 64]
    return digits if value < 64 else number(value // 64) + digits


def copyright_of(name: str, licence: str = FREE) -> str:
    return (
        "Format: somewhere\n\nFiles: debian/*\nLicense: GPL-3+\n\n"
        f"Files: xxx-yyy/* {name}/*\nCopyright: 2001 Someone,\n 2002 Someone else\nLicense: {licence}\n More of it.\n"
    )


def dictionary(name: str, entries: list[str], licence: str = FREE) -> Dictionary:
    """As Debian has it: an entry may have several lines in the index, which is in the order of the headwords."""
    body = ABOUT.encode()
    lines = [f"00databaseinfo\tA\t{number(len(body))}"]
    for entry in entries:
        content = entry.encode()
        for head in {entry.partition(" ")[0].lower(), "also " + entry[:3].lower().strip()}:
            lines.append(f"{head}\t{number(len(body))}\t{number(len(content))}")
        body += content
    return Dictionary(
        name, "".join(f"{line}\n" for line in sorted(lines)).encode(), gzip.compress(body), copyright_of(name, licence)
    )


def members(one: Dictionary) -> dict[str, bytes]:
    return {
        f"usr/share/dictd/freedict-{one.name}.index": one.index,
        f"usr/share/dictd/freedict-{one.name}.dict.dz": one.body,
        f"usr/share/doc/dict-freedict-{one.name}/copyright": one.copyright.encode(),
    }


def write_unpacked(folder: Path, one: Dictionary) -> None:
    for name, content in members(one).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def write_package(folder: Path, one: Dictionary) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:xz") as tar:
        for name, content in members(one).items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    package = b"!<arch>\n"
    for name, content in (("debian-binary", b"2.0"), ("data.tar.xz", archive.getvalue())):
        package += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
        package += content + b"\n" * (len(content) % 2)
    (folder / f"dict-freedict-{one.name}_1_all.deb").write_bytes(package)


def words(one: Dictionary) -> set[tuple[str, str]]:
    return {(pair.word, pair.translation) for pair in words_of(one)}


def test_entries_are_read_once_in_the_order_of_the_file() -> None:
    one = dictionary("deu-spa", ["Zaun /x/ <n>\nvalla\n", "Ärger /y/ <n>\nenfado\n"])
    assert list(one.entries()) == ["Zaun /x/ <n>\nvalla\n", "Ärger /y/ <n>\nenfado\n"]


def test_an_index_of_another_kind_is_an_error() -> None:
    one = dictionary("deu-spa", [])
    broken = Dictionary(one.name, one.index + b"zaun\tB\t-\n", one.body, one.copyright)
    with pytest.raises(ValueError, match="index of deu-spa line 2: expected headword, place, length, got 'zaun"):
        list(broken.entries())


@pytest.mark.parametrize("write", [write_unpacked, write_package])
def test_packages_are_read_packed_and_unpacked(write: Callable[[Path, Dictionary], None], tmp_path: Path) -> None:
    both = [dictionary("deu-spa", ["Zaun /x/ <n>\nvalla\n"]), dictionary("pol-eng", ["płot /x/ <n>\nfence\n"])]
    for one in both:
        write(tmp_path, one)
    assert dictionaries_in(tmp_path) == both


def test_a_folder_without_a_whole_dictionary_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no dict-freedict"):
        dictionaries_in(tmp_path)
    write_unpacked(tmp_path, dictionary("deu-spa", []))
    (tmp_path / "usr/share/dictd/freedict-deu-spa.index").unlink()
    with pytest.raises(FileNotFoundError, match="dictionary deu-spa in .* lacks its index"):
        dictionaries_in(tmp_path)
    (tmp_path / "wrong.deb").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"wrong\.deb is no Debian package"):
        dictionaries_in(tmp_path)


def test_only_dictionaries_that_may_be_used_are(similarity: Path, tmp_path: Path) -> None:
    write_unpacked(tmp_path, dictionary("deu-spa", ["Zaun /x/ <n>\nvalla\n"]))
    write_package(tmp_path, dictionary("deu-eng", ["Zaun /x/ <n>\nfence\n"], licence="GPL-3+"))
    with pytest.raises(ValueError, match=r"dictionary deu-eng is under GPL-3\+, it must be CC-BY-SA-3\.0 or"):
        make_dictionaries(tmp_path, tmp_path / "out.tsv.xz")
    assert not (tmp_path / "out.tsv.xz").exists()
    assert dictionary("jpn-rus", [], licence="CC-by-sa-3.0").checked().licence == "CC-by-sa-3.0"
    unnamed = Dictionary("deu-pol", b"", b"", copyright_of("deu-spa"))
    with pytest.raises(ValueError, match="deu-pol: its copyright file has no paragraph"):
        unnamed.checked()


def test_senses_of_an_entry_from_wiktionary() -> None:
    entry = (
        "Bank, die /baŋk/ /bank/ <n, fem>\n1. banco, asiento 2.\nworauf man sitzt, im Freien\n 3.\nvon der Werkbank\n"
        "2. banca\n1. Januar, sein Geld\n3. banco de arena (mar)\n"
    )
    assert parsed(entry) == (["Bank, die"], [["banco", "asiento"], ["banca"], ["banco de arena"]])
    assert parsed("Zaun /x/ <n>\nvalla\numgibt Dinge, etwa Gärten\n") == (["Zaun"], [["valla"]])
    assert parsed("Zaun /x/ <n>\n") == (["Zaun"], [])


def test_senses_of_an_entry_from_jmdict() -> None:
    entry = (
        " [ichi1]  [nf03]  垣 /(en)kˈa (ja)ki/,  [ichi1] かき /kaki/\n1. (noun (common) (futsuumeishi))\n"
        " (noun, used as a suffix)\n{生け垣}fence (of wood), hedge\n2. (high) wall\n"
    )
    heads, senses = parsed(entry)
    assert [cleaned(head, "ja") for head in heads] == ["垣", "かき"]
    assert senses == [["fence", "hedge"], ["wall"]]
    alone = " [gai1] フェンス /f/\n(noun)\n\n         Note: word usually written using kana alonefence\n"
    assert parsed(alone)[1] == [["fence"]]
    slang = " [gai1] フェンス /f/\n(noun)\n\n         Note: slangfence\n"
    assert parsed(slang)[1] == []


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("to run", "en", "run"),
        ("a  fence (of wood (or iron))", "en", "fence"),
        ("кра́тия", "ru", "кратия"),
        ("Krátia", "ru", None),
        ("йод", "ru", "йод"),
        ("l’été", "fr", "l'été"),
        ("Reich-\u00e4hnlich", "de", "Reich-ähnlich"),
        ("}}", "it", None),
        ("-able", "fr", None),
        ("see: fence", "en", None),
        ("11 września", "pl", None),
        ("more words than a word", "en", None),
        ("kaki", "ja", None),
        ("垣", "ja", "垣"),
    ],
)
def test_words_are_cleaned(text: str, language: str, expected: str | None) -> None:
    assert cleaned(text, language) == expected


def test_a_dictionary_gives_the_first_translations_of_the_first_senses() -> None:
    many = "Zaun /x/ <n>\n1. valla, cerca, seto, barrera\n2. vallado\n3. cercado\n4. muro\n"
    found = words(dictionary("deu-spa", [many, "bar /x/ <suffix>\nable\n", "Hotel /x/ <n>\nhotel, fonda\n"]))
    assert {translation for word, translation in found if word == "Zaun"} == {
        "valla", "cerca", "seto", "vallado", "cercado"
    }  # fmt: skip
    assert {word for word, _ in found} == {"Zaun", "Hotel"} and ("Hotel", "hotel") not in found


def test_languages_are_in_order_and_known() -> None:
    assert list(words_of(dictionary("spa-deu", ["valla /x/ <n>\nZaun\n"]))) == [Words("de", "Zaun", "es", "valla")]
    with pytest.raises(ValueError, match="dictionary tlh-deu: unknown language tlh; known are bul deu"):
        list(words_of(dictionary("tlh-deu", [])))


def test_of_jmdict_what_is_common_is_taken() -> None:
    common, rare = " [news1] 垣 /k/, [news1] かき /k/\n(noun)\nfence\n", "垣籬 /k/\n(noun)\nrare fence\n"
    alone = " [ichi1] 此処 /k/, [ichi1] ここ /k/\n(noun)\n\n         Note: word usually written using kana alonehere\n"
    assert words(dictionary("jpn-eng", [common, rare, alone])) == {("fence", "垣"), ("here", "ここ")}


def test_a_word_gets_the_english_one_to_which_two_languages_lead() -> None:
    pairs = [
        Words("en", "bank", "fi", "pankki"),
        Words("en", "bank", "pl", "bank"),
        Words("en", "bank", "pl", "brzeg"),
        Words("de", "Geldhaus", "fi", "pankki"),
        Words("de", "Geldhaus", "pl", "bank"),
        Words("de", "Ufer", "pl", "brzeg"),  # one language alone says that this is a bank
        Words("de", "Geldhaus", "es", "banco"),
        Words("es", "banco", "pl", "bank"),
        Words("en", "fence", "fi", "aita"),
        Words("fi", "aita", "pl", "płot"),  # Polish has English words of its own
    ]
    assert bridged(pairs) == {Words("de", "Geldhaus", "en", "bank"), Words("en", "bank", "es", "banco")}


def test_a_word_without_english_gets_it_over_any_one_language() -> None:
    pairs = [
        Words("en", "bank", "pl", "bank"),
        Words("en", "bank", "pl", "brzeg"),
        Words("en", "shore", "pl", "brzeg"),
        Words("en", "shore", "fr", "rive"),
        Words("de", "Ufer", "pl", "brzeg"),
        Words("de", "Ufer", "fr", "rive"),
        Words("de", "Zaun", "en", "fence"),
        Words("de", "Zaun", "pl", "brzeg"),  # has English of its own
        Words("de", "Wehr", "ru", "запруда"),  # leads nowhere
    ]
    # The river's bank has two senses in Polish, one in French.
    assert bridged_once(pairs) == {Words("de", "Ufer", "en", "shore"), Words("de", "Ufer", "en", "bank")}


def test_the_file_is_sorted_and_has_nothing_that_is_kept_for_judging(
    similarity: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = [f"{sentence('de', 0, 0)} /x/\nfrase\n", f"Satz /x/\n{sentence('es', 1, 3)}\n"]
    write_unpacked(tmp_path, dictionary("deu-spa", ["Zaun /x/ <n>\nvalla, cerca\n", *kept]))
    out = tmp_path / "made/words.tsv.xz"
    parser = argparse.ArgumentParser()
    distill.data_commands.dictionaries.add_arguments(parser)
    assert distill.data_commands.dictionaries.run(parser.parse_args([str(tmp_path), "--out", str(out)])) == 0
    told = capsys.readouterr().out
    assert told == f"de-es: 2\n{out}: 2 pairs, {LICENCES['dictionary']}, sha256 {sha256(out)}\n"
    assert read_dictionaries(out) == (Words("de", "Zaun", "es", "cerca"), Words("de", "Zaun", "es", "valla"))


def test_a_file_of_other_lines_is_an_error(tmp_path: Path) -> None:
    write_lines(tmp_path / "words.tsv.xz", ["de\tZaun\tes\tvalla", "de\tZaun\tvalla"])
    with pytest.raises(ValueError, match="words.tsv.xz line 2: expected language, word, language, word, got 'de"):
        read_dictionaries(tmp_path / "words.tsv.xz")


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A fence in four languages beside English, a rare bird in one."""
    fences = ["de\tZaun\ten\tfence", "de\tZaun\tes\tvalla", "en\tfence\tes\tvalla", "en\tfence\tpl\tpłot"]
    write_lines(tmp_path / "words.tsv.xz", [*fences, "en\tsmew\tpl\ttracz"])
    return tmp_path / "words.tsv.xz"


def test_english_words_that_few_languages_have_are_no_pairs(made: Path, similarity: Path) -> None:
    assert english_words(made, "de") == [("Zaun", "fence")]
    assert english_words(made, "pl") == [("płot", "fence")]
    assert english_words(made, "fr") == []
    assert read_pairs("dictionary", "es", dictionaries=made) == [("valla", "fence")]
    assert read_pairs("dictionary", "es") == read_pairs("dictionary", "en", dictionaries=made) == []


def test_hashes_name_the_dictionaries_where_there_are_some(made: Path, similarity: Path) -> None:
    without = parallel_hashes(("de", "en"))
    assert "dictionary" not in without
    found = parallel_hashes(("de", "en", "pl"), dictionaries=made)
    assert found == parallel_hashes(("de", "en", "pl")) | {"dictionary": found["dictionary"]}


def test_words_of_few_pieces_are_lines_with_their_translations(made: Path) -> None:
    pieces = ["<pad>", "<unk>", "▁Zaun", "▁fence", "▁valla", "▁tracz", *"▁smewpłot"]
    tokenizer = Tokenizer(models.Unigram([(piece, -1.0) for piece in dict.fromkeys(pieces)], unk_id=1))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    lines = word_lines(made, tokenizer, times=2, longest=4)
    rows = [tuple(lines.ids[low:high].tolist()) for low, high in zip(lines.offsets, lines.offsets[1:], strict=False)]
    # The fence in Polish and the bird in English are of five pieces.
    assert rows == 2 * [(2, 3), (2, 4), (3, 4)]
    assert len(word_lines(made, tokenizer, times=1, longest=5)) == 5


def test_the_start_of_a_recipe_with_dictionaries(made: Path, toy_recipe: dict[str, Any], tmp_path: Path) -> None:
    def started(**more: object) -> dict[str, Any]:
        recipe = SentenceRecipe.model_validate(toy_recipe | {"data": toy_recipe["data"] | more})
        materials = SentenceMaterials(recipe, Store(tmp_path / "store"), tmp_path / "cache", torch.device("cpu"))
        names = [SOURCES[number] for number in materials.pool.source]
        folder = begin(materials, seed=1)
        content: dict[str, Any] = json.loads((folder / "training.json").read_text(encoding="utf-8"))
        return content | {"pairs": names.count("dictionary"), "folder": folder.name}

    without, found = started(), started(dictionaries=str(made))
    assert (without["pairs"], found["pairs"]) == (0, 1) and without["folder"] != found["folder"]
    assert found["data"] == without["data"] | {"dictionary": found["data"]["dictionary"]}

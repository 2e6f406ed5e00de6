from __future__ import annotations

from pathlib import Path

import pytest

from distill.corpora import data_root
from distill.sentences.languages import LANGUAGES, NTREX, file_codes, ntrex_codes, own_code
from distill.sentences.parallel import encoder_texts, parallel_hashes, paths_of, read_lines, read_pairs
from distill.sentences.splits import STS_LANGUAGES, folded, part_of, reserved
from tests.distill.sentences.toy_recipe import LANGUAGES as TOY
from tests.distill.sentences.toy_recipe import WAYS, long, write_lines
from tests.similarity import sentence


def test_there_are_72_languages_with_all_that_are_judged() -> None:
    assert len(LANGUAGES) == len(set(LANGUAGES)) == 72
    assert set(STS_LANGUAGES) <= set(LANGUAGES) and set(NTREX.values()) <= set(LANGUAGES)
    assert (file_codes("zh"), own_code("zh_TW"), own_code("de")) == (["zh", "zh_TW"], "zh", "de")
    assert ntrex_codes("sr") == ["srp-Cyrl", "srp-Latn"]


def test_tatoeba_gives_its_train_lines_only(similarity: Path) -> None:
    pairs = read_pairs("tatoeba", "de")
    expected = [pair for pair in WAYS if part_of(sentence("en", *pair)) == "train"]
    # STS-B of the small data is made of the same sentences: what stands there is left out as well.
    kept = [pair for pair in expected if folded(sentence("en", *pair)) not in reserved()]
    assert 0 < len(kept) < len(expected) < len(WAYS)
    assert pairs == [(sentence("de", *pair), sentence("en", *pair)) for pair in kept]


def test_news_and_massive_are_aligned(similarity: Path) -> None:
    assert read_pairs("ntrex", "fr") == [(long("fr", *pair), long("en", *pair)) for pair in WAYS[:30]]
    assert read_pairs("ntrex", "en")[0] == (long("en", 0, 0) + " too", long("en", 0, 0))
    assert read_pairs("massive", "de")[3] == (long("de", *WAYS[3]) + " .", long("en", *WAYS[3]) + " .")
    assert read_pairs("massive", "en") == []


def test_reserved_english_takes_its_translation_away(
    similarity: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept_out = next(pair for pair in WAYS if part_of(sentence("en", *pair)) == "test")
    english = [sentence("en", *kept_out).upper(), "an open line"]
    write_lines(tmp_path / "similarity/ntrex128/eng.txt.xz", english)
    write_lines(tmp_path / "similarity/ntrex128/deu.txt.xz", ["verborgen", "offen"])
    for name in ("stsb_multi_mt", "tatoeba"):
        (tmp_path / "similarity" / name).symlink_to(similarity / "similarity" / name)
    monkeypatch.setenv("ONOMA_DATA", str(tmp_path))
    assert data_root() == tmp_path
    assert read_pairs("ntrex", "de") == [("offen", "an open line")]


def test_files_of_unlike_length_are_no_translations(
    similarity: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_lines(tmp_path / "similarity/ntrex128/eng.txt.xz", ["one", "two"])
    write_lines(tmp_path / "similarity/ntrex128/deu.txt.xz", ["eins"])
    for name in ("stsb_multi_mt", "tatoeba"):
        (tmp_path / "similarity" / name).symlink_to(similarity / "similarity" / name)
    monkeypatch.setenv("ONOMA_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="longer than|shorter than"):
        read_pairs("ntrex", "de")


def test_text_has_no_reserved_line(similarity: Path) -> None:
    lines = list(read_lines("de"))
    assert len(lines) == len(WAYS) and not any(folded(line) in reserved() for line in lines)
    assert list(read_lines("de", 3)) == lines[:3]
    assert list(read_lines("xx")) == []


def test_the_tokenizer_sees_everything_but_what_is_reserved(similarity: Path) -> None:
    texts = list(encoder_texts(languages=TOY, text_bytes=300, other_bytes=300, massive=5))
    assert long("fr", *WAYS[0]) in texts and long("de", *WAYS[4]) + " ." in texts
    assert long("de", *WAYS[5]) + " ." not in texts  # beyond the limit
    assert not {folded(text) for text in texts} & reserved()
    english = [text for text in texts if text.endswith("!") and text.startswith("the ")]
    german = [text for text in texts if text.endswith("!") and text.startswith("dethe ")]
    assert len(english) > 2 * len(german) > 0


def test_hashes_tell_which_data_it_was(similarity: Path) -> None:
    whole = parallel_hashes(TOY)
    assert set(whole) == {"tatoeba", "ntrex", "massive", "text", "reserved"}
    fewer = parallel_hashes(("de", "en"))
    assert all(fewer[name] != whole[name] for name in ("tatoeba", "ntrex", "massive", "text"))
    assert paths_of("massive", "de")[0].name == "de.tsv.xz" and paths_of("massive", "en") == []

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from distill.dataset import training_encoder
from distill.tokenizer import (
    MASK,
    PAD,
    UNK,
    as_word_pieces,
    build_tokenizer,
    build_word_pieces,
    save_tokenizer,
    split_words,
    train_tokenizer,
    without_latin,
)

LINES = (
    "The old mill (built in 1805) stands near Brenholm, where Ada lives.",
    "Die alte Mühle steht bei Köpen; Jutta wohnt dort.",
    "Старая мельница стоит у реки, там живёт Анна.",
    "Ο παλιός μύλος είναι κοντά στο ποτάμι.",
    "هذه المدينة القديمة قرب النهر، وفيها مطحنة.",
    "העיר העתיקה ליד הנהר.",
    "यह पुराना शहर नदी के पास है।",
    "এই পুরানো শহর নদীর কাছে।",
    "இந்த பழைய நகரம் ஆற்றின் அருகில் உள்ளது.",
    "ეს ძველი ქალაქი მდინარესთან არის.",
    "이 오래된 도시는 강 근처에 있다.",
    "この古い町は川の近くにある。ホテルもある。",
    "这座古老的城市在河边，有一座桥。",
    "เมืองเก่าแห่งนี้อยู่ใกล้แม่น้ำ",
    "ဒီမြို့ဟောင်းက မြစ်အနီးမှာရှိတယ်။",
    "ይህ ጥንታዊ ከተማ በወንዙ አጠገብ ነው።",
    "Այս հին քաղաքը գետի մոտ է։",
)


@pytest.fixture(scope="module")
def trained() -> Tokenizer:
    return train_tokenizer(LINES * 8, vocabulary=900, progress=False)


def pieces(tokenizer: Tokenizer, text: str) -> list[str]:
    return list(tokenizer.encode(text, add_special_tokens=False).tokens)


def test_the_specials_come_first_and_the_vocabulary_is_bounded(trained: Tokenizer) -> None:
    assert [trained.token_to_id(name) for name in (PAD, UNK, MASK)] == [0, 1, 2]
    assert trained.get_vocab_size() <= 900


def test_frequent_characters_of_every_script_are_known(trained: Tokenizer) -> None:
    for line in LINES:
        assert UNK not in pieces(trained, line), line
        rejoined = "".join(pieces(trained, line)).replace("▁", "")
        assert rejoined == "".join("".join(words) for words in split_words([line]))


def test_spaces_around_punctuation_make_no_difference(trained: Tokenizer) -> None:
    assert pieces(trained, "( 1805 )") == pieces(trained, "(1805)") == pieces(trained, "  (  1805)\u3000\n")
    assert pieces(trained, "Brenholm , where") == pieces(trained, "Brenholm, where")


def test_han_characters_stand_alone(trained: Tokenizer) -> None:
    assert pieces(trained, "这座古老") == ["▁这", "▁座", "▁古", "▁老"]
    assert pieces(trained, "古い町")[0] == "▁古"


def test_digits_are_folded(trained: Tokenizer) -> None:
    assert pieces(trained, "1805") == pieces(trained, "2679") == pieces(trained, "٢٦٧٩")


def test_a_run_of_one_mark_is_a_word() -> None:
    assert list(split_words(["wait...what?! ((a))"])) == [["wait", "...", "what", "?", "!", "((", "a", "))"]]


def test_joiners_stay_inside_words() -> None:
    assert list(split_words(["می\u200cروم"])) == [["می\u200cروم"]]


def test_rare_characters_become_unknown_with_exact_offsets() -> None:
    tokenizer = train_tokenizer(["abba ab ba"] * 10 + ["ʘ"], vocabulary=30, progress=False)
    encoding = tokenizer.encode("ab ʘʘ ba", add_special_tokens=False)
    unknown = [span for token, span in zip(encoding.ids, encoding.offsets, strict=True) if token == 1]
    assert unknown and {at for low, high in unknown for at in range(low, high)} == {3, 4}


@given(st.lists(st.sampled_from([*LINES, " ", "  ", "👍🏽", "e\u0301", "ﬁ", "\u200c"]), max_size=5).map("".join))
def test_offsets_cover_every_visible_character(trained: Tokenizer, text: str) -> None:
    covered: Counter[int] = Counter()
    before = 0
    for segment in training_encoder(trained).encode([text])[0].segments:
        for low, high in zip(segment.starts.tolist(), segment.ends.tolist(), strict=True):
            assert before <= low < high <= len(text)
            before = low
            covered.update(range(low, high))
    assert {at for at, char in enumerate(text) if not char.isspace() and char != "\u200c"} <= set(covered)


def test_a_word_piece_is_where_its_offsets_say(trained: Tokenizer) -> None:
    text = "Die alte Mühle,  steht (bei) Köpen"
    encoding = trained.encode(text, add_special_tokens=False)
    for piece, (low, high) in zip(encoding.tokens, encoding.offsets, strict=True):
        assert piece == "▁" or text[low:high].strip() == piece.removeprefix("▁")


def test_it_is_saved_compact_and_loads_the_same(trained: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    save_tokenizer(trained, path)
    assert [file.name for file in tmp_path.iterdir()] == ["tokenizer.json"]
    text = path.read_text(encoding="utf-8")
    assert text == json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":"))
    again = Tokenizer.from_file(str(path))
    for line in LINES:
        assert again.encode(line).ids == trained.encode(line).ids


def test_latin_letters_are_left_out() -> None:
    found = without_latin(["Ein Haus, дом e\u0301té", "ﬁ ＡＢ 家 1"])
    assert [text.split() for text in found] == [[",", "дом"], ["家", "1"]]


def test_pieces_as_word_piece_writes_them() -> None:
    pieces = as_word_pieces([PAD, UNK, MASK, "▁a", "b", "▁"])
    assert pieces == [PAD, UNK, MASK, "▁a", "##b", "▁"]
    tokenizer = build_word_pieces(pieces)
    assert tokenizer.encode("Abb  a").tokens == ["▁a", "##b", "##b", "▁a"]


def test_built_from_given_pieces() -> None:
    tokenizer = build_tokenizer([(PAD, 0.0), (UNK, 0.0), (MASK, 0.0), ("▁ab", -1.0), ("c", -2.0)])
    assert pieces(tokenizer, "abc ab") == ["▁ab", "c", "▁ab"]

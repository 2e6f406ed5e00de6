from __future__ import annotations

import time

import pytest
from families import texts
from hypothesis import given
from hypothesis import strategies as st

from onoma.windows import segments, windows


def sentences(text: str) -> list[str]:
    return [text[low:high].strip() for low, high in segments(text)]


@given(texts)
def test_segments_hold_every_character_in_order(text: str) -> None:
    spans = segments(text)
    assert all(low < high for low, high in spans)
    assert all(before[1] <= after[0] for before, after in zip(spans, spans[1:], strict=False))
    assert "".join("".join(text[low:high].split()) for low, high in spans) == "".join(text.split())


@pytest.mark.parametrize(
    "whole",
    [
        "Yesterday Dr. Smith met Mrs. Jones.",
        "He read J. R. R. Tolkien at school.",
        "They prayed at St. Mary's in London.",
        "The U.S. Army left Iraq.",
        "It costs 3.14 euros or 1.000.000 yen.",
        "Am 24. Mai 1949 trat das Grundgesetz in Kraft.",
        "See fig. three and others, e.g. this one.",
        "Well… maybe not.",
        "www.example.com is a site.",
        "وصل أ. د. أحمد إلى هنا.",
        "Nach Prof. Meyer kam Gen. Schmidt.",
        "ภาพยนตร์ของ พ.ศ. นี้ สถานี จ. เลย",
        "",
        "no mark at all",
    ],
)
def test_not_a_sentence_end(whole: str) -> None:
    assert sentences(whole) == ([whole] if whole else [])


@pytest.mark.parametrize(
    "parts",
    [
        ["Merkel lives in Berlin.", "She was born in Hamburg!", "Was she?", "Yes."],
        ['He said "Go to Paris."', "Then he left."],
        ["First line", "second line"],
        ["安倍晋三は東京で生まれた。", "彼は政治家だった！", "「本当？」", "はい。"],
        ["习近平在北京。", "他是主席。"],
        ["राम दिल्ली में रहता है।", "वह अच्छा है।"],
        ["هل يعيش في القاهرة؟", "نعم، يعيش بالقاهرة.", "انتهى الأمر."],
        ["آپ کہاں ہیں؟", "میں لاہور میں ہوں۔", "شکریہ"],
        ["เขาอยู่ที่กรุงเทพ", "เธออยู่ที่เชียงใหม่"],
        ["Ο Νίκος ζει στην Αθήνα.", "Πού;"],
        ["Москва — столица России.", "Путин живёт там."],
        ["አዲስ አበባ ከተማ ናት።", "ኢትዮጵያ"],
    ],
)
def test_sentence_ends(parts: list[str]) -> None:
    assert sentences("\n".join(parts)) == parts
    if not any("\u0e00" <= char <= "\u0e7f" for char in parts[0]) and parts[0][-1] in ".!?。！？।؟۔።":
        assert sentences(" ".join(parts)) == parts


@pytest.mark.parametrize("unit", [".", "!", "…", "… ", ". ", '."', "!'", "\n", " ", "。", ".)", "a.", "! "])
def test_segments_take_linear_time(unit: str) -> None:
    begin = time.process_time()
    segments(unit * 100_000)
    assert time.process_time() - begin < 5


@given(st.integers(0, 2000), st.integers(1, 130), st.data())
def test_windows_partition(length: int, limit: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, limit - 1))
    made = windows(length, limit, overlap)
    assert [window.keep_low for window in made] == [0, *(window.keep_high for window in made[:-1])]
    assert made[-1].keep_high == length
    for window in made:
        assert 0 <= window.low <= window.keep_low <= window.keep_high <= window.high <= length
        assert window.high - window.low <= limit
    for before, after in zip(made, made[1:], strict=False):
        assert before.high - after.low >= overlap
        # A piece is decided by the window in which it stands farther from an edge.
        assert abs((before.high - before.keep_high) - (after.keep_low - after.low)) <= 1


def test_windows_refuse_an_overlap_that_never_advances() -> None:
    with pytest.raises(ValueError, match=r"overlap must be in 0\.\.7"):
        windows(20, 8, 8)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("It began in 1999. Then it ended.", 2),
        ("Am 24. Mai kam er.", 1),
        ("Das war alles. ,,Nein``, rief er.", 2),
        ("Siehe Abb. , die erste.", 1),
        ('" Ya se fue ". Nadie lo vio.', 2),
        ("Vezi lista (tabelul 21.3). Apoi pleacă.", 2),
        ("ती शाळेत जात होती. मग ती घरी आली.", 2),
        ("او در تهران زاده شد. سپس رفت.", 2),
        ("అది మంచిది కాదు. ఆమె వెళ్ళింది.", 2),
        ("He left (in 1990). She stayed.", 2),
        ("우리는 서울에 간다. 그는 왔다.", 2),
        ("ის თბილისში ცხოვრობს. ის მოვიდა.", 2),
        ("वह दिल्ली में है. वह आया था.", 2),
        ("ذهب إلى بيروت أمس. ثم عاد.", 2),
        ("جی. ایچ. حسن آمد.", 1),
        ("எஸ். பி. ராமன் வந்தார்.", 1),
        ("She works for us. He does too.", 2),
        ("Lt. Gen. Adams met Rev. Brown.", 1),
    ],
)
def test_full_stops_by_script(text: str, count: int) -> None:
    assert len(segments(text)) == count

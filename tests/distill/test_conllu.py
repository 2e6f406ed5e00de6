from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from distill.conllu import convert, tagged_words
from onoma.cli import main

TEXT = """\
# sent_id = 1
# text = Don't go to Port Alto.
1-2\tDon't\t_\t_\t_\t_\t_\t_\t_\t_
1\tDo\tdo\tAUX\tVB\t_\t3\taux\t_\t_
2\tn't\tnot\tPART\tRB\t_\t3\tadvmod\t_\t_
3\tgo\tgo\tVERB\tVB\t_\t0\troot\t_\t_
3.1\tgone\tgo\tVERB\tVB\t_\t_\t_\t_\t_
4\t20 000\t20000\tNUM\tCD\t_\t3\tobl\t_\t_
5\t...\t_\t_\t.\t_\t3\tpunct\t_\t_

1\tYes\tyes\tINTJ\tUH\t_\t0\troot\t_\t_
"""


def test_words_with_their_tags() -> None:
    sentences = list(tagged_words(TEXT.splitlines(keepends=True)))
    assert sentences == [[("Do", "AUX"), ("n't", "PART"), ("go", "VERB"), ("20000", "NUM")], [("Yes", "INTJ")]]
    assert list(tagged_words(TEXT.splitlines(), column="xpos"))[0][-1] == ("...", ".")


def test_a_line_of_other_columns_is_named() -> None:
    with pytest.raises(ValueError, match="x.conllu line 2: 10 columns are needed, got 2: 'Do\\\\tAUX'"):
        list(tagged_words(["# sent_id = 1\n", "Do\tAUX\n"], where="x.conllu"))


def test_the_command_writes_a_split_that_training_reads(
    own_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from distill.corpora import read_split

    source = tmp_path / "a.conllu"
    source.write_bytes(TEXT.replace("\n", "\r\n").encode("utf-8"))
    out = own_data / "pos" / "ud" / "en" / "train.conll.xz"
    assert main(["conllu", str(source), "--out", str(out)]) == 0
    assert "2 sentences; tags: AUX, INTJ, NUM, PART, VERB" in capsys.readouterr().out
    assert lzma.open(out, "rt", encoding="utf-8").read().startswith("Do\tB-AUX\nn't\tB-PART\n")
    first, second = read_split("pos/ud", "en", "train", types=("AUX", "PART", "VERB", "NUM", "INTJ"))
    assert first.tokens == ("Do", "n't", "go", "20000") and second.tags == ("B-INTJ",)


def test_a_broken_file_leaves_what_was_there(tmp_path: Path) -> None:
    out = tmp_path / "train.conll.xz"
    out.write_bytes(b"before")
    source = tmp_path / "a.conllu"
    source.write_text(TEXT + "2\tbroken\n", encoding="utf-8")
    with pytest.raises(ValueError, match="line 12"):
        convert(source, out)
    assert out.read_bytes() == b"before"

"""The command line that makes what training starts from: conllu, dictionaries, gazetteer, train-tokenizer."""

from __future__ import annotations

import argparse
from pathlib import Path

from distill.conllu import COLUMNS, convert
from distill.measuring_commands import DATA_NOTE
from distill.sentences.dictd import PACKAGES
from onoma.cli import Command


def _tokenizer_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="tokenizer.json to write")
    parser.add_argument("--vocabulary", type=int, default=48_000, help="number of pieces (%(default)s)")
    parser.add_argument("--bytes", type=int, default=700_000, help="unlabelled text of a main language (%(default)s)")
    parser.add_argument("--other-bytes", type=int, default=120_000, help="of every other language (%(default)s)")
    parser.add_argument(
        "--sentence-encoder",
        action="store_true",
        help="for a sentence encoder: parallel text beside the unlabelled, lower case, digits as they are",
    )
    parser.add_argument(
        "--whole-words", type=int, default=0, help="pieces that are the most frequent words as they are (%(default)s)"
    )
    parser.add_argument(
        "--dictionaries",
        type=Path,
        help="what `onoma dictionaries` wrote, for a sentence encoder: --vocabulary then counts pieces for what is in "
        "no word, and words.xz and names.json, beside --out, are a table of words over them: docs/sentences.md",
    )
    parser.add_argument(
        "--teacher", help="checkpoint whose words and pieces such a table takes in (that of the package, as in recipes)"
    )
    parser.add_argument("--annotations", type=Path, help="CLDR's names, for a sentence encoder: docs/sentences.md")


def _run_tokenizer(arguments: argparse.Namespace) -> int:
    from distill.files import write_json
    from distill.mixture import tokenizer_texts
    from distill.sentences.languages import LANGUAGES
    from distill.sentences.parallel import encoder_texts
    from distill.sentences.start import NAMES_FILE
    from distill.tokenizer import save_tokenizer, train_tokenizer, without_latin
    from onoma.word_table import WORDS_FILE

    if arguments.dictionaries is not None and not arguments.sentence_encoder:
        raise ValueError("--dictionaries needs --sentence-encoder")
    if arguments.sentence_encoder:
        texts = encoder_texts(
            text_bytes=arguments.bytes, other_bytes=arguments.other_bytes, annotations=arguments.annotations
        )
    else:
        texts = tokenizer_texts(main_bytes=arguments.bytes, other_bytes=arguments.other_bytes)
    if arguments.dictionaries is not None:
        texts = without_latin(texts)  # the teacher's pieces are for these
    tokenizer = train_tokenizer(
        texts,
        vocabulary=arguments.vocabulary,
        lowercase=arguments.sentence_encoder,
        fold_digits=not arguments.sentence_encoder,
        whole_words=arguments.whole_words,
    )
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    if arguments.dictionaries is not None:
        from distill.sentences.teacher import DEFAULT, word_pieces
        from distill.sentences.vocabulary import english_sentences, words_vocabulary

        vocabulary = words_vocabulary(
            tokenizer,
            LANGUAGES,
            teacher=word_pieces(arguments.teacher or DEFAULT),
            dictionaries=arguments.dictionaries,
            annotations=arguments.annotations,
            english=english_sentences(),
        )
        tokenizer, words = vocabulary.table.tokenizer, arguments.out.with_name(WORDS_FILE)
        vocabulary.table.save(words)
        write_json(arguments.out.with_name(NAMES_FILE), vocabulary.names)
        print(f"{words}: {len(vocabulary.table.words)} words, {vocabulary.table.size} embeddings")
    save_tokenizer(tokenizer, arguments.out)
    print(f"{arguments.out}: {tokenizer.get_vocab_size()} pieces")
    return 0


def _dictionaries_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="holds dict-freedict-*.deb, or such packages unpacked")
    parser.add_argument("--out", type=Path, required=True, help="file to write, such as dictionaries.tsv.xz")


def _run_dictionaries(arguments: argparse.Namespace) -> int:
    from distill.sentences.dictionaries import make_dictionaries
    from distill.sentences.parallel import LICENCES
    from onoma.bundle import sha256

    counts = make_dictionaries(arguments.folder, arguments.out)
    for languages, count in counts.items():
        print(f"{languages}: {count}")
    licence = LICENCES["dictionary"]
    print(f"{arguments.out}: {sum(counts.values())} pairs, {licence}, sha256 {sha256(arguments.out)}")
    return 0


def _gazetteer_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="file to write, LABEL<TAB>name a line")


def _run_gazetteer(arguments: argparse.Namespace) -> int:
    from distill.gazetteer import company_names, write_gazetteer

    names = company_names()
    write_gazetteer(arguments.out, names)
    print(f"{arguments.out}: {len(names)} names")
    return 0


def _conllu_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, help="CoNLL-U file, such as en_ewt-ud-train.conllu")
    parser.add_argument("--out", type=Path, required=True, help="file to write: SOURCE/LANG/{train,dev,test}.conll.xz")
    parser.add_argument("--column", choices=sorted(COLUMNS), default="upos", help="which tags (%(default)s)")


def _run_conllu(arguments: argparse.Namespace) -> int:
    count, tags = convert(arguments.source, arguments.out, column=arguments.column)
    print(f"{arguments.out}: {count} sentences; tags: {', '.join(tags)}")
    return 0


conllu = Command(
    name="conllu",
    help="turn a Universal Dependencies file into a split to train part-of-speech taggers on",
    description="Write the words of a CoNLL-U file with their parts of speech, for labels.source of a recipe.\n"
    "With ONOMA_DATA/pos/ud/en/{train,dev,test}.conll.xz and so on, `labels.source = \"pos/ud\"`.",
    add_arguments=_conllu_arguments,
    run=_run_conllu,
)
dictionaries = Command(
    name="dictionaries",
    help="list words with their translations, for data.dictionaries of a sentence encoder's recipe",
    description="Write the words of open dictionaries as lines LANGUAGE<TAB>word<TAB>LANGUAGE<TAB>word, also English\n"
    "words to which translations into several languages lead. Debian 12 packages such dictionaries (bash):\n"
    f"  apt-get download dict-freedict-{{{','.join(PACKAGES)}}}\n"
    "Only those under CC BY-SA are taken: others in the folder are an error. " + DATA_NOTE,
    add_arguments=_dictionaries_arguments,
    run=_run_dictionaries,
)
gazetteer = Command(
    name="gazetteer",
    help="list companies, for --gazetteer of train-teacher and labels.gazetteer of a recipe",
    description="Write the names of the companies in 20 stock indices, from the package pytickersymbols.\n"
    "Any file of such lines will do: with --mentions (in a recipe: labels.mentions) its names also stand where\n"
    "entities of their type stood.",
    add_arguments=_gazetteer_arguments,
    run=_run_gazetteer,
)
train_tokenizer = Command(
    name="train-tokenizer",
    help="train the word-piece tokenizer on all data",
    description="Train a Unigram tokenizer on labelled sentences (detokenised) and unlabelled text.\n" + DATA_NOTE,
    add_arguments=_tokenizer_arguments,
    run=_run_tokenizer,
)

"""Open bilingual dictionaries as Debian packages them (dict-freedict-*): the entries of a dictd pair of files.

FreeDict's two kinds of entries are read: those made from Wiktionary (WikDict), and those of JMdict (Japanese). Only
dictionaries under a Creative Commons Attribution-ShareAlike licence are: others' terms do not fit the models' licence.
"""

from __future__ import annotations

import gzip
import io
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LICENCES = ("CC-BY-SA-3.0", "CC-BY-SA-4.0")
# Those that join the languages in which sentence similarity is judged to each other and to English: dict-freedict-NAME.
PACKAGES = (
    "deu-ell deu-fin deu-fra deu-pol deu-rus deu-spa deu-swe ell-eng ell-fra ell-ita ell-nld ell-por ell-rus "
    "ell-spa eng-bul eng-fin eng-ind eng-jpn eng-nor fin-deu fin-eng fin-fra fin-ita fin-jpn fin-nld fin-por "
    "fra-deu fra-ita fra-jpn fra-pol fra-por fra-rus fra-spa ita-jpn ita-pol ita-por ita-rus ita-spa jpn-eng "
    "jpn-fra jpn-rus nld-ita nld-pol nld-por nld-rus nld-spa pol-deu pol-eng pol-fra pol-jpn pol-por pol-rus "
    "pol-spa por-fra por-spa swe-deu"
).split()
_DIGITS = {sign: at for at, sign in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")}
_FILE = re.compile(r"usr/share/(?:dictd/freedict-(?P<dictionary>\w+-\w+)\.(?P<kind>index|dict\.dz)"
                   r"|doc/dict-freedict-(?P<about>\w+-\w+)/(?P<copyright>copyright))$")  # fmt: skip


@dataclass(frozen=True)
class Dictionary:
    """A dictionary's files.

    :param name: such as deu-spa: from which language to which.
    :param copyright: Debian's copyright file, which is about many dictionaries.
    """

    name: str
    index: bytes
    body: bytes
    copyright: str

    @property
    def licence(self) -> str:
        """What the copyright file gives for this dictionary's own files.

        :raises ValueError: if it gives none.
        """
        for paragraph in re.split(r"\n\s*\n", self.copyright):
            fields = _fields(paragraph)
            if f"{self.name}/*" in fields.get("files", "").split():
                return fields.get("license", "").partition("\n")[0].strip()
        raise ValueError(f"dictionary {self.name}: its copyright file has no paragraph 'Files: {self.name}/*'")

    def checked(self) -> Dictionary:
        """Itself.

        :raises ValueError: if its licence is not one of LICENCES.
        """
        if self.licence.upper() not in LICENCES:
            wanted = " or ".join(LICENCES)
            raise ValueError(f"dictionary {self.name} is under {self.licence or 'no licence'}, it must be {wanted}")
        return self

    def entries(self) -> Iterator[str]:
        """The text of each entry once, in the order of the file; what the file says of itself is no entry.

        :raises ValueError: if the index has a line that is not headword, place and length.
        """
        body = gzip.decompress(self.body)
        places = set()
        for number, line in enumerate(self.index.decode("utf-8").split("\n"), 1):
            if not line or line.startswith("00database") or line.startswith("00-database"):
                continue
            fields = line.split("\t")
            if len(fields) < 3 or not all(field and set(field) <= _DIGITS.keys() for field in fields[1:3]):
                raise ValueError(f"index of {self.name} line {number}: expected headword, place, length, got {line!r}")
            places.add((_number(fields[1]), _number(fields[2])))
        for place, length in sorted(places):
            yield body[place : place + length].decode("utf-8")


def _fields(paragraph: str) -> dict[str, str]:
    """The fields of a paragraph as Debian writes them: a name, then what follows it up to the next name."""
    parts = re.split(r"^([A-Za-z-]+):", paragraph, flags=re.MULTILINE)
    return {name.lower(): value for name, value in zip(parts[1::2], parts[2::2], strict=True)}


def _number(digits: str) -> int:
    """Dictd's numbers have base 64."""
    number = 0
    for digit in digits:
        number = number * 64 + _DIGITS[digit]
    return number


def dictionaries_in(folder: Path) -> list[Dictionary]:
    """The dictionaries of a folder's .deb files, and of packages that lie unpacked below it, by name.

    :raises FileNotFoundError: if there is none, or one lacks a file.
    """
    found: dict[str, dict[str, bytes]] = {}
    for package in sorted(folder.glob("*.deb")):
        for path, content in _packed(package):
            _sort(found, path, content)
    for file in sorted(folder.rglob("usr/share/d*/**/*")):
        if file.is_file():
            _sort(found, file.as_posix(), file.read_bytes())
    if not found:
        raise FileNotFoundError(f"no dict-freedict-*.deb in {folder}, and no usr/share/dictd below it")
    dictionaries = []
    for name, files in sorted(found.items()):
        if missing := sorted({"index", "dict.dz", "copyright"} - files.keys()):
            raise FileNotFoundError(f"dictionary {name} in {folder} lacks its {', '.join(missing)}")
        dictionaries.append(
            Dictionary(name, files["index"], files["dict.dz"], files["copyright"].decode("utf-8"))
        )
    return dictionaries


def _sort(found: dict[str, dict[str, bytes]], path: str, content: bytes) -> None:
    if match := _FILE.search(path):
        name = match["dictionary"] or match["about"]
        found.setdefault(name, {})[match["kind"] or match["copyright"]] = content


def _packed(package: Path) -> Iterator[tuple[str, bytes]]:
    """The plain files of a .deb: an `ar` archive, of which one member is a tar."""
    data = package.read_bytes()
    if not data.startswith(b"!<arch>\n"):
        raise ValueError(f"{package} is no Debian package")
    at = 8
    while at < len(data):
        name, size = data[at : at + 16].decode("ascii").strip().rstrip("/"), int(data[at + 48 : at + 58])
        at += 60
        if name.startswith("data.tar"):
            with tarfile.open(fileobj=io.BytesIO(data[at : at + size])) as archive:
                for member in archive:
                    if member.isfile() and (file := archive.extractfile(member)) is not None:
                        yield member.name, file.read()
        at += size + size % 2  # members begin at even places

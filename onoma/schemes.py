"""Foreign label names: which scheme they are of, and the tags of `LabelSet` that they mean.

Models spell the same things in many ways: `B-PER`, `b_PER`, `PER/B`, `PER`. Names are read once, when a model is
exported or becomes a teacher; bundles hold tags.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from onoma.errors import LabelError
from onoma.labels import LabelSet, Scheme

SEPARATORS = "-_/"
OUTSIDE = frozenset({"o", "0", "outside"})  # in any case
ROLES = {"B": "B", "I": "I", "M": "I", "E": "E", "L": "E", "S": "S", "U": "S", "W": "S"}
"""Prefixes of any scheme as those of bioes: BILOU and BMES have other letters for the same."""
CONTINUES = "X"  # BERT's first authors gave it to all pieces of a word but the first
UNNAMED = "ENTITY"  # the type of labels that are prefixes alone

_SPECIAL = re.compile(r"[\[<](pad|cls|sep|unk|mask|s|/s|bos|eos|start|stop|end)[\]>]|pad", re.IGNORECASE)
_NUMBERED = re.compile(r"(label_?)?\d+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reading:
    """What label names mean.

    :param labels: the tags that say something of a word.
    :param columns: the model's column of each tag; columns of special pieces are left out.
    """

    labels: LabelSet
    columns: tuple[int, ...]


def read_names(names: Sequence[str], *, scheme: Scheme | None = None) -> Reading:
    """The tags that a model's label names mean.

    :param names: of every column, in order.
    :param scheme: what they are; None to tell from the names. What may be iob1 and iob2 is taken for iob2.
    :raises LabelError: if the names say nothing, or do not fit the scheme; names those at fault.
    """
    if len(set(names)) != len(names):
        raise LabelError(f"duplicate labels: {sorted({name for name in names if names.count(name) > 1})}")
    if all(_NUMBERED.fullmatch(name) for name in names) or any(re.fullmatch(r"LABEL_\d+", name) for name in names):
        raise LabelError(f"labels without a meaning: {list(names)}")
    outside = [name for name in names if name.casefold() in OUTSIDE]
    if len(outside) > 1:
        raise LabelError(f"several labels mean 'O': {outside}")
    special = {name for name in names if _SPECIAL.fullmatch(name)}
    words = [name for name in names if name not in special and name not in outside]
    if not words:
        raise LabelError(f"no label is a type: {list(names)}")
    tags = {} if scheme == "plain" else _prefixed(words, complete=not outside)
    if tags and CONTINUES in words and CONTINUES not in tags:
        special.add(CONTINUES)
    found = scheme or _scheme(list(tags.values()), outside=bool(outside))
    if not tags:
        prefixes = {"io": "I-", "plain": ""}
        if found not in prefixes:
            raise LabelError(f"labels are not of scheme {found}, they have no prefixes: {words}")
        tags = {name: prefixes[found] + name for name in words}
    tags |= dict.fromkeys(outside, "O")
    columns = tuple(column for column, name in enumerate(names) if name not in special)
    own = tuple(tags[names[column]] for column in columns)
    for tag in own:
        if own.count(tag) > 1:
            raise LabelError(f"several labels mean {tag!r}: {[name for name in tags if tags[name] == tag]}")
    return Reading(LabelSet(own, found), columns)


def _prefixed(names: Sequence[str], *, complete: bool) -> dict[str, str]:
    """The bioes tags of names with a prefix or suffix; nothing if they have none.

    :param complete: whether every word has a type, so that names without a prefix are words of their own.
    """
    if all(name.upper() in ROLES for name in names) and {"B", "I"} & {ROLES[name.upper()] for name in names}:
        return {name: f"{ROLES[name.upper()]}-{UNNAMED}" for name in names}
    ways = [_split(names, separator, last=last) for last in (False, True) for separator in SEPARATORS]
    best = max(ways, key=len)  # of equals the first
    if not {"B", "I"} & {tag[0] for tag in best.values()}:
        return {}  # `E-MAIL` is a type
    others = [name for name in names if name not in best]
    if complete:
        return best | {name: f"S-{name}" for name in others}
    if others := [name for name in others if name != CONTINUES]:
        raise LabelError(f"labels {others} have no prefix, unlike {next(iter(best))!r}")
    return best


def _split(names: Sequence[str], separator: str, *, last: bool) -> dict[str, str]:
    """The tags of those names that have a prefix, or a suffix if `last`."""
    found = {}
    for name in names:
        kind, _, letter = name.rpartition(separator) if last else name.partition(separator)[::-1]
        if kind and letter.upper() in ROLES:
            found[name] = f"{ROLES[letter.upper()]}-{kind}"
    return found


def _scheme(tags: Sequence[str], *, outside: bool) -> Scheme:
    """The scheme of prefixed tags, or of none."""
    if not tags:
        return "io" if outside else "plain"
    roles = {tag[0] for tag in tags}
    if roles & {"E", "S"}:
        return "bioes"
    begun, inside = ({tag[2:] for tag in tags if tag[0] == role} for role in "BI")
    if not begun:
        return "io"
    # In iob2 nothing is inside that was not begun, in iob1 there is no between without an inside.
    return "iob1" if inside - begun and not begun - inside else "iob2"

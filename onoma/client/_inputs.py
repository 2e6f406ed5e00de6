"""Texts and tokens of the caller, checked and as JSON, on their way into calls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from onoma.client._batching import Batch, Batcher, Limits, Sized, batches
from onoma.client._calls import NerCall, Options, StreamCall, refuse_string, to_json
from onoma.client._errors import InvalidText
from onoma.errors import TextError
from onoma.tagger import check_text


def text_call(text: str, options: Options) -> NerCall:
    """The call that tags one text.

    :raises InvalidText: if the text cannot be tagged.
    """
    return NerCall("text", Batch(0, [sized_text(text, "text").item]), options)


def text_calls(texts: Iterable[str], options: Options, limits: Limits) -> list[NerCall]:
    """The calls that tag texts, in order.

    :raises InvalidText: if one of them cannot be tagged.
    """
    refuse_string(texts, "texts")
    sized = [sized_text(text, f"texts[{number}]") for number, text in enumerate(texts)]
    return [NerCall("texts", batch, options) for batch in batches(sized, limits)]


def token_calls(tokens: Iterable[Sequence[str]], options: Options, limits: Limits) -> list[NerCall]:
    """The calls that tag sentences given as tokens, in order.

    :raises InvalidText: if a token cannot be tagged.
    """
    refuse_string(tokens, "tokens")
    sized = [_tokens(sentence, f"tokens[{number}]") for number, sentence in enumerate(tokens)]
    return [NerCall("tokens", batch, options) for batch in batches(sized, limits)]


class Lines:
    """Takes the texts of a stream one after the other and gives calls as soon as they are full."""

    def __init__(self, options: Options, limits: Limits) -> None:
        self._batcher: Batcher[bytes | InvalidText] = Batcher(limits)
        self._options = options
        self._count = 0

    def add(self, text: str) -> Iterator[StreamCall]:
        """Take one more text; one that cannot be tagged takes its place as an error."""
        try:
            line: Sized[bytes | InvalidText] = sized_text(text, f"texts[{self._count}]")
        except InvalidText as error:
            line = Sized(error, characters=0, bytes=0)
        self._count += 1
        return map(self._call, self._batcher.add(line))

    def rest(self) -> Iterator[StreamCall]:
        """The last call, if anything is left."""
        return map(self._call, self._batcher.rest())

    def _call(self, batch: Batch[bytes | InvalidText]) -> StreamCall:
        return StreamCall(batch.items, self._options)


def sized_text(text: str, field: str) -> Sized[bytes]:
    """A text as JSON.

    :raises InvalidText: if it is not valid; names the field.
    """
    _check(text, field)
    encoded = to_json(text)
    return Sized(encoded, characters=len(text), bytes=len(encoded))


def _tokens(tokens: Sequence[str], field: str) -> Sized[bytes]:
    refuse_string(tokens, field)
    for number, token in enumerate(tokens):
        _check(token, f"{field}[{number}]")
    encoded = to_json(list(tokens))
    # As the server counts: tokens are joined by spaces.
    return Sized(encoded, characters=sum(map(len, tokens)) + len(tokens), bytes=len(encoded))


def _check(text: str, field: str) -> None:
    if not isinstance(text, str):
        raise TypeError(f"{field} must be a string, got {type(text).__name__}")
    try:
        check_text(text, field=field)
    except TextError as error:
        raise InvalidText(str(error)) from None

"""Literal text: a request that spells `</s>` means these characters, not the special token.

`encode_special_tokens` sees to that where special tokens stand beside the vocabulary. SentencePiece's Unigram models
have them in it, as pieces like any other.
"""

from __future__ import annotations

import re

from tokenizers import Tokenizer

UNKNOWN = "\ue000"  # a private character: no vocabulary has it


class Literal:
    """Makes texts that tokenizers cannot mistake, of the same length.

    :param tokenizer: with `encode_special_tokens` set.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        spelled = []
        for number, token in tokenizer.get_added_tokens_decoder().items():
            encoding = tokenizer.encode(token.content, add_special_tokens=False)
            whole = ((0, len(token.content)), number)
            if token.special and whole in zip(encoding.offsets, encoding.ids, strict=True):
                spelled.append(re.escape(token.content))
        self._spelled = re.compile("|".join(spelled)) if spelled else None

    def __call__(self, text: str) -> str:
        """The text with the first character of everything that spells a special token unknown."""
        if self._spelled is None:
            return text
        return self._spelled.sub(lambda found: UNKNOWN + found[0][1:], text)

"""Which languages a sentence encoder learns, and what the sources of parallel text call them."""

from __future__ import annotations

# The locales of MASSIVE (those of one language count as one) and what news (NTREX-128) and Tatoeba have beside them.
MASSIVE_51 = (
    "af am ar az bn ca cy da de el en es fa fi fr he hi hu hy id is it ja jv ka km kn ko lv ml mn ms my nl no pl pt ro "
    "ru sl sq sv sw ta te th tl tr ur vi zh"
).split()
OTHERS = "be bg bs cs et eu ga gl gu hr kk lt mk mr ne nn pa si sk sr uk".split()
LANGUAGES = tuple(sorted([*MASSIVE_51, *OTHERS]))

# NTREX-128 names ISO 639-3 codes, some with a country or a script; several files may be of one language.
NTREX = {
    "afr": "af", "amh": "am", "arb": "ar", "aze-Latn": "az", "bel": "be", "bul": "bg", "ben": "bn", "bos": "bs",
    "cat": "ca", "ces": "cs", "cym": "cy", "dan": "da", "deu": "de", "ell": "el", "eng-GB": "en", "eng-IN": "en",
    "eng-US": "en", "spa": "es", "spa-MX": "es", "spa-2": "es", "est": "et", "eus": "eu", "fas": "fa", "fin": "fi",
    "fra": "fr", "fra-CA": "fr", "gle": "ga", "glg": "gl", "guj": "gu", "heb": "he", "hin": "hi", "hrv": "hr",
    "hun": "hu", "hye": "hy", "ind": "id", "isl": "is", "ita": "it", "jpn": "ja", "kat": "ka", "kaz": "kk",
    "khm": "km", "kan": "kn", "kor": "ko", "lit": "lt", "lav": "lv", "mkd": "mk", "mal": "ml", "mon": "mn",
    "mar": "mr", "msa": "ms", "mya": "my", "nep": "ne", "nld": "nl", "nno": "nn", "nob": "no", "pan": "pa",
    "pol": "pl", "por": "pt", "por-BR": "pt", "ron": "ro", "rus": "ru", "sin": "si", "slk": "sk", "slv": "sl",
    "sqi": "sq", "srp-Cyrl": "sr", "srp-Latn": "sr", "swe": "sv", "swa": "sw", "tam": "ta", "tel": "te", "tha": "th",
    "fil": "tl", "tur": "tr", "ukr": "uk", "urd": "ur", "vie": "vi", "zho-CN": "zh", "zho-TW": "zh",
}  # fmt: skip
# Files of Tatoeba, MASSIVE and the unlabelled text that are not named by the code used here.
ALIASES = {"bos": "bs", "zh_TW": "zh"}
ENGLISH, HAN_LANGUAGES = "en", ("ja", "zh")


def own_code(code: str) -> str:
    """The code used here, of what a file of Tatoeba, MASSIVE or text is named by."""
    return ALIASES.get(code, code)


def file_codes(language: str) -> list[str]:
    """What files of Tatoeba, MASSIVE or text may be named by, for a code used here."""
    return [language, *(theirs for theirs, own in ALIASES.items() if own == language)]


def ntrex_codes(language: str) -> list[str]:
    """The files of NTREX-128 in a language."""
    return [theirs for theirs, own in NTREX.items() if own == language]

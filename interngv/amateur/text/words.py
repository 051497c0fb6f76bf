"""From a caption to the words whose bytes BPE merges, as CLIP does it (Radford et al., ICML 2021, section 2.4).

A caption is cleaned (ftfy, HTML entities, lower case) and cut into words: letters, single digits, runs of other signs,
and the English contractions. A word's UTF-8 bytes are then written as 256 letters that all print, one a byte (GPT-2,
Radford et al. 2019, section 2.2), so that no text is out of the vocabulary.
"""

import html
import re
import reprlib
from functools import lru_cache
from importlib import import_module
from types import ModuleType

from interngv.errors import UserError

START, END, MASK = "<start_of_text>", "<end_of_text>", "<|mask|>"
# A literal special token in a caption is that token, as in CLIP's released tokenizers.
PATTERN = rf"{START}|{END}|'s|'t|'re|'ve|'m|'ll|'d|\p{{L}}+|\p{{N}}|[^\s\p{{L}}\p{{N}}]+"
LONGEST = 4096  # html.unescape raises an error for entities of more than 4300 digits


def _byte_letters() -> dict[int, str]:
    """Letter of every byte, in CLIP's order: bytes that print in Latin-1 stand for themselves, the others follow."""
    printing = [byte for byte in range(256) if chr(byte).isprintable() and byte != ord(" ")]
    others = [byte for byte in range(256) if byte not in printing]
    return {byte: chr(byte) for byte in printing} | {byte: chr(256 + rank) for rank, byte in enumerate(others)}


BYTE_LETTERS = _byte_letters()


def needed(module: str) -> ModuleType:
    """The imported library; raises UserError with the command that installs it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise UserError(
            f"captions are tokenised with {module}, which cannot be imported ({error}): "
            "pip install 'tokenizers>=0.21,<=0.23.0' ftfy regex"
        ) from error


def clean(text: str) -> str:
    """The caption in lower case, without HTML entities, broken encodings and control characters.

    Lone surrogates become U+FFFD. A caption is cut after ``LONGEST`` characters, not counting blanks at its start: some
    texts take ftfy a time that grows with the square of their length. Raises UserError for what is no string.
    """
    if not isinstance(text, str):
        raise UserError(f"a caption must be a string, got {reprlib.repr(text)} of type {type(text).__name__}")
    if len(text) > LONGEST:
        text = text.lstrip()[:LONGEST]
    if not (text.isascii() and text.isprintable() and "&" not in text):  # else there is nothing to mend
        text = needed("ftfy").fix_text(text)
        text = html.unescape(html.unescape(text))
    return text.lower()


def words(text: str) -> list[str]:
    """The words of a cleaned caption; none spans a blank."""
    return _pattern().findall(text)


@lru_cache(maxsize=1)
def _pattern() -> re.Pattern[str]:
    # Python's own re has no \p{L}, and the tables of tokenizers' Oniguruma are years behind those of regex.
    regex = needed("regex")
    return regex.compile(PATTERN, regex.IGNORECASE)


def letters(word: str) -> str:
    """A word's bytes in the letters of ``BYTE_LETTERS``."""
    return "".join([BYTE_LETTERS[byte] for byte in word.encode()])

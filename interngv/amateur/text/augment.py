"""A changed copy of a caption, by EDA (Wei, Zou: EMNLP 2019, arXiv 1901.11196), as DeCLIP's second view of the text."""

import random
import re
from collections.abc import Callable, Sequence

from interngv.amateur.text.words import LONGEST

# Words that carry the grammar. Some are other words too, in WordNet: 'in' is indium, 'a' a vitamin.
_FUNCTION_WORDS = """
a an the this that these those some any no each every either neither both all such what which who whom whose one
i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his himself she her hers herself
it its itself they them their theirs themselves
am is are was were be been being have has had having do does did doing done will would shall should can could may might
must ought
and or nor but so yet if then than because as until while though although unless since whether
of at by for with about against between into through during before after above below to from up down in out on off over
under again once near within without along across behind beside beyond onto upon toward towards per via
not very too also just only here there when where why how more most other own same
"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
SIGNS_AROUND = re.compile(r"^\W+|\W+$")


class TextAugment:
    """Changes a caption in one way of three, drawn with equal chance: synonyms, swaps, deletion.

    With l words and n = max(1, rate * l): n words that are no function words are replaced by a synonym; or n times two
    words are exchanged; or every word is left out with the chance ``rate``. Where that is impossible (no synonym known,
    one word) the caption stays as it is; at least one word stays always. A caption is cut after as many characters as a
    tokenizer reads (:data:`interngv.amateur.text.words.LONGEST`).

    Args:
        synonyms: the synonyms of a word in lower case, such as :meth:`interngv.gvd.wordnet.WordNet.synonyms`.
        rate: share of the words that change, EDA's alpha; 0.1 is its recommendation.

    Raises ValueError for a rate outside 0..1.

        augment = TextAugment(WordNet("data/wordnet").synonyms)
        augment("a dog runs over the lawn", random.Random(0))
    """

    def __init__(self, synonyms: Callable[[str], Sequence[str]], rate: float = 0.1) -> None:
        if not 0 < rate < 1:
            raise ValueError(f"rate must lie between 0 and 1, got {rate}")
        self.synonyms, self.rate = synonyms, rate

    def __call__(self, caption: str, generator: random.Random) -> str:
        """The changed caption, with one blank between words; the same for the same state of ``generator``."""
        words = caption.lstrip()[:LONGEST].split()
        if not words:
            return caption
        change = generator.choice((self._replace, self._swap, self._delete))
        return " ".join(change(words, generator))

    def _count(self, words: list[str]) -> int:
        return max(1, int(self.rate * len(words)))

    def _replace(self, words: list[str], generator: random.Random) -> list[str]:
        left = self._count(words)
        for at in generator.sample(range(len(words)), len(words)):
            if synonym := self._synonym(words[at], generator):
                words[at], left = synonym, left - 1
            if not left:
                break
        return words

    def _synonym(self, word: str, generator: random.Random) -> str | None:
        """A synonym of what stands between the signs around a word, with these signs; None where none is known."""
        bare = SIGNS_AROUND.sub("", word)
        known = self.synonyms(bare.lower()) if bare and bare.lower() not in FUNCTION_WORDS else ()
        if not known:
            return None
        before, _, after = word.partition(bare)
        return before + generator.choice(known) + after

    def _swap(self, words: list[str], generator: random.Random) -> list[str]:
        for _ in range(self._count(words) if len(words) > 1 else 0):
            one, other = generator.sample(range(len(words)), 2)
            words[one], words[other] = words[other], words[one]
        return words

    def _delete(self, words: list[str], generator: random.Random) -> list[str]:
        return [word for word in words if generator.random() >= self.rate] or [generator.choice(words)]

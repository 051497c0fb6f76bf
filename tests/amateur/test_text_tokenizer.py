"""Ids against open_clip's own tokenizer, what ids mean, and what no caption may do."""

import copy
import html
import importlib.util
import os
import pickle
import random
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
import torch

from interngv import compat
from interngv.amateur.text import BPETokenizer
from interngv.amateur.text.words import LONGEST, clean, words
from interngv.errors import UserError
from interngv.registry import MODELS

for library in ("tokenizers", "ftfy", "regex"):
    pytest.importorskip(library)
needs_open_clip = pytest.mark.skipif(compat.spec("open_clip") is None, reason="open_clip is not installed")

PLAIN = ["a dog runs over the lawn", "A  photo of\ta\nCAT.", "two dogs' toys; don't they've I'D", "", " ", "x", "!!!"]
AWKWARD = """
&amp; &lt; &#39; &quot; &nbsp; &#x1F600; &#xD800; &#0; &#128; &hellip &frac12 &AMP; &amp;amp;lt; <br/> </w> <|mask|>
<start_of_text> <END_OF_TEXT> <\u017ftart_of_text> 's 'S '\u017f 'll 'RE \u2019s \u2018d http://a.b/c?d=e&f=g
1234 \u0663\u0664 \u00b2 \u00bd \u2167 \u01c4 \ufb01 \ufb00 \uff21\uff22 \u0130 \u0131 \u00df \u03a3 \u0391\u03a3 \u03c2
\u212a \u212b e\u0301 \u00e9 \u0345 café \u6f22\u5b57 \u65e5\u672c\u8a9e \ud55c\uad6d\uc5b4 \u0e44\u0e17\u0e22
\u0939\u093f\u0928\u094d\u0926\u0940 \u0627\u0644\u0639 \u05e2\u05d1 \U0002ebf0 \U0001f600 \U0001f468\u200d\U0001f469
\U0001f1e9\U0001f1ea \U0001f44d\U0001f3fd \u00c3\u00a9 \u00e2\u20ac\u2122 \u00f0\u0178\u02dc\u20ac $9.99 C++ a_b @user
antidisestablishmentarianism photograph Dog #tag -- ... \u2026
"""
BLANKS = [
    " ",
    "   ",
    "\t",
    "\r\n",
    "\x0b",
    "\x0c",
    "\x1c",
    "\x1f",
    "\x85",
    "\xa0",
    "\u2028",
    "\u3000",
    "\u200b",
    "\ufeff",
]
FRAGMENTS = [*AWKWARD.split(), *BLANKS]
CONTROLS = ["\x00", "\x07", "\x1b[31m", "\x7f", "\x9f", "\ufffe", "\ud800", "\udc00", "\ud83d\ude00"]
HAND_PICKED = [*PLAIN, *FRAGMENTS, *CONTROLS, " ".join(FRAGMENTS), "".join(FRAGMENTS), "".join(CONTROLS), "word " * 200]


def some_character(draw: random.Random) -> str:
    low, high = draw.choice([(0x20, 0x7F), (0x20, 0x7F), (0, 0x20), (0x80, 0x250), (0x250, 0x3100), (0, 0x110000)])
    return chr(draw.randrange(low, high))


def generated(count: int, seed: int) -> list[str]:
    """Strings of characters from all of Unicode, of awkward fragments, and of text that was decoded wrongly."""
    draw = random.Random(seed)
    found = []
    for index in range(count):
        size = draw.choice([1, 2, 3, 5, 8, 20, 50])
        pieces = [draw.choice(FRAGMENTS) if draw.random() < 0.5 else some_character(draw) for _ in range(size)]
        text = "".join(pieces)
        found.append(text.encode(errors="replace").decode("latin-1") if index % 8 == 0 else text)
    return found


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    """open_clip's file alone: importing the package needs a torchvision that fits torch."""
    folder = compat.spec("open_clip").submodule_search_locations[0]
    spec = importlib.util.spec_from_file_location("open_clip_tokenizer", Path(folder) / "tokenizer.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOKENIZERS_PARALLELISM", "false")  # it sets it for good
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def clip() -> BPETokenizer:
    return BPETokenizer.clip()


@pytest.fixture(scope="module")
def small() -> BPETokenizer:
    return BPETokenizer.train(["a dog runs", "a dog sleeps", "dogs run over a lawn"] * 3, 560, context_length=12)


def differing(ours: BPETokenizer, reference: ModuleType, texts: list[str]) -> list[str]:
    expected = reference.tokenize(texts)
    return [ascii(text) for text, one, other in zip(texts, ours(texts), expected, strict=True) if one.ne(other).any()]


@needs_open_clip
def test_ids_equal_open_clips_on_strings_picked_by_hand(clip: BPETokenizer, reference: ModuleType) -> None:
    assert differing(clip, reference, HAND_PICKED) == []
    assert [clip.encode(text) for text in HAND_PICKED] == [reference._tokenizer.encode(text) for text in HAND_PICKED]


@needs_open_clip
@pytest.mark.parametrize("seed", range(4))
def test_ids_equal_open_clips_on_generated_strings(seed: int, clip: BPETokenizer, reference: ModuleType) -> None:
    assert differing(clip, reference, generated(300, seed)) == []


@needs_open_clip
@pytest.mark.parametrize("size", [20_000, pytest.param(10**6, marks=pytest.mark.slow)])
def test_ids_equal_open_clips_on_very_long_strings(size: int, clip: BPETokenizer, reference: ModuleType) -> None:
    texts = ["dog running " * (size // 12), " \n" * (size // 2) + "a dog", "café " * (size // 5)]
    assert differing(clip, reference, texts) == []


@needs_open_clip
def test_ids_that_are_published(clip: BPETokenizer) -> None:
    """The documentation of CLIP's text models: 'a photo of a cat', and the numbers of its special tokens."""
    assert clip(["a photo of a cat"])[0, :8].tolist() == [49406, 320, 1125, 539, 320, 2368, 49407, 0]
    assert (clip.start_id, clip.end_id, clip.mask_id, clip.vocab_size) == (49406, 49407, 49408, 49409)


@needs_open_clip
def test_decoding_gives_what_open_clip_gives(clip: BPETokenizer, reference: ModuleType) -> None:
    for text in ["a dog runs", "don't stop, café \u6f22\u5b57 \U0001f600"]:
        assert clip.decode(clip.encode(text)) == reference._tokenizer.decode(clip.encode(text))


MILLIONS = {
    "one word": "a" * 10**6,
    "nested entities": "&" + "amp;" * 250_000,
    "nested entities with an accent": "\u00e9&" + "amp;" * 250_000,
    "lone surrogates": "\ud800" * 10**6,
    "short lines": "\u00e9\n" * 500_000,
    "emoji": "\U0001f600" * 10**6,
}


@pytest.mark.parametrize("text", MILLIONS.values(), ids=MILLIONS)
@pytest.mark.slow
def test_a_million_characters_take_bounded_time(text: str, small: BPETokenizer) -> None:
    start = time.perf_counter()
    ids = small([text])
    assert time.perf_counter() - start < 10
    assert ids[0, 0] == small.start_id and (ids == small.end_id).sum() == 1


def test_an_entity_of_any_length_is_read_or_cut() -> None:
    """Python reads no number of more than 4300 digits, and open_clip fails there."""
    with pytest.raises(ValueError, match="4300"):
        html.unescape("&#" + "9" * 5000 + ";")
    assert clean("&#" + "9" * 5000 + ";") == clean("&#" + "9" * (LONGEST - 3) + ";") == "\ufffd"
    assert clean("x &#57;") == "x 9"


def test_lone_surrogates_are_replacement_characters(small: BPETokenizer) -> None:
    assert small.encode("a\ud800b \udfff") == small.encode("a\ufffdb \ufffd")


def test_plain_ascii_needs_no_mending() -> None:
    ftfy = pytest.importorskip("ftfy")
    draw = random.Random(0)
    signs = [chr(code) for code in range(0x20, 0x7F) if chr(code) != "&"]
    texts = ["".join(draw.choices(signs, k=draw.randrange(40))) for _ in range(500)]
    assert [text for text in texts if ftfy.fix_text(text) != text] == []


def test_words_lose_nothing_but_blanks() -> None:
    text = clean("  It's 42 dogs,\u00a0cafés & \u6f22\u5b57!! ")
    assert words(text) == ["it", "'s", "4", "2", "dogs", ",", "cafés", "&", "\u6f22\u5b57", "!!"]


@pytest.mark.parametrize("size", range(14))
def test_start_words_end_padding(size: int, small: BPETokenizer) -> None:
    """Twelve ids: the words between start and end, as many as there is room for."""
    word = small.encode("dog")
    assert len(word) == 1
    room = min(size, 10)
    ids = small(["dog " * size])
    assert ids.dtype == torch.int64 and ids.shape == (1, 12)
    assert ids[0].tolist() == [small.start_id, *word * room, small.end_id, *[0] * (10 - room)]


def test_a_batch_is_its_captions(small: BPETokenizer) -> None:
    texts = ["a dog", "", "lawn \U0001f600"]
    assert torch.equal(small(texts), torch.cat([small(text) for text in texts]))
    assert small([]).shape == (0, 12)


def test_decode_ends_at_the_end_and_shows_the_mask(small: BPETokenizer) -> None:
    row = small(["A dog runs!"])[0]
    assert small.decode(row) == "a dog runs ! "
    row[2] = small.mask_id
    assert small.decode(row) == "a <|mask|> runs ! "
    with pytest.raises(ValueError, match=rf"id 99999 is not in the vocabulary, 0..{small.vocab_size - 1}"):
        small.decode([1, 99999])


def test_every_text_comes_back(small: BPETokenizer) -> None:
    """No byte is out of a vocabulary that saw eleven letters."""
    for text in ["zebra", "\u6f22\u5b57", "\U0001f600", *map(chr, range(0x21, 0x7F)), "\u00ff", "\u0142"]:
        if "&" not in text:
            assert small.decode(small.encode(text)).replace(" ", "") == text.lower()


def test_special_tokens_in_a_caption(small: BPETokenizer) -> None:
    assert small.encode("a <END_of_text> dog")[1] == small.end_id
    assert small.mask_id not in small.encode("a <|mask|> dog")


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))], ids=["copy", "sent"]
)
def test_a_copy_gives_the_same_ids(duplicate, small: BPETokenizer) -> None:
    other = duplicate(small)
    assert torch.equal(other(HAND_PICKED), small(HAND_PICKED)) and other.context_length == 12


def test_a_config_builds_it(small: BPETokenizer, tmp_path: Path) -> None:
    small.save(tmp_path / "bpe.json")
    config = dict(type="BPETokenizer", vocabulary=str(tmp_path / "bpe.json"), context_length=12)
    assert torch.equal(MODELS.build(config)(PLAIN), small(PLAIN))


@pytest.mark.parametrize("caption", [None, 3.5, b"a dog", ["a dog"]], ids=repr)
def test_a_caption_that_is_no_string_is_named(caption: object, small: BPETokenizer) -> None:
    with pytest.raises(UserError, match=f"a caption must be a string, got .* of type {type(caption).__name__}"):
        small(["a dog", caption])


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="vocabulary 'clipp' is neither 'clip' nor a file .*did you mean 'clip'"):
        BPETokenizer("clipp")
    with pytest.raises(ValueError, match="context_length must be at least 3"):
        BPETokenizer("clip", context_length=2)
    with pytest.raises(UserError, match="got one string"):
        BPETokenizer.train("a dog runs", 600)


@pytest.mark.parametrize("library", ["ftfy", "regex", "tokenizers"])
def test_a_missing_library_is_named_with_its_command(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    words_module = sys.modules["interngv.amateur.text.words"]
    words_module._pattern.cache_clear()
    with pytest.raises(UserError, match=f"tokenised with {library}, .*pip install .*{library}"):
        BPETokenizer.train(["a dog", "a dog"], 600)


def test_a_missing_open_clip_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(compat, "spec", lambda package: None)
    with pytest.raises(UserError, match="pip install open_clip_torch"):
        BPETokenizer.clip()


@pytest.mark.slow
def test_import_is_light() -> None:
    code = (
        "import sys, interngv.amateur.text\n"
        "print(sorted({'tokenizers', 'ftfy', 'regex', 'open_clip', 'torchvision', 'mmcv'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


FORKED = """
import os
import torch
from torch.utils.data import DataLoader
from interngv.amateur.text import BPETokenizer

captions = ["a dog runs", "a dog sleeps"] * 8
threads = len(os.listdir("/proc/self/task"))
tokenizer = BPETokenizer.train(captions, 540, context_length=8)
assert len(os.listdir("/proc/self/task")) == threads
assert "TOKENIZERS_PARALLELISM" not in os.environ
loader = DataLoader(captions, 4, collate_fn=tokenizer, num_workers=2, multiprocessing_context="fork")
assert torch.equal(torch.cat(list(loader)), tokenizer(captions))
"""


@pytest.mark.slow
def test_workers_forked_after_a_training_give_the_same_ids_without_a_warning(tmp_path: Path) -> None:
    env = {
        name: value for name, value in os.environ.items() if name != "TOKENIZERS_PARALLELISM"
    }  # of open_clip's import
    command = [sys.executable, "-W", "ignore", "-c", FORKED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=env)
    assert (done.returncode, done.stderr) == (0, "")

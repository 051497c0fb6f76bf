"""The command that trains a vocabulary: what it reads as texts, that it adds nothing to them, and its refusals."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import small_wordnet

from interngv.amateur.text import BPETokenizer
from interngv.amateur.text.train_vocabulary import main, texts, train_vocabulary
from interngv.errors import UserError

for library in ("tokenizers", "ftfy", "regex"):
    pytest.importorskip(library)

CAPTIONS = ["a dog runs", "a café, \u6f22", "dogs run over a lawn"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source of each kind, in the current directory."""
    monkeypatch.chdir(tmp_path)
    small_wordnet.write(tmp_path / "wordnet")
    rows = [dict(image="0.jpg", captions=CAPTIONS[:2], split="train"), dict(image="1.jpg", caption=CAPTIONS[2])]
    (tmp_path / "pairs.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (tmp_path / "texts.txt").write_text("\n".join(["", *CAPTIONS, "  "]), encoding="utf-8")
    return tmp_path


def test_texts_of_each_kind_of_source(folder: Path) -> None:
    assert list(texts(folder / "pairs.jsonl")) == list(texts(folder / "texts.txt")) == CAPTIONS
    found = list(texts(folder / "wordnet"))
    assert f"dog, domestic dog, Canis familiaris: {small_wordnet.GLOSS}" in found
    assert f"big, large: {small_wordnet.GLOSS}" in found
    assert len(found) == sum(map(len, small_wordnet.SYNSETS.values()))


def test_the_file_is_that_of_the_tokenizer_in_any_order_of_sources(folder: Path) -> None:
    sources = ["wordnet", "pairs.jsonl", "texts.txt"]
    out = train_vocabulary(sources, 560)
    assert out == Path("data/vocabulary/bpe-560.json")
    every = [text for source in sources for text in texts(source)]
    BPETokenizer.train(every, 560).save("expected.json")
    written = out.read_bytes()
    assert written == Path("expected.json").read_bytes()
    assert train_vocabulary(sources[::-1], 560, "deep/other.json").read_bytes() == written


def test_a_finished_file_is_replaced_only_by_a_whole_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = train_vocabulary(["wordnet"], 560)
    before, place = out.read_bytes(), out.stat().st_ino
    with pytest.raises(UserError):
        train_vocabulary(["wordnet"], 515, out)
    with monkeypatch.context() as patch, pytest.raises(UserError, match="cannot write .*: No space left"):
        patch.setattr("os.fsync", full_disk)
        train_vocabulary(["texts.txt"], 540, out)
    assert out.read_bytes() == before and [file.name for file in out.parent.iterdir()] == [out.name]
    train_vocabulary(["texts.txt"], 540, out)
    assert out.read_bytes() != before and out.stat().st_ino != place


def full_disk(descriptor: int) -> None:
    raise OSError(28, "No space left on device")


REFUSED = {
    "missing": (
        ["texts.txt", "text.txt"],
        560,
        "there is no text.txt; expected a folder of WordNet, a .jsonl of pairs",
    ),
    "another folder": (["other"], 560, "other does not hold WordNet's files"),
    "another jsonl": (["other.jsonl"], 560, "other.jsonl, line 1: the key 'image' is missing"),
    "no text file": (["picture.png"], 560, "picture.png is no text file in UTF-8"),
    "empty": (["empty.txt", "texts.txt"], 560, "empty.txt has no text"),
    "no pairs": (["empty.jsonl"], 560, "empty.jsonl has no pairs"),
    "too small": (["texts.txt"], 515, "vocab_size 515 leaves no room for merges: 515 tokens"),
    "nothing to merge": (["letters.txt"], 560, "no two letters stand side by side"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_trained_on_is_refused(case: str, folder: Path) -> None:
    (folder / "other").mkdir()
    (folder / "other.jsonl").write_text('{"text": "a dog"}\n')
    (folder / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\xff")
    (folder / "empty.txt").write_text(" \n\n")
    (folder / "empty.jsonl").write_text("")
    (folder / "letters.txt").write_text("a b c\n")
    sources, size, message = REFUSED[case]
    with pytest.raises(UserError, match=message):
        train_vocabulary(sources, size)
    assert not (folder / "data").exists()


def test_a_place_that_cannot_be_written(folder: Path) -> None:
    for out in ("wordnet", "texts.txt/bpe.json"):
        with pytest.raises(UserError, match=f"cannot write {out}: "):
            train_vocabulary(["texts.txt"], 540, out)
    assert (folder / "wordnet/data.noun").is_file()


def test_what_is_printed(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(sys, "argv", ["train_vocabulary", "texts.txt", "--size", "540", "--out", "mine.json"])
    main()
    tokenizer = BPETokenizer("mine.json")
    mean = sum(len(tokenizer.encode(caption)) for caption in CAPTIONS) / len(CAPTIONS)
    assert capsys.readouterr().out == f"mine.json: {tokenizer.vocab_size} ids, {mean:.1f} ids a text\n"


@pytest.mark.slow
def test_command_line(folder: Path) -> None:
    command = [sys.executable, "-m", "interngv.amateur.text.train_vocabulary", "wordnet"]
    done = subprocess.run([*command, "--size", "530"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("data/vocabulary/bpe-530.json: 530 ids, ")
    wrong = subprocess.run([*command, "--size", "3"], capture_output=True, text=True)
    assert wrong.returncode == 1 and wrong.stderr.startswith("error: vocab_size 3 leaves no room")

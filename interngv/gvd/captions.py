"""Pictures with captions out of packs: ``images/**.jpg`` and ``pairs.jsonl``, an object a line.

``{"image": "images/1f600.jpg", "split": "train", "captions": ["grinning face"]}``: paths count from the folder of the
file. A fifth of the *concepts* is the split ``val``, the lowest by the sha256 of their name: no concept that is trained
on is tested on, whichever picture shows it.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

PAIRS = "pairs.jsonl"
# The variation selector, which asks for a picture in place of a sign, and the end of a flag's letters: not all files of
# the two packages are named with them.
LEFT_OUT = {0xFE0F, 0xE007F}


def fluent_emoji(source: Path, out: Path) -> None:
    """Pictures of Fluent Emoji, one an emoji, with OpenMoji's names; those of another skin tone only are left out."""
    rows = json.loads((source.parent / "openmoji" / "openmoji.json").read_text(encoding="utf-8"))
    names = {_code_points(row["hexcode"]): row["annotation"] for row in rows if not row["skintone"]}
    files = {_code_points(file.stem): file for file in sorted(source.glob("*.webp"))}
    named = [(file, f"{file.stem}.jpg", names[code]) for code, file in files.items() if code in names]
    write_pairs(out, concepts_split(named))


def tuxpaint_stamps(source: Path, out: Path) -> None:
    """Tux Paint's stamps with the English sentence of each, the first line of the text file beside it."""
    files = [file for file in sorted(source.rglob("*.png")) if file.with_suffix(".txt").is_file()]
    names = [file.relative_to(source).with_suffix(".jpg").as_posix() for file in files]
    sentences = [_first_line(file.with_suffix(".txt")) for file in files]
    write_pairs(out, concepts_split(zip(files, names, sentences, strict=True)))


def lowest_fifth(names: Iterable[str]) -> set[str]:
    """The fifth of the different names (rounded down) whose sha256 is lowest: the same in any order of the names."""
    ordered = sorted(set(names), key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    return set(ordered[: len(ordered) // 5])


def concepts_split(pictures: Iterable[tuple[Path, str, str]]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Source file and row of each picture, of which are given source file, name below ``images/`` and caption."""
    given = list(pictures)
    held_out = lowest_fifth(_concept(caption) for _, _, caption in given)
    for file, name, caption in given:
        split = "val" if _concept(caption) in held_out else "train"
        yield file, {"image": f"images/{name}", "split": split, "captions": [caption]}


def write_pairs(out: Path, pairs: Iterable[tuple[Path, dict[str, Any]]]) -> None:
    """Write the file of pairs and each picture, as JPEG on white: readers drop transparency, and show what is below."""
    from PIL import Image

    with (out / PAIRS).open("w", encoding="utf-8") as lines:
        for file, row in pairs:
            (out / row["image"]).parent.mkdir(parents=True, exist_ok=True)
            with Image.open(file) as picture:
                seen = picture.convert("RGBA")
            white = Image.new("RGBA", seen.size, "white")
            Image.alpha_composite(white, seen).convert("RGB").save(out / row["image"], quality=95)
            lines.write(f"{json.dumps(row, ensure_ascii=False)}\n")


def _code_points(name: str) -> tuple[int, ...]:
    """``0023-fe0f-20e3`` as numbers, without those that make no other emoji of it."""
    points = (int(part, 16) for part in re.split("[-_]", name))
    return tuple(point for point in points if point not in LEFT_OUT)


def _first_line(file: Path) -> str:
    return file.read_text(encoding="utf-8").splitlines()[0].strip()


def _concept(caption: str) -> str:
    return caption.lower().strip(" .!")

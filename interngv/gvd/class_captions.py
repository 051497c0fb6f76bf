"""Class names as captions: a classification set in webdataset's form as pictures and ``pairs.jsonl``.

The folder holds tars with ``KEY.jpg`` members, ``annotations.jsonl`` (``key``, ``split``, ``wnid`` a line) and
``classes.json`` (a list of ``label``, ``wnid``, ``names``). A picture's captions are the names of its class, its
``label`` the class's number. Every fifth class, the lowest by the sha256 of its wnid, is held out: its pictures are of
the splits ``train_heldout`` and ``val_heldout``, so that zero-shot is measured on classes that no training has seen.

With WordNet, captions say what a class is as well: after the names come ``"NAME, H1, H2"``, its first name with the two
nearest hypernyms, and ``"NAME: gloss"``. Held-out classes then share words with those that are trained on, and the name
of one may stand in another's definition; their pictures stay unseen.

On the command line: ``python -m interngv.gvd.class_captions FOLDER [--wordnet data/wordnet] [--out data/NAME]`` writes
``data/<name of the folder>``.
"""

import argparse
import hashlib
import json
import os
import re
import tarfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from interngv.errors import UserError
from interngv.gvd import layouts
from interngv.gvd.captions import PAIRS, lowest_fifth
from interngv.gvd.open_data import tar_members
from interngv.gvd.wordnet import WordNet

VERSION = 1
_WORD = re.compile(r"\w[\w-]*", re.ASCII)  # what may become part of a path
_WNID = re.compile(r"n\d{8}", re.ASCII)
_NEAREST = 2  # hypernyms that a caption names


def prepare_classes(
    source: str | os.PathLike, out: str | os.PathLike | None = None, wordnet: str | os.PathLike | None = None
) -> Path:
    """Write ``images/<split>/<wnid>/<key>.jpg`` and ``pairs.jsonl`` to ``out`` (default ``data/<name of the folder>``).

    ``wordnet`` is a folder of WordNet 3.0, whose noun offsets ImageNet's wnids are; None gives the names alone. A
    folder that was finished before is left as it is. Raises UserError for files that are missing or of another form,
    for a picture that is missing, not annotated, there twice or no regular file in its tar, for a folder that was not
    made here, and for a wnid that ``wordnet`` does not know.
    """
    source = Path(source)
    target = Path(out) if out is not None else Path("data") / source.resolve().name
    rows = _rows(source, None if wordnet is None else WordNet(wordnet))
    stamp = f"class captions {VERSION} {hashlib.sha256(json.dumps(rows).encode()).hexdigest()}\n"
    if not layouts.is_finished(target, stamp):
        layouts.write_folder(lambda folder, work: _write(folder, work, rows), source, target, stamp)
    return target


def _rows(source: Path, wordnet: WordNet | None) -> dict[str, dict[str, Any]]:
    """The row of each picture by its key, in the order of the annotations."""
    try:
        classes = {one["wnid"]: one for one in json.loads((source / "classes.json").read_text(encoding="utf-8"))}
        lines = (source / "annotations.jsonl").read_text(encoding="utf-8").splitlines()
        given = [json.loads(line) for line in lines if line.strip()]
        held_out = lowest_fifth(classes)
        captions = {wnid: _captions(classes[wnid], wordnet) for wnid in dict.fromkeys(one["wnid"] for one in given)}
        labels = {wnid: classes[wnid]["label"] for wnid in captions}
        rows = {one["key"]: _row(one, labels, captions, held_out) for one in given}
    except OSError as error:
        raise UserError(f"{source}: {Path(error.filename).name} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{source}: annotations.jsonl or classes.json is of another form: {error!r}") from error
    if len(rows) != len(given):
        raise UserError(f"{source}: annotations.jsonl has {len(given)} lines and {len(rows)} different keys")
    return rows


def _captions(of_class: Mapping[str, Any], wordnet: WordNet | None) -> list[str]:
    """The names of a class and, with WordNet, its first name with what it is a kind of, and its definition."""
    wnid, names = of_class["wnid"], of_class["names"]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"the names of {wnid} are {names!r}")
    if wordnet is None:
        return names
    if not _WNID.fullmatch(wnid):
        raise UserError(f"the wnid {wnid!r} is no noun of WordNet 3.0; expected one such as 'n02123045'")
    try:
        above, gloss = wordnet.hypernyms(int(wnid[1:])), wordnet.gloss(int(wnid[1:]))
    except UserError as error:
        raise UserError(f"the wnid {wnid!r} is no noun of WordNet 3.0: {error}") from error
    kinds = ", ".join(dict.fromkeys([names[0], *above[:_NEAREST]]))
    return [*names, *([kinds] if kinds != names[0] else []), f"{names[0]}: {gloss}"]


def _row(
    given: Mapping[str, Any], labels: Mapping[str, Any], captions: Mapping[str, list[str]], held_out: Collection[str]
) -> dict[str, Any]:
    parts = [given["split"], given["wnid"], given["key"]]
    wrong = [part for part in parts if not _WORD.fullmatch(part)]
    if wrong:
        raise ValueError(f"{wrong[0]!r} cannot be part of a path")
    return {
        "image": f"images/{'/'.join(parts)}.jpg",
        "split": f"{parts[0]}_heldout" if parts[1] in held_out else parts[0],
        "captions": captions[parts[1]],
        "label": labels[parts[1]],
    }


def _write(source: Path, out: Path, rows: Mapping[str, Mapping[str, Any]]) -> None:
    """Copy the members of all tars that the annotations name; their bytes stay as they are."""
    missing = dict.fromkeys(rows)
    for shard, key, content in _pictures(sorted(source.glob("*.tar"))):
        if key not in missing:
            what = "twice in the tars" if key in rows else "not annotated"
            raise UserError(f"{shard}: the picture {key!r} is {what}")
        del missing[key]
        path = out / rows[key]["image"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    if missing:
        raise UserError(
            f"{source}: {len(missing)} of {len(rows)} pictures are in no tar, first {next(iter(missing))!r}"
        )
    lines = (json.dumps(row, ensure_ascii=False) for row in rows.values())
    (out / PAIRS).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _pictures(shards: Sequence[Path]) -> Iterator[tuple[Path, str, bytes]]:
    """Shard, key and bytes of every ``KEY.jpg``; what else a sample has (``KEY.cls``, ...) is passed over."""
    for shard in shards:
        try:
            with tarfile.open(shard) as tar:
                for name, read in tar_members(tar):
                    if not name.endswith(".jpg"):
                        continue
                    if read is None:
                        raise UserError(f"{shard}: {name!r} is no regular file")
                    yield shard, name.removesuffix(".jpg"), read()
        except (tarfile.TarError, EOFError) as error:
            raise UserError(f"{shard} cannot be read as a tar: {error}") from error


def main() -> None:
    """Write a classification set in webdataset's form as pictures with captions."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path, help="with *.tar, annotations.jsonl and classes.json")
    parser.add_argument("--wordnet", type=Path, help="folder of WordNet 3.0: captions say what a class is as well")
    parser.add_argument("--out", type=Path, help="default: data/<name of the folder>")
    args = parser.parse_args()
    try:
        print(prepare_classes(args.folder, args.out, args.wordnet))
    except UserError as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()

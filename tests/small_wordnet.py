"""A small dictionary in WordNet's form."""

from pathlib import Path

LICENCE = "".join(f"  {number} This is a line of the licence.  \n" for number in range(1, 30))
GLOSS = 'a gloss; of two parts; "with dog 0"; "another"'
# part -> synsets, in the order in which each of their words has them as senses
SYNSETS = {
    "noun": [
        ["dog", "domestic_dog", "Canis_familiaris"],
        ["frank", "hot_dog", "dog"],
        ["goose"],
        ["fathead", "goose", "zany"],
        ["box", "loge"],
        ["church", "church_building"],
        ["city", "metropolis"],
        ["fireman", "stoker"],
        ["bos", "genus_Bos"],
        ["boss", "chief"],
        ["rat", "rotter"],
        ["a", "angstrom"],
        ["cat", "kitty"],
        ["cat's-paw", "tool"],
        [f"name_{letter}" for letter in "bcdefghijklmnopqrs"],  # more than ten: the count is hexadecimal
        ["entity"],
        ["living_thing", "animate_thing"],
        ["kitty", "young_cat"],
        ["ouroboros"],
        ["snake"],
    ],
    "verb": [["dog", "chase", "tag"], ["rate", "value"], ["rat", "fink"], ["try", "attempt"], ["go", "move"]],
    "adj": [["big(a)", "large"], ["awake(p)", "wakeful"], ["galore(ip)", "abounding"], ["nice", "dainty"], ["good"]],
    "adv": [["well", "easily"]],
}
EXCEPTIONS = {"noun": "geese goose\n", "verb": "went go\ngoes go\ntried try\n", "adj": "better good well\n", "adv": ""}
# noun synset by its first lemma -> pointers: symbol and first lemma
POINTERS = {
    "kitty": [("+", "snake"), ("@", "cat"), ("@", "rat")],
    "cat": [("~", "kitty"), ("@", "living_thing")],
    "name_b": [("@i", "living_thing"), ("@", "cat")],
    "living_thing": [("~", "cat"), ("@", "entity")],
    "ouroboros": [("@", "snake")],
    "snake": [("@", "ouroboros")],
}


def bare(name: str) -> str:
    return name.partition("(")[0].lower()


def write(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for part in SYNSETS:
        write_part(folder, part)
    return folder


def write_part(folder: Path, part: str) -> None:
    """The files of one part of speech.

    A line of data: offset, file number, type, count in hexadecimal, words with a number each, count of pointers,
    pointers of symbol, offset, part of speech and source with target, gloss. One of the index: lemma, type, count of
    senses, pointers with their count, counts of senses and of tagged ones, offsets.
    """
    starts = noun_offsets() if part == "noun" else {}
    data, offsets = LICENCE, {}
    for synset in SYNSETS[part]:
        offset = f"{len(data):08d}"
        data += _line(offset, part, synset, starts)
        for name in synset:
            offsets.setdefault(bare(name), []).append(offset)
    lines = [f"{name} {part[0]} {len(at)} 2 @ ~ {len(at)} 0 {' '.join(at)}  \n" for name, at in offsets.items()]
    (folder / f"data.{part}").write_text(data)
    (folder / f"index.{part}").write_text(LICENCE + "".join(sorted(lines)))
    (folder / f"{part}.exc").write_text(EXCEPTIONS[part])


def noun_offsets() -> dict[str, int]:
    """Where the line of each noun synset starts, by its first lemma."""
    found, at = {}, len(LICENCE)
    for synset in SYNSETS["noun"]:
        found[synset[0]] = at
        at += len(_line("0" * 8, "noun", synset, {}))
    return found


def _line(offset: str, part: str, synset: list[str], starts: dict[str, int]) -> str:
    words = " ".join(f"{name} 0" for name in synset)
    given = POINTERS.get(synset[0], []) if part == "noun" else []
    pointers = "".join(f" {symbol} {starts.get(name, 0):08d} n 0000" for symbol, name in given)
    return f"{offset} 05 {part[0]} {len(synset):02x} {words} {len(given):03d}{pointers} | {GLOSS}  \n"

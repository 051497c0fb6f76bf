"""Packs out of npm packages, with a stand-in for npm; packs that need others."""

import hashlib
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from interngv.gvd import layouts, open_data
from interngv.gvd.open_data import OpenDataError, Pack


def tgz(path: Path, members: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def toy(**fields: Any) -> Pack:
    content = open_data_sha256({"1.webp": b"one"})
    given = dict(name="toy", registry="npm", package="@we/toy", version="1.0", licence="MIT", root="package/assets")
    return Pack(**{**given, "files": ("*.webp",), "sha256": content, "citation": "We", **fields})


def open_data_sha256(content: Mapping[str, bytes]) -> str:
    lines = sorted(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in content.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for npm that writes down its arguments and hands out the package beside it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n[ -f {folder}/toy.tgz ] || exit 1\ncp {folder}/toy.tgz .\n'
    (folder / "npm").write_text(script)
    (folder / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setitem(open_data.PACKS, "toy", toy())
    return folder


MEMBERS = {"package/assets/1.webp": b"one", "package/package.json": b"{}", "package/install.js": b"process.exit(1)"}


def test_npm_packages_are_fetched_without_running_anything_of_theirs(npm: Path, tmp_path: Path) -> None:
    tgz(npm / "toy.tgz", MEMBERS)
    folder = open_data.fetch("toy", tmp_path / "cache")
    assert sorted(path.name for path in folder.iterdir()) == ["1.webp", open_data.FACTS]
    call = (tmp_path / "calls").read_text().split()
    assert call[0] == "pack" and call[-1] == "@we/toy@1.0" and "--ignore-scripts" in call
    assert open_data.fetch("toy", tmp_path / "cache") == folder
    assert len((tmp_path / "calls").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (MEMBERS | {"package/assets/../../../evil.webp": b"x"}, "unsafe member path"),
        (MEMBERS | {"/package/assets/evil.webp": b"x"}, "unsafe member path"),
        (MEMBERS | {"package/assets/1.webp": b"two"}, "sha256"),
        ({"package/1.webp": b"one"}, "nothing in @we/toy matches"),
        (None, "npm pack .*failed"),
    ],
)
def test_bad_npm_packages_leave_nothing(
    members: dict[str, bytes] | None, message: str, npm: Path, tmp_path: Path
) -> None:
    if members is not None:
        tgz(npm / "toy.tgz", members)
    with pytest.raises(OpenDataError, match=message):
        open_data.fetch("toy", tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == [] and not list(tmp_path.rglob("evil*"))


def test_a_machine_without_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OpenDataError, match="openmoji: it ships in the npm package openmoji, and the client 'npm'"):
        layouts.prepare("fluent-emoji", tmp_path / "out", tmp_path / "cache")


def test_what_a_pack_needs_is_fetched_beside_it(npm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tgz(npm / "toy.tgz", MEMBERS)
    monkeypatch.setitem(open_data.PACKS, "toy-set", toy(name="toy-set", needs=("toy",)))
    monkeypatch.setitem(
        layouts.LAYOUTS, "toy-set", lambda source, out: (out / "x").write_bytes((source / "../toy/1.webp").read_bytes())
    )
    out = layouts.prepare("toy-set", tmp_path / "out", tmp_path / "cache")
    assert (out / "x").read_bytes() == b"one"


def test_packs_that_are_needed_are_packs() -> None:
    assert all(other in open_data.PACKS for pack in open_data.PACKS.values() for other in pack.needs)

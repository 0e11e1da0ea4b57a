"""Files of a package: their checksums, and an output folder that appears at its path only when all is there."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from edgesw.errors import PackageError, UsageError
from edgesw.files.checksums import first_altered, sha256
from edgesw.files.json_file import read_json
from edgesw.files.writable import check_writable_folder
from edgesw.package.manifest import MANIFEST, Manifest, PackagedFile
from edgesw.progress import Progress

KEPT = ".compressed"


def check_files(
    package: Path, manifest: Manifest, *, contents: bool = False, extra: bool = False, progress: Progress | None = None
) -> None:
    """Raises PackageError when a file of the package is missing or has another size than the manifest says.

    `contents` reads the files and holds them to their SHA-256 too: seconds for gigabytes, of which `progress` is told.
    `extra` refuses files that the manifest does not name, but for hidden ones, which systems leave in folders.
    """
    for name, expected in manifest.files.items():
        path = package / name
        if not path.is_file():
            raise PackageError(f"{path} is missing: convert again.")
        if path.stat().st_size != expected.bytes:
            raise PackageError(f"{path} has {path.stat().st_size} bytes, not {expected.bytes}: convert again.")
    for path in sorted(package.rglob("*")) if extra else ():
        name = path.relative_to(package).as_posix()
        hidden = any(part.startswith(".") for part in PurePosixPath(name).parts)
        if name not in (MANIFEST, *manifest.files) and not hidden and (path.is_symlink() or not path.is_dir()):
            raise PackageError(f"{path} is not in {MANIFEST}: move it elsewhere, or convert again.")
    if contents:
        wrong = first_altered(package, manifest.files, progress or (lambda *_: None))
        if wrong is not None:
            raise PackageError(
                f"{package / wrong} is damaged: its SHA-256 is not the one in {MANIFEST}. Convert again."
            )


def list_files(package: Path) -> dict[str, PackagedFile]:
    """SHA-256 and size of each file below `package`, by relative path; the manifest itself is not among them."""
    files = {}
    for path in sorted(package.rglob("*")):
        if path.is_file() and path.name != MANIFEST:
            name = path.relative_to(package).as_posix()
            files[name] = PackagedFile(sha256(path), path.stat().st_size)
    return files


def check_output(final: Path, force: bool, instead: str = "choose another -o") -> None:
    """Raises UsageError when something is at `final` that must not be replaced, or its folder cannot be written.
    `instead` is what to do about it."""
    if final.exists() or final.is_symlink():
        if not force:
            raise UsageError(f"'{final}' exists: {instead}, or replace it with --force.")
        if not _is_package(final) and not (final.is_dir() and not any(final.iterdir())):
            raise UsageError(f"'{final}' is not a package of ours, so --force does not replace it: {instead}.")
    check_writable_folder(final.parent, instead)


def _is_package(folder: Path) -> bool:
    """Whether a manifest of ours, of any format, is in the folder: browsers and others use the file's name too."""
    try:
        values = read_json(folder / MANIFEST)
    except (OSError, ValueError):
        return False
    return isinstance(values, dict) and {"format", "decoder", "models", "files"} <= values.keys()


@contextlib.contextmanager
def publish(final: Path, force: bool, key: str = "", instead: str = "choose another -o") -> Iterator[Path]:
    """A folder beside `final` to write into, which takes its place when the block ends without an error. KEPT in it is
    for what may help the next try, and no part of the package.

    Whatever ends the block early leaves nothing at `final` (or what was there before). A killed process leaves the
    hidden folder, which the next run for the same path removes, but for KEPT, which it goes on with if that has the
    same `key`. `instead` is as `check_output` takes it.
    """
    check_output(final, force, instead)
    final = final.absolute()
    missing = [parent for parent in final.parents if not parent.exists()]
    final.parent.mkdir(parents=True, exist_ok=True)
    staging = final.parent / f".{final.name}.{os.getpid()}.partial"
    kept = staging / KEPT
    staging.mkdir()
    for stale in final.parent.glob(f".{glob.escape(final.name)}.*.partial"):
        if stale != staging and not _alive(stale.name.split(".")[-2]):
            if not kept.exists() and _key(stale / KEPT) == key:
                (stale / KEPT).rename(kept)
            shutil.rmtree(stale, ignore_errors=True)
    kept.mkdir(exist_ok=True)
    (kept / "key").write_text(key)
    try:
        yield staging
        shutil.rmtree(kept, ignore_errors=True)
        check_output(final, force, instead)
        _put(staging, final)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        with contextlib.suppress(OSError):  # not empty: somebody else has put something there
            for parent in missing:
                parent.rmdir()
        raise


def _key(kept: Path) -> str | None:
    try:
        return (kept / "key").read_text()
    except (OSError, UnicodeDecodeError):
        return None


def _put(staging: Path, final: Path) -> None:
    """Move `staging` to `final`, over what is there."""
    if not final.exists():
        staging.rename(final)
        return
    old = final.parent / f".{final.name}.old.{os.getpid()}.partial"
    try:
        final.rename(old)
        staging.rename(final)
    except BaseException:
        if old.exists() and not final.exists():
            old.rename(final)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except OSError:  # it is there, and somebody else's
        return True
    return True

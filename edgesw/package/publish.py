"""The files of a package: their checksums, and an output folder that appears at its path only when it is complete."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from edgesw.errors import EdgeswError, PackageError, UsageError
from edgesw.files.checksums import first_altered, sha256
from edgesw.files.json_file import read_json
from edgesw.files.writable import check_writable_folder
from edgesw.package.manifest import MANIFEST, Manifest, PackagedFile
from edgesw.progress import Progress

KEPT = ".compressed"


def check_files(
    package: Path, manifest: Manifest, *, contents: bool = False, extra: bool = False, progress: Progress | None = None
) -> None:
    """Raises PackageError when a file of the package is missing or differs in size from the manifest.

    `contents` also reads the files and compares their SHA-256: seconds per gigabyte, reported to `progress`. `extra`
    refuses files that the manifest does not list, except hidden ones, which systems leave in folders.
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
    """SHA-256 and size of each file below `package` except the manifest, by relative path."""
    files = {}
    for path in sorted(package.rglob("*")):
        if path.is_file() and path.name != MANIFEST:
            name = path.relative_to(package).as_posix()
            files[name] = PackagedFile(sha256(path), path.stat().st_size)
    return files


def check_output(final: Path, force: bool, instead: str = "choose another -o") -> None:
    """Raises UsageError when `final` exists and must not be replaced, or its folder cannot be written to. `instead` is
    what the message tells the user to do."""
    if final.exists() or final.is_symlink():
        if not force:
            raise UsageError(f"'{final}' exists: {instead}, or replace it with --force.")
        if not _is_package(final) and not (final.is_dir() and not any(final.iterdir())):
            raise UsageError(f"'{final}' is not an edgesw package, so --force does not replace it: {instead}.")
    check_writable_folder(final.parent, instead)


def _is_package(folder: Path) -> bool:
    """Whether the folder has an edgesw manifest of any format: browsers and others use the file's name too."""
    try:
        values = read_json(folder / MANIFEST)
    except (OSError, ValueError):
        return False
    return isinstance(values, dict) and {"format", "decoder", "models", "files"} <= values.keys()


@contextlib.contextmanager
def publish(
    final: Path, force: bool, key: Callable[[], str] = lambda: "", instead: str = "choose another -o"
) -> Iterator[Path]:
    """Yields a hidden folder to write a package into, which moves to `final` when the block ends without an error.

    KEPT in it is a cache of finished work, not part of the package. An error leaves nothing at `final` (or what
    was there before) and nothing hidden. A process that is killed or interrupted leaves the cache: the next run for the
    same path takes it over if `key()` gives the same, and else removes it. `key` is called once `final` is known to be
    free; `instead` is as `check_output` takes it.
    """
    check_output(final, force, instead)
    final, wanted = final.absolute(), key()
    missing = [parent for parent in final.parents if not parent.exists()]
    final.parent.mkdir(parents=True, exist_ok=True)
    staging = final.parent / f".{final.name}.{os.getpid()}.partial"
    kept = staging / KEPT
    staging.mkdir()
    for stale in final.parent.glob(f".{glob.escape(final.name)}.*.partial"):
        if stale != staging and not _alive(stale.name.split(".")[-2]):
            if not kept.exists() and _key(stale / KEPT) == wanted:
                (stale / KEPT).rename(kept)
            _remove(stale)
    kept.mkdir(exist_ok=True)
    (kept / "key").write_text(wanted)
    try:
        yield staging
        shutil.rmtree(kept, ignore_errors=True)
        check_output(final, force, instead)
        _put(staging, final)
    except BaseException as error:
        # A refusal or a full disk leaves nothing. What else ends the work, as Ctrl-C does, is no reason to lose it.
        if isinstance(error, (EdgeswError, OSError)) or not _keep_cache(kept, _interrupted(final)):
            shutil.rmtree(staging, ignore_errors=True)
        with contextlib.suppress(OSError):  # not empty: somebody else has put something there
            for parent in missing:
                parent.rmdir()
        raise


def leaves_cache(final: Path) -> bool:
    """Whether an interrupted run for `final` has left finished work that the next one can take over."""
    return _interrupted(final.absolute()).exists()


def _interrupted(final: Path) -> Path:
    """The hidden folder of an interrupted run, whose process may live on."""
    return final.parent / f".{final.name}.interrupted.partial"


def _keep_cache(cache: Path, folder: Path) -> bool:
    """Moves the cache to a folder of its own and removes the rest of the hidden folder. False if the cache is empty."""
    if not any(path.is_file() for path in cache.glob("*/*.npz")):
        return False
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        cache.rename(folder / KEPT)
    except OSError:
        return False
    shutil.rmtree(cache.parent, ignore_errors=True)
    return True


def _key(kept: Path) -> str | None:
    try:
        return (kept / "key").read_text()
    except (OSError, UnicodeDecodeError):
        return None


def _put(staging: Path, final: Path) -> None:
    """Moves `staging` to `final` and replaces what is there."""
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
    _remove(old)


def _remove(folder: Path) -> None:
    """Removes a folder of other people's, as far as it can be: below a thousand folders in one another Python gives up,
    and the new package is there all the same."""
    with contextlib.suppress(RecursionError):
        shutil.rmtree(folder, ignore_errors=True)


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except OSError:  # it is there, and somebody else's
        return True
    return True

"""Uploads packages to the Hugging Face hub, whole and checked."""

from __future__ import annotations

import re
from pathlib import Path

from edgesw.errors import EdgeswError, UsageError, first_line
from edgesw.package.manifest import MANIFEST, Manifest, read_manifest
from edgesw.package.publish import check_files
from edgesw.progress import Progress
from edgesw.system.log_filter import only_errors

_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?"
REPO = re.compile(f"{_PART}/{_PART}")
LONGEST_REPO = 96


def files_to_push(package: Path, repo: str) -> tuple[Manifest, dict[str, int]]:
    """The manifest and the size in bytes of each file to upload: the manifest and the files it lists, nothing else.
    UsageError for the name of a repository that the hub would refuse, PackageError for a file that is missing or
    altered."""
    _check_repo(repo)
    manifest = read_manifest(package)
    check_files(package, manifest, contents=True)
    sizes = {name: entry.bytes for name, entry in manifest.files.items()}
    return manifest, {MANIFEST: (package / MANIFEST).stat().st_size, **sizes}


def _check_repo(repo: str) -> None:
    """The hub's rules, which `create_repo` applies only when the package has been read."""
    if not REPO.fullmatch(repo) or "--" in repo or ".." in repo or repo.endswith(".git") or len(repo) > LONGEST_REPO:
        raise UsageError(f"'{repo}' is not a valid repo id: give OWNER/NAME, of letters, digits, '-', '_' and '.'.")


def push(package: Path, repo: str, *, private: bool, progress: Progress) -> str:
    """Uploads the package in one commit and returns the commit's URL. The repository is created where it is missing.

    UsageError for an invalid name, EdgeswError with the hub's own words where it refuses or cannot be reached.
    """
    _check_repo(repo)
    progress("Checking", package.name, 0, 1)
    _, sizes = files_to_push(package, repo)
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    api = HfApi()
    progress("Uploading", repo, 0, 1)
    try:
        with only_errors("huggingface_hub"):
            api.create_repo(repo, private=private, exist_ok=True)
            commit = api.create_commit(
                repo,
                [CommitOperationAdd(name, package / name) for name in sizes],
                commit_message=f"edgesw package {package.resolve().name}",
            )
    except Exception as error:  # of huggingface_hub and of the HTTP client inside it, a class for each case
        said = first_line(error)
        status = getattr(getattr(error, "response", None), "status_code", None)
        login = " Log in with `hf auth login`, or set HF_TOKEN." if status in (401, 403) or "token" in said else ""
        raise EdgeswError(f"upload failed: {said}.{login}") from error
    return str(commit.commit_url)

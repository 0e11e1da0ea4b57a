"""What the hub answers becomes one line for the user. No test here goes online."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import huggingface_hub
import pytest
from huggingface_hub import errors as hub

from edgesw.checkpoint.hub import download
from edgesw.errors import CheckpointError, EdgeswError, UsageError

RESPONSE = mock.MagicMock(headers={})  # which HTTP client it comes from differs between versions


def answer(monkeypatch: pytest.MonkeyPatch, result: Any) -> dict[str, Any]:
    asked: dict[str, Any] = {}

    def snapshot_download(repo_id: str, **options: Any) -> str:
        asked.update(options, repo_id=repo_id)
        if isinstance(result, Exception):
            raise result
        return str(result)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return asked


def test_only_what_is_needed_is_downloaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A repository may hold the weights three times: as pickles, in another layout, in a subfolder."""
    from huggingface_hub.utils import filter_repo_objects

    asked = answer(monkeypatch, tmp_path / "snapshots" / "c0ffee")
    assert download("owner/name", "main", "x") == (tmp_path / "snapshots" / "c0ffee", "c0ffee")
    assert (asked["repo_id"], asked["revision"]) == ("owner/name", "main")
    wanted = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"]
    wanted += ["special_tokens_map.json", "chat_template.jinja", "added_tokens.json"]
    wanted += ["vocab.json", "merges.txt", "tokenizer.model"]  # of checkpoints without tokenizer.json
    wanted += ["model-00001-of-00002.safetensors", "model.safetensors.index.json"]
    unwanted = ["pytorch_model.bin", "consolidated.safetensors", "original/model.safetensors", "README.md", "x.py"]
    patterns = {key: asked[key] for key in ("allow_patterns", "ignore_patterns")}
    assert list(filter_repo_objects(wanted + unwanted, **patterns)) == wanted


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (hub.GatedRepoError("403", response=RESPONSE), CheckpointError, "gated: request access.*hf auth login"),
        (hub.RepositoryNotFoundError("404", response=RESPONSE), UsageError, "the hub has no model 'owner/name'"),
        (hub.RevisionNotFoundError("404", response=RESPONSE), UsageError, "has no revision 'v9'"),
        (hub.HFValidationError("no"), UsageError, "not a hub id"),
        (hub.LocalEntryNotFoundError("no"), CheckpointError, "not in the cache.*go online, or do this instead"),
        (hub.HfHubHTTPError("503 busy\nand more", response=RESPONSE), CheckpointError, r"\(503 busy\): try again"),
        (RuntimeError("no route"), CheckpointError, r"\(no route\)"),
        (OSError(28, "No space left on device"), CheckpointError, "No space left on device"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_each_failure_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[EdgeswError], said: str
) -> None:
    answer(monkeypatch, error)
    with pytest.raises(kind, match=said) as raised:
        download("owner/name", "v9", "do this instead")
    assert "\n" not in str(raised.value)

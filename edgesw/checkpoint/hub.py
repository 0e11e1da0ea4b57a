"""Downloads checkpoints from the Hugging Face hub, with its cache and settings (HF_HOME, HF_TOKEN, HF_HUB_OFFLINE)."""

from __future__ import annotations

from pathlib import Path

from edgesw.errors import CheckpointError, UsageError, first_line

_WANTED = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "adapter_config.json",  # small files that say what else is there
    "quantize_config.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "tekken.json",
    "*.safetensors",
    "*.safetensors.index.json",
]
# Copies of the same weights in other formats, and subfolders: gigabytes that nothing reads.
_UNWANTED = ["consolidated*", "*/*"]


def download(hub_id: str, revision: str | None, instead: str) -> tuple[Path, str]:
    """(folder, commit) of a model from the hub or its cache. `instead` ends error messages with an alternative.

    Raises UsageError for a model or revision that the hub does not have, CheckpointError if the hub cannot be reached
    or the model is gated.
    """
    return _snapshot(hub_id, revision, instead, _WANTED)


def download_config(hub_id: str, revision: str | None, instead: str) -> tuple[Path, str]:
    """Like `download`, but fetches only config.json, and the files that say what else is there."""
    return _snapshot(hub_id, revision, instead, ["config.json", "adapter_config.json", "quantize_config.json"])


def _snapshot(hub_id: str, revision: str | None, instead: str, wanted: list[str]) -> tuple[Path, str]:
    # Imported here because it is slow, and only models on the hub need it.
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub import errors as hub

    try:
        folder = Path(snapshot_download(hub_id, revision=revision, allow_patterns=wanted, ignore_patterns=_UNWANTED))
    except hub.GatedRepoError as error:
        raise CheckpointError(
            f"'{hub_id}' is gated: request access at https://huggingface.co/{hub_id}, then log in with 'hf auth login' "
            "or set HF_TOKEN"
        ) from error
    except hub.RepositoryNotFoundError as error:
        raise UsageError(
            f"the hub has no model '{hub_id}', or it is private: check the name, or log in with 'hf auth login'."
        ) from error
    except hub.RevisionNotFoundError as error:
        raise UsageError(
            f"'{hub_id}' has no revision '{revision}': leave out --revision for the newest, or check the name."
        ) from error
    except hub.HFValidationError as error:
        raise UsageError(f"'{hub_id}' is not a hub id: give owner/name.") from error
    except (hub.LocalEntryNotFoundError, hub.OfflineModeIsEnabled) as error:
        why = "HF_HUB_OFFLINE is set: unset it" if constants.HF_HUB_OFFLINE else "the hub cannot be reached: go online"
        raise CheckpointError(f"'{hub_id}' is not in the cache, and {why}, or {instead}") from error
    except Exception as error:  # a full disk, or an error of the HTTP client inside huggingface_hub
        raise CheckpointError(
            f"'{hub_id}' cannot be downloaded ({first_line(error)}): try again, or {instead}"
        ) from error
    return folder, folder.name  # a snapshot's folder is named for its commit

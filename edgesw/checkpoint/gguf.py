"""GgufReader: the tensors and metadata of a GGUF file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgesw.checkpoint.gguf_file import read_head
from edgesw.checkpoint.reader import AGAIN, StoredTensor, TensorReader
from edgesw.errors import CheckpointError, UnsupportedError


class GgufReader(TensorReader):
    """The tensors of a GGUF file, dequantized as they are read, and its metadata as plain Python values.

    Raises CheckpointError for a file that is not GGUF, or is truncated; UnsupportedError for a part of a split file
    and for a big-endian file.
    """

    unreadable = ", which the gguf package cannot dequantize: use a file of another type, such as Q8_0."

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metadata, tensors = _read(path)
        super().__init__(tensors)
        if self.metadata.get("split.count", 1) not in (0, 1):
            raise UnsupportedError(
                f"{path}: one part of a split GGUF. Join the parts first: llama-gguf-split --merge FIRST_PART OUT.gguf"
            )


def _read(path: Path) -> tuple[dict[str, Any], dict[str, StoredTensor]]:
    try:
        with path.open("rb") as file:
            if file.read(4) != b"GGUF":
                raise CheckpointError(f"{path}: not a GGUF file (it does not begin with 'GGUF'): download it again.")
            return read_head(path, file)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error}): check its permissions.") from error
    except ValueError as error:
        raise CheckpointError(f"{path}: cannot be read as GGUF ({error}). {AGAIN}.") from error

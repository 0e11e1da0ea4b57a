"""The folder layout of an .mlpackage.

coremltools' own writer is not used: it copies the weights again and names the parts by random identifiers, which
would make two equal conversions differ.
"""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

AUTHOR = "com.apple.CoreML"
_PARTS = {"model.mlmodel": "CoreML Model Specification", "weights": "CoreML Model Weights"}


def make_folders(package: Path) -> Path:
    """Creates the package's folders and returns the one for weight.bin."""
    weights = package / "Data" / AUTHOR / "weights"
    weights.mkdir(parents=True)
    return weights


def write_spec(package: Path, spec: Any) -> None:
    """Writes the spec (proto) and the package's own manifest."""
    (package / "Data" / AUTHOR / "model.mlmodel").write_bytes(spec.SerializeToString(deterministic=True))
    names = {part: str(uuid.uuid5(uuid.NAMESPACE_URL, f"edgesw/{part}")).upper() for part in _PARTS}
    entries = {
        names[part]: {"author": AUTHOR, "description": text, "name": part, "path": f"{AUTHOR}/{part}"}
        for part, text in _PARTS.items()
    }
    manifest = {
        "fileFormatVersion": "1.0.0",
        "itemInfoEntries": entries,
        "rootModelIdentifier": names["model.mlmodel"],
    }
    # As coremltools writes it: it rewrites this file whenever it opens a package, and the checksum must not change.
    (package / "Manifest.json").write_text(json.dumps(manifest, indent=4, sort_keys=True) + "\n")

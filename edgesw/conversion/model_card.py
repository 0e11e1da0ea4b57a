"""The model card: the README.md of a package, in the form of a Hugging Face model card."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

from edgesw.checkpoint.checkpoint import Checkpoint
from edgesw.compress.plan import CompressionPlan
from edgesw.outliers.agreement import RecipeAgreement
from edgesw.package.package import Manifest
from edgesw.system.sizes import counted, format_size


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
    form = manifest.settings.get("form", {"lengths": [1], "chunks": 1})
    sizes = {name: plan.stored_bytes + manifest.correction_bytes for name, plan in plans.items()}
    return template.render(
        manifest=manifest,
        name=source.hub_id or manifest.source["name"],
        base_model=source.hub_id,
        licence=source.recipe.license if source.recipe else None,
        agreement=RecipeAgreement.from_dict(manifest.agreement) if manifest.agreement else None,
        parameters=checkpoint.parameters(),
        sizes=sizes,
        flexible=not form["lengths"] and form["chunks"] == 1,
        columns=sum(map(len, manifest.held_out_columns.values())),
        counted=counted,
        format_size=format_size,
    )

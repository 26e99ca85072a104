"""`mar-edge models`: the built-in models."""

from __future__ import annotations


def models() -> None:
    """List the built-in models."""
    from rich.table import Table

    from mar_edge.bundle import builtin_names, open_bundle
    from mar_edge.console import Console

    table = Table()
    for column in ("name", "classes", "GMACs", "size", "licence", "description"):
        table.add_column(column, overflow="fold")
    for name in builtin_names():
        manifest = open_bundle(name).manifest
        gmacs = "/".join(f"{variant.gmacs:.3g}" for variant in manifest.variants)
        size = sum(variant.total_bytes for variant in manifest.variants) / 1e6
        table.add_row(
            name,
            str(len(manifest.labels)),
            gmacs,
            f"{size:.1f} MB",
            manifest.licence,
            manifest.description,
        )
    Console(stderr=False).print(table)

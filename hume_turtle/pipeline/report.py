"""The stage `report`: the executed notebooks and their artefacts, to the folders in git."""

from __future__ import annotations

from hume_turtle.pipeline.settings import Settings
from hume_turtle.reporting.publish import publish


def run(suite: Settings) -> None:
    """Publish every artefact that params.yaml lists, each made by exactly one notebook."""
    publish(
        suite.data / "notebooks",
        suite.params["notebooks"],
        suite.params["artefacts"],
        suite.root / "figures" / suite.name,
        suite.root / "notebooks" / "executed" / suite.name,
    )

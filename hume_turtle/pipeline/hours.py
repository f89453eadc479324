"""The hours of a suite's stages, of what is not made yet."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from hume_turtle.core.precision import precision_name
from hume_turtle.encoders.footprint import count_flops, footprint, is_trained_here
from hume_turtle.estimators.turtle import Turtle
from hume_turtle.evaluation.linear_probe import GRIDS
from hume_turtle.pipeline import estimate
from hume_turtle.pipeline.embed import encoder_name
from hume_turtle.pipeline.estimate import Machine, Work
from hume_turtle.pipeline.fit import ESTIMATORS
from hume_turtle.pipeline.inventory import Dataset, Space
from hume_turtle.pipeline.select import shared_settings
from hume_turtle.pipeline.settings import Settings
from hume_turtle.pretraining.letters import LetterSettings
from hume_turtle.pretraining.moco import resolved
from hume_turtle.pretraining.networks import resnet18
from hume_turtle.pretraining.settings import MocoRecipe, MocoSettings
from hume_turtle.storage.embeddings import load_sidecar

UNLABELLED = 105_000  # images of stl10-unlabelled


def hours_of_stages(
    suite: Settings, spaces: list[Space], datasets: list[Dataset], machine: Machine
) -> tuple[dict[str, float], list[str]]:
    """Hours of each stage, and the datasets left out because their images are not counted yet."""
    seconds = dict.fromkeys(("pretrain", "embed", "fit", "select", "baselines"), 0.0)
    known = [each for each in datasets if None not in each.rows.values()]
    for each in known:
        seconds["pretrain"] += machine.seconds(pretraining(suite, each))
        for space in spaces:
            images = sum(each.rows[split] for split in each.unmade(space.name))
            flops = image_flops(suite, each.name, space) if images else 0
            seconds["embed"] += machine.embedding_seconds(images, flops, space.precision)
        for stage, precision, work in [*fits(suite, each), *selections(suite, each)]:
            operands = precision_name(precision, torch.device(machine.device))
            seconds[stage] += machine.seconds(work, operands)
        seconds["baselines"] += machine.seconds(baselines(suite, each))
    hours = {stage: each / 3600 for stage, each in seconds.items()}
    return hours, [each.name for each in datasets if each not in known]


def dimensions(suite: Settings, dataset: str, space: str) -> int:
    """Columns of a space: as embedded, else the encoder's; 0 where only the images tell."""
    for split in suite.splits:
        try:
            return load_sidecar(suite.data / "embeddings", dataset, space, split)["dimensions"]
        except (ValueError, OSError):
            continue
    encoder = encoder_name(suite, space)
    if encoder == "pixels":
        return 0
    if encoder == "letters":
        return LetterSettings.dim
    return moco_settings(suite, dataset).dim if encoder == "moco" else footprint(encoder).dim


def image_flops(suite: Settings, dataset: str, space: Space) -> int:
    """Operations of one image; those of the small networks do not count."""
    if not is_trained_here(space.encoder):
        return 0 if space.encoder == "pixels" else footprint(space.encoder).flops
    settings = moco_settings(suite, dataset)
    return moco_flops(settings) if space.encoder == "moco" else 0


def moco_settings(suite: Settings, dataset: str) -> MocoSettings | MocoRecipe:
    """What MoCo is trained with on a dataset."""
    section = suite.params["pretrain"]
    own = {**section.get("moco", {}), **section.get(dataset, {})}
    own.pop("images", None)
    return resolved(own)


def moco_flops(settings: MocoSettings | MocoRecipe) -> int:
    """Operations of one image in MoCo's ResNet-18; 0 for the small network."""
    if isinstance(settings, MocoSettings):
        return 0
    with torch.device("meta"):
        return count_flops(resnet18(settings.architecture).eval(), settings.size)


def pretraining(suite: Settings, dataset: Dataset) -> Work:
    """Of MoCo with a ResNet on a dataset; the small networks take seconds."""
    section, name = suite.params["pretrain"], dataset.name
    wanted = "moco" in suite.spaces_of(name) and dataset.unmade("moco")
    trained = name in section.get("datasets", suite.datasets)
    settings = moco_settings(suite, name)
    if not (wanted and trained and isinstance(settings, MocoRecipe)):
        return Work(0)
    if suite.network_path("moco", name).exists():
        return Work(0)
    unlabelled = section.get(name, {}).get("images") == "stl10-unlabelled"
    images = UNLABELLED if unlabelled else dataset.rows.get("train", 0)
    return estimate.moco(moco_flops(settings), images, settings)


def fits(suite: Settings, dataset: Dataset) -> Iterator[tuple[str, str, Work]]:
    """Stage, precision and work of every fit that is not there yet."""
    for key, method in suite.methods.items():
        classes = suite.params["classes"][dataset.name]
        model = ESTIMATORS[method.estimator](classes, **suite.settings(key, dataset.name))
        if model.recipe == "fast":
            continue
        for names in suite.method_choices(key, dataset.name):
            paths = [suite.fit_path(dataset.name, key, names, seed) for seed in method.seeds]
            inner = names[-1:] if method.estimator == "hume" else names
            n, d = shape(suite, dataset, inner, method.split)
            if method.estimator == "hume":
                work = estimate.hume(model, n, d)
            elif method.grid:
                work = estimate.selected(model, method.grid, n, d)
            else:
                work = estimate.turtle(model, n, d)
            yield "fit", model.precision, work.times(sum(not path.exists() for path in paths))


def selections(suite: Settings, dataset: Dataset) -> Iterator[tuple[str, str, Work]]:
    """The same of the stage `select`."""
    section = suite.params["selection"]
    done = (suite.data / "selection" / f"{dataset.name}.csv").exists()
    if dataset.name not in section["datasets"] or done:
        return
    model = Turtle(suite.params["classes"][dataset.name], **shared_settings(suite, dataset.name))
    for names in section["spaces"]:
        n, d = shape(suite, dataset, names, suite.fit_split)
        yield "select", model.precision, estimate.selected(model, section["grid"], n, d)


def baselines(suite: Settings, dataset: Dataset) -> Work:
    """Of k-means and the linear probe in all space combinations, unless the scores are there."""
    section, total = suite.params["baselines"], Work(0)
    classes = suite.params["classes"][dataset.name]
    if (suite.data / "scores" / f"{dataset.name}.csv").exists():
        return total
    probe = section.get("probe", "quick")
    probes = len(GRIDS[probe] if isinstance(probe, str) else probe)
    starts = section.get("n_init", 10) * len(section["seeds"])
    for names in suite.choices(section, dataset.name):
        n, d = shape(suite, dataset, names, suite.fit_split)
        total = total.plus(estimate.k_means(n, d, classes, starts, section.get("max_iter", 300)))
        if "train" in suite.splits:
            n, d = shape(suite, dataset, names, "train")
            total = total.plus(estimate.logistic(n, d, classes).times(probes + 1))
    return total


def shape(suite: Settings, dataset: Dataset, names, split: str) -> tuple[int, int]:
    """Rows of a split, and columns of the named spaces together."""
    n = sum(dataset.rows.values()) if split == "all" else dataset.rows[split]
    return n, sum(dimensions(suite, dataset.name, name) for name in names)

"""The stage `pretrain`: the networks that are trained here, on letters and by MoCo."""

from __future__ import annotations

from hume_turtle.pipeline.images import load_images
from hume_turtle.pipeline.kept import is_kept, kept
from hume_turtle.pipeline.parallel import in_parallel
from hume_turtle.pipeline.settings import Settings, check_keys
from hume_turtle.pretraining import checkpoints, letters, moco
from hume_turtle.storage.embeddings import is_imported


def run(suite: Settings) -> None:
    """Train one network on letters for all datasets, and MoCo on each dataset.

    `pretrain.datasets` names those for MoCo, by default all that have its space; none is trained
    where its embeddings were imported. With the top-level `resume`, finished networks are kept
    while their settings are the same, and a killed training resumes.
    """
    settings = suite.params["pretrain"]
    own = [name for name, value in settings.items() if isinstance(value, dict)]
    check_keys("pretrain", settings, ["seed", "datasets", *own])
    (suite.data / "networks").mkdir(parents=True, exist_ok=True)
    jobs = [(suite, "letters", None)] if "letters" in suite.space_names else []
    embeddings = suite.data / "embeddings"
    jobs += [
        (suite, "moco", dataset)
        for dataset in settings.get("datasets", suite.datasets)
        if "moco" in suite.spaces_of(dataset)
        and not is_imported(embeddings, dataset, "moco", suite.splits)
    ]
    jobs = [job for job in jobs if not is_kept(suite.network_path(*job[1:]), inputs_of(*job))]
    in_parallel(train_network, jobs, "networks")


def inputs_of(suite: Settings, name: str, dataset: str | None) -> dict | None:
    """What a network is kept for; its code is left out, because a training may take days."""
    settings = suite.params["pretrain"]
    own = {} if dataset is None else settings.get(dataset, {})
    made = {"settings": {**settings.get(name, {}), **own}, "seed": settings["seed"]}
    return made if suite.resumes else None


def train_network(suite: Settings, name: str, dataset: str | None) -> None:
    """Train one network; MoCo learns from the dataset's training images, without labels.

    `pretrain.<dataset>` holds MoCo's settings on a dataset that are its own, and under `images`
    another dataset to learn from, such as STL-10's unlabelled images.
    """
    settings, seed = suite.params["pretrain"], suite.params["pretrain"]["seed"]
    path = suite.network_path(name, dataset)
    with kept(path, inputs_of(suite, name, dataset)):
        if name == "letters":
            checkpoints.save_checkpoint(letters.pretrain_letters(settings[name], seed), path)
            return
        own = {**settings[name], **settings.get(dataset, {})}
        images = load_images(suite, own.pop("images", dataset), "train").images
        if not suite.resumes:  # else an unfinished training is resumed
            path.with_name(f"{path.name}.state").unlink(missing_ok=True)
        moco.pretrain(images, path, own, seed)

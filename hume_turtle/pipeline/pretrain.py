"""The stage `pretrain`: the networks that are trained here, on letters and by MoCo."""

from __future__ import annotations

from hume_turtle.pipeline.images import load_images
from hume_turtle.pipeline.parallel import in_parallel
from hume_turtle.pipeline.settings import Settings, check_keys
from hume_turtle.pretraining import checkpoints, letters, moco
from hume_turtle.storage.embeddings import is_imported


def run(suite: Settings) -> None:
    """Train one network on letters for all datasets, and MoCo on each dataset.

    `pretrain.datasets` names those for MoCo, by default all that have its space; none is trained
    where its embeddings were imported. With the top-level `resume`, finished networks are kept and
    a killed training resumes.
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
    if suite.params.get("resume", False):
        jobs = [job for job in jobs if not suite.network_path(*job[1:]).exists()]
    in_parallel(train_network, jobs, "networks")


def train_network(suite: Settings, name: str, dataset: str | None) -> None:
    """Train one network; MoCo learns from the dataset's training images, without labels.

    `pretrain.<dataset>` holds MoCo's settings on a dataset that are its own, and under `images`
    another dataset to learn from, such as STL-10's unlabelled images.
    """
    settings, seed = suite.params["pretrain"], suite.params["pretrain"]["seed"]
    path = suite.network_path(name, dataset)
    if name == "letters":
        checkpoints.save_checkpoint(letters.pretrain_letters(settings[name], seed), path)
        return
    own = {**settings[name], **settings.get(dataset, {})}
    images = load_images(suite, own.pop("images", dataset), "train").images
    if not suite.params.get("resume", False):  # else an unfinished training is resumed
        path.with_name(f"{path.name}.state").unlink(missing_ok=True)
    moco.pretrain(images, path, own, seed)

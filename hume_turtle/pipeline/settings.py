"""The settings of a suite, params.yaml, and where its files are: all that a stage needs.

What every stage imports stays small, because the stage `code` follows the imports: readers of what
several stages made are in suite.py, for notebooks and benchmarks.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from hume_turtle.storage.names import SPLITS

STAGES = {  # and the list in params.yaml that a stage takes one item of
    "code": None,
    "pretrain": None,
    "embed": "datasets",
    "fit": "datasets",
    "select": None,
    "baselines": "datasets",
    "notebooks": None,
    "report": None,
}
KEYS = {  # what params.yaml may hold; a section that is not named here may hold anything
    "params.yaml": "suite root threads same_bits resume datasets notebooks artefacts images "
    "pretrain embed classes fit selection baselines",
    "images": "folder download",
    "embed": "splits spaces datasets scale encoders checkpoints weights precision prompts "
    "extraction",
    "fit": "split seeds record turtle hume",
    "fit.turtle": "choices settings datasets variants",
    "fit.hume": "phi1 phi2 settings datasets variants runs_at_once",
    "selection": "datasets spaces grid",
    "baselines": "seeds n_init max_iter probe device choices",
}
LARGE = 2**28  # numbers of a space, 1 GB in float32
OPTIONAL = ("images", "same_bits", "resume")  # sections of params.yaml
VARIANT = ("split", "seeds", "settings", "grid")  # what a variant of a method may hold


class Method(NamedTuple):
    """A method of a suite: one row of its tables.

    Attributes:
        key: its name in files and tables: "turtle", or "turtle-warm" for the variant "warm".
        estimator: "turtle" or "hume".
        split: the rows that it is fitted on: "train" (inductive), "test", or "all", train followed
            by test (transductive).
        seeds: one fit each.
        settings: of the estimator, on every dataset.
        grid: further settings, of which the generalization score chooses; None for no choice.
        regime: whether the variant states its split, so that the split "all" is scored as one.
    """

    key: str
    estimator: str
    split: str
    seeds: list[int]
    settings: dict
    grid: dict | None
    regime: bool


def check_keys(section: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise ValueError for keys of params.yaml that would be ignored."""
    known = list(known)
    if unknown := [str(key) for key in given if key not in known]:
        raise ValueError(f"{section}: unknown {', '.join(unknown)}; known are {', '.join(known)}")


def fresh_folder(path: Path) -> Path:
    """An empty folder; what an earlier run of the stage left there is removed."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


@dataclass(frozen=True)
class Settings:
    """The settings of a suite and its files.

    Attributes:
        folder: the folder of params.yaml.
        params: its content.
    """

    folder: Path
    params: dict

    @classmethod
    def open(cls, folder: str | Path = "."):
        """Read `<folder>/params.yaml`; ValueError for bad YAML."""
        import yaml

        path = Path(folder, "params.yaml")
        if not path.is_file():
            raise FileNotFoundError(f"no {path}: this needs a suite, such as the repository's own")
        try:
            return cls(Path(folder), yaml.safe_load(path.read_text(encoding="utf-8")))
        except yaml.YAMLError as error:
            raise ValueError(f"{path}: {' '.join(str(error).split())}") from None

    def check(self) -> None:
        """Raise ValueError for sections and keys that are missing, unknown or of no use."""
        for section, known in KEYS.items():
            content = self.params
            for name in section.split(".") if section != "params.yaml" else ():
                content = content.get(name, {})
            if not isinstance(content, dict):
                raise ValueError(f"{section}: must be a mapping")
            check_keys(section, content, known.split())
        if missing := set(KEYS["params.yaml"].split()) - {*OPTIONAL, *self.params}:
            raise ValueError(f"params.yaml: missing {', '.join(sorted(missing))}")
        if missing := [name for name in self.datasets if name not in self.params["classes"]]:
            raise ValueError(f"classes: missing {', '.join(missing)}")
        for dataset in self.params["embed"].get("datasets", {}):
            check_keys(f"embed.datasets.{dataset}", self.spaces_of(dataset), self.space_names)
        for estimator in ("turtle", "hume"):
            for name, variant in self.params["fit"][estimator].get("variants", {}).items():
                check_keys(f"fit.{estimator}.variants.{name}", variant, VARIANT)
        for method in self.methods.values():
            if method.split not in ("all", *self.splits):
                known = ", ".join(["all", *self.splits])
                raise ValueError(f"{method.key}: unknown split {method.split!r}; known are {known}")

    @property
    def name(self) -> str:
        return self.params["suite"]

    @property
    def root(self) -> Path:
        """The repository's root."""
        return self.folder / self.params["root"]

    @property
    def data(self) -> Path:
        return self.root / "data" / self.name

    @property
    def datasets(self) -> list[str]:
        return self.params["datasets"]

    @property
    def resumes(self) -> bool:
        """Whether stages keep finished work whose inputs are the same, and resume what was killed.

        Else they compute everything anew.
        """
        return self.params.get("resume", False)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that are embedded and scored."""
        return tuple(self.params["embed"].get("splits", SPLITS))

    @property
    def space_names(self) -> list[str]:
        """All spaces, whether or not every dataset has them."""
        return self.params["embed"]["spaces"]

    def spaces_of(self, dataset: str) -> list[str]:
        """The spaces of a dataset: those of `embed.datasets` if it is there, else all."""
        return self.params["embed"].get("datasets", {}).get(dataset, self.space_names)

    @property
    def fit_split(self) -> str:
        """The rows that labelings are searched on, where a variant does not state its own."""
        return self.params["fit"]["split"]

    @property
    def methods(self) -> dict[str, Method]:
        """The methods of the suite by key: a method's variants, or itself where it has none."""
        fit, found = self.params["fit"], {}
        for estimator in ("hume", "turtle"):
            section = fit[estimator]
            for name, variant in section.get("variants", {"": {}}).items():
                key = f"{estimator}-{name}" if name else estimator
                found[key] = Method(
                    key,
                    estimator,
                    variant.get("split", self.fit_split),
                    variant.get("seeds", fit["seeds"]),
                    {**section.get("settings", {}), **variant.get("settings", {})},
                    variant.get("grid"),
                    "split" in variant,
                )
        return found

    def choices(self, section: dict, dataset: str) -> list[tuple[str, ...]]:
        """The space combinations that a section of params.yaml lists under `choices`.

        By default every space and every pair of spaces. Without those that the dataset lacks.
        """
        spaces = self.spaces_of(dataset)
        pairs = [names for size in (1, 2) for names in combinations(spaces, size)]
        listed = section.get("choices", pairs)
        return [tuple(names) for names in listed if {*names} <= {*spaces}]

    def method_choices(self, key: str, dataset: str) -> list[tuple[str, ...]]:
        """The space combinations that a method is fitted in on a dataset."""
        estimator = self.methods[key].estimator
        section = self.params["fit"][estimator]
        if estimator == "hume":
            section = {"choices": [(section["phi1"], phi2) for phi2 in section["phi2"]]}
        return self.choices(section, dataset)

    def settings(self, key: str, dataset: str) -> dict:
        """The settings of a method on a dataset: its own, and what is the dataset's own."""
        method = self.methods[key]
        own = self.params["fit"][method.estimator].get("datasets", {})
        return {**method.settings, **own.get(dataset, {})}

    def spaces(self, dataset: str, names: str | list[str] | tuple[str, ...], split: str):
        """Embeddings in the named spaces, a list or joined by "+": a list of (n, d_k) arrays.

        `split` is "train", "test", or "all", all splits of the suite in turn. `embed.scale` in
        params.yaml is "unit-rms", the default, or "none", which gives memory maps of the files.

        Raises:
            FileNotFoundError: if the pipeline has not made them.
            ValueError: if different images were skipped in the spaces.
        """
        import numpy as np

        from hume_turtle.storage.embeddings import load_spaces

        names = names.split("+") if isinstance(names, str) else names
        if split != "all":
            scale = self.params["embed"].get("scale", "unit-rms")
            return load_spaces(self.data / "embeddings", dataset, names, split, scale)
        parts = zip(*(self.spaces(dataset, names, part) for part in self.splits))
        return [np.concatenate(rows) for rows in parts]

    def is_large(self, dataset: str) -> bool:
        """Whether a space of the dataset is too large to hold several at once in memory."""
        from hume_turtle.storage.embeddings import load_sidecar

        def numbers(space: str) -> int:
            folder = self.data / "embeddings"
            sidecars = [load_sidecar(folder, dataset, space, split) for split in self.splits]
            return sum(sidecar["rows"] * sidecar["dimensions"] for sidecar in sidecars)

        return max(map(numbers, self.spaces_of(dataset))) > LARGE

    def labels(self, dataset: str, split: str):
        """True labels (n,) of "train", "test" or "all", for evaluation only."""
        import numpy as np

        from hume_turtle.storage.embeddings import load_labels

        if split == "all":
            return np.concatenate([self.labels(dataset, part) for part in self.splits])
        return load_labels(self.data / "labels", dataset, split)

    def labelled(self, dataset: str) -> list[str]:
        """The splits whose true labels are known."""
        folder = self.data / "labels" / dataset
        return [split for split in self.splits if (folder / f"{split}.npy").exists()]

    def class_names(self, dataset: str) -> list[str]:
        """The names of the classes, in label order; empty if none are known."""
        path = self.data / "labels" / dataset / "classes.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []

    def network_path(self, name: str, dataset: str | None) -> Path:
        """Where a network trained here is kept: MoCo one for each dataset, letters one for all."""
        name = f"{name}-{dataset}" if name == "moco" else name
        return self.data / "networks" / f"{name}.pt"

    def fit_path(self, dataset: str, key: str, spaces: tuple[str, ...], seed: int) -> Path:
        return self.data / "fits" / dataset / key / "+".join(spaces) / f"{seed}.npz"

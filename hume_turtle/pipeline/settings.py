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

from hume_turtle.storage.names import SPLITS

STAGES = {  # and the list in params.yaml that a stage takes one item of
    "code": None,
    "pretrain": None,
    "embed": "datasets",
    "fit": "datasets",
    "select": None,
    "baselines": "datasets",
    "notebooks": "notebooks",
    "report": None,
}
KEYS = {  # what params.yaml may hold; a section that is not named here may hold anything
    "params.yaml": "suite root threads resume datasets notebooks artefacts images pretrain embed classes "
    "fit selection baselines",
    "images": "folder download",
    "embed": "splits spaces datasets scale encoders checkpoints weights precision prompts extraction",
    "fit": "split seeds turtle hume",
    "fit.turtle": "choices settings datasets",
    "fit.hume": "phi1 phi2 settings datasets",
    "selection": "datasets spaces grid",
    "baselines": "seeds n_init device choices",
}


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
        if missing := set(KEYS["params.yaml"].split()) - {"images", "resume", *self.params}:
            raise ValueError(f"params.yaml: missing {', '.join(sorted(missing))}")
        if missing := [name for name in self.datasets if name not in self.params["classes"]]:
            raise ValueError(f"classes: missing {', '.join(missing)}")

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
    def space_names(self) -> list[str]:
        return self.params["embed"]["spaces"]

    def spaces_of(self, dataset: str) -> list[str]:
        embed = self.params["embed"]
        return embed.get("datasets", {}).get(dataset, embed["spaces"])

    @property
    def splits(self) -> list[str]:
        return self.params["embed"].get("splits", list(SPLITS))

    @property
    def fit_split(self) -> str:
        """The rows that labelings are searched on: "train" (inductive) or "all" (transductive)."""
        return self.params["fit"]["split"]

    def choices(self, section: dict | None = None) -> list[tuple[str, ...]]:
        """The space combinations that a section of params.yaml lists under `choices`.

        By default every space and every pair of spaces.
        """
        if section and "choices" in section:
            return [tuple(names) for names in section["choices"]]
        return [c for size in (1, 2) for c in combinations(self.space_names, size)]

    def method_choices(self, method: str) -> list[tuple[str, ...]]:
        """The space combinations that "turtle" or "hume" is fitted in."""
        section = self.params["fit"][method]
        if method == "hume":
            return [(section["phi1"], phi2) for phi2 in section["phi2"]]
        return self.choices(section)

    def settings(self, method: str, dataset: str) -> dict:
        """The settings of "turtle" or "hume" on a dataset: `settings`, and what is its own."""
        section = self.params["fit"][method]
        return {**section.get("settings", {}), **section.get("datasets", {}).get(dataset, {})}

    def spaces(self, dataset: str, names: str | list[str] | tuple[str, ...], split: str):
        """Embeddings in the named spaces, a list or joined by "+": a list of (n, d_k) arrays.

        `split` is "train", "test", or "all", which is train followed by test. `embed.scale` in
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
        parts = zip(*(self.spaces(dataset, names, part) for part in SPLITS))
        return [np.concatenate(rows) for rows in parts]

    def labels(self, dataset: str, split: str):
        """True labels (n,) of "train", "test" or "all", for evaluation only."""
        import numpy as np

        from hume_turtle.storage.embeddings import load_labels

        if split == "all":
            return np.concatenate([self.labels(dataset, part) for part in SPLITS])
        return load_labels(self.data / "labels", dataset, split)

    def class_names(self, dataset: str) -> list[str]:
        """The names of the classes, in label order; empty if none are known."""
        path = self.data / "labels" / dataset / "classes.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []

    def network_path(self, name: str, dataset: str | None) -> Path:
        """Where a network trained here is kept: MoCo one for each dataset, letters one for all."""
        name = f"{name}-{dataset}" if name == "moco" else name
        return self.data / "networks" / f"{name}.pt"

    def fit_path(self, dataset: str, method: str, spaces: tuple[str, ...], seed: int) -> Path:
        return self.data / "fits" / dataset / method / "+".join(spaces) / f"{seed}.npz"

"""A suite: one params.yaml, and where everything that its stages made is to be found.

The pipeline writes through this file's paths and the notebooks read through its functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from hume_turtle.datasets.images import ImageDataset
    from hume_turtle.estimators.base import LabelingEstimator

TIMING_COLUMNS = ["date", "hardware", "threads", "dataset", "method", "spaces", "metric", "value"]
SPEED_COLUMNS = ["case", "method", "seconds", "ratio", "accuracy", "peak_memory_mb", "repeats"]
SPEED_COLUMNS += ["date", "hardware", "threads", "timed", "worst"]
GROWTH_COLUMNS = ["axis", "value", "method", "seconds", "repeats", "date", "hardware", "threads"]


def estimator_class(method: str) -> type[LabelingEstimator]:
    """`Turtle` for "turtle", `Hume` for "hume"."""
    import hume_turtle

    return getattr(hume_turtle, method.capitalize())


@dataclass(frozen=True)
class Suite:
    """The settings of a suite and its files.

    Attributes:
        folder: where params.yaml lies.
        params: its content.
    """

    folder: Path
    params: dict

    @classmethod
    def open(cls, folder: str | Path = ".") -> Suite:
        """Read `<folder>/params.yaml`.

        Raises:
            FileNotFoundError: if there is none.
        """
        import yaml

        path = Path(folder, "params.yaml")
        return cls(Path(folder), yaml.safe_load(path.read_text(encoding="utf-8")))

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

    def choices(self, section: dict | None = None) -> list[tuple[str, ...]]:
        """The choices of spaces that a section of params.yaml lists under `choices`.

        By default every space and every pair of spaces.
        """
        if section and "choices" in section:
            return [tuple(names) for names in section["choices"]]
        return [c for size in (1, 2) for c in combinations(self.space_names, size)]

    def method_choices(self, method: str) -> list[tuple[str, ...]]:
        """The choices of spaces that "turtle" or "hume" is fitted in."""
        section = self.params["fit"][method]
        if method == "hume":
            return [(section["phi1"], phi2) for phi2 in section["phi2"]]
        return self.choices(section)

    def settings(self, method: str, dataset: str) -> dict:
        """The settings of "turtle" or "hume" on a dataset: `settings`, and what is its own."""
        section = self.params["fit"][method]
        return {**section.get("settings", {}), **section.get("datasets", {}).get(dataset, {})}

    def spaces(self, dataset: str, names: str | list[str] | tuple[str, ...], split: str):
        """Embeddings in the named spaces, a list of (n, d_k) arrays.

        `embed.scale` in params.yaml: "unit-rms", the default, or "none", which gives memory maps
        of the files (see embeddings.load_spaces).

        Args:
            dataset: its name.
            names: of the spaces, a list or joined by "+".
            split: "train", "test", or "all", which is train followed by test.

        Raises:
            FileNotFoundError: if the pipeline has not made them.
            ValueError: if the spaces lack other images, those that could not be read.
        """
        import numpy as np

        from hume_turtle.storage.embeddings import load_spaces

        names = names.split("+") if isinstance(names, str) else names
        if split != "all":
            scale = self.params["embed"].get("scale", "unit-rms")
            return load_spaces(self.data / "embeddings", dataset, names, split, scale)
        parts = zip(self.spaces(dataset, names, "train"), self.spaces(dataset, names, "test"))
        return [np.concatenate(rows) for rows in parts]

    @property
    def fit_split(self) -> str:
        """The rows that labelings are searched on: "train" (inductive) or "all" (transductive)."""
        return self.params["fit"]["split"]

    def labels(self, dataset: str, split: str) -> np.ndarray:
        """True labels (n,) of "train", "test" or "all", for evaluation only."""
        import numpy as np

        from hume_turtle.storage.embeddings import load_labels

        if split == "all":
            return np.concatenate([self.labels(dataset, "train"), self.labels(dataset, "test")])
        return load_labels(self.data / "labels", dataset, split)

    def hcheck_labels(self, dataset: str) -> bool:
        """Whether the true labels of both splits are known."""
        folder = self.data / "labels" / dataset
        return all((folder / f"{split}.npy").exists() for split in ("train", "test"))

    def class_names(self, dataset: str) -> list[str]:
        """The names of the classes, in label order; empty if none are known."""
        import json

        path = self.data / "labels" / dataset / "classes.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []

    def images(self, dataset: str, split: str) -> ImageDataset:
        """The images, from where `images` in params.yaml says that datasets lie.

        Raises:
            FileNotFoundError: if they are not there; the message says how to get them.
        """
        from hume_turtle.datasets.registry import load_dataset

        section = self.params.get("images", {})
        folder = self.root / Path(section.get("folder", "data/images")).expanduser()
        return load_dataset(dataset, split, folder, section.get("download", False))

    def network_path(self, name: str, dataset: str | None) -> Path:
        """Where a network trained here is kept: MoCo one for each dataset, letters one for all."""
        name = f"{name}-{dataset}" if name == "moco" else name
        return self.data / "networks" / f"{name}.pt"

    def fit_path(self, dataset: str, method: str, spaces: tuple[str, ...], seed: int) -> Path:
        return self.data / "fits" / dataset / method / "+".join(spaces) / f"{seed}.npz"

    def fits(self, dataset: str, method: str) -> dict[str, list[LabelingEstimator]]:
        """The pipeline's fits by method ("turtle" or "hume"): spaces joined by "+" to seeds' fits.

        Raises:
            FileNotFoundError: if the pipeline has not made them.
        """
        folder = self.data / "fits" / dataset
        if not folder.is_dir():
            raise FileNotFoundError(f"no fits in {folder}: run the pipeline first (make repro)")
        folder = folder / method
        if not folder.is_dir():  # the suite does not fit it
            return {}
        return {
            spaces.name: [
                estimator_class(method).load(path, device="cpu")
                for path in sorted(spaces.glob("*.npz"), key=lambda path: int(path.stem))
            ]
            for spaces in sorted(folder.iterdir())
        }

    def selection(self, dataset: str):
        """TURTLE with a grid of settings: a table, a row a fit, and their labelings (R, n).

        The table has the columns dataset, spaces, the settings of the grid, generalization_score
        and loss.

        Raises:
            FileNotFoundError: if the pipeline has not made them.
        """
        import numpy as np
        import pandas as pd

        path = self.data / "selection" / f"{dataset}.csv"
        with np.load(path.with_suffix(".npz")) as file:
            return pd.read_csv(path), file["labelings"]

    def timings(self):
        """Measured seconds of each method, with date and hardware; empty if never measured.

        They are measured apart from the pipeline (`make bench`), which must repeat to the bit.
        """
        return self._measured(self.name, TIMING_COLUMNS)

    def speed(self):
        """Every method beside a plain reference: a row a case, method and hardware, or none.

        `ratio` is the reference's seconds by the method's, `accuracy` and `worst` are the mean and
        the lowest cluster accuracy of whole runs as fractions, `peak_memory_mb` is what a fit
        needs above its embeddings. See `make bench`.
        """
        return self._measured("speed", SPEED_COLUMNS)

    def growth(self):
        """Seconds of an outer iteration of TURTLE, ours and the reference's, or no rows.

        `axis` is what grows to `value`: rows "n", dimensions "d", classes "C" or joint "runs".
        """
        return self._measured("growth", GROWTH_COLUMNS)

    def _measured(self, name: str, columns: list[str]):
        """data/measured/<name>.csv, or an empty table with these columns."""
        import pandas as pd

        path = self.root / "data" / "measured" / f"{name}.csv"
        if path.exists() and path.stat().st_size:
            return pd.read_csv(path)
        return pd.DataFrame(columns=columns)

    def scores(self):
        """All scores as one long table: dataset, method, spaces, split, seed, metric, value.

        Raises:
            FileNotFoundError: if the pipeline has not made them.
        """
        import pandas as pd

        paths = [self.data / "scores" / f"{dataset}.csv" for dataset in self.datasets]
        return pd.concat([pd.read_csv(path) for path in paths], ignore_index=True)

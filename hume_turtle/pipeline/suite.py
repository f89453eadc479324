"""A suite as notebooks and benchmarks see it: its settings, its images and what its stages made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from hume_turtle.pipeline.fit import load_fits
from hume_turtle.pipeline.images import load_images
from hume_turtle.pipeline.settings import Settings

if TYPE_CHECKING:
    from hume_turtle.datasets.images import ImageDataset
    from hume_turtle.estimators.base import LabelingEstimator

TIMING_COLUMNS = ["date", "hardware", "threads", "dataset", "method", "spaces", "metric", "value"]
SPEED_COLUMNS = ["case", "method", "precision", "seconds", "ratio", "accuracy", "peak_memory_mb"]
SPEED_COLUMNS += ["repeats", "date", "hardware", "threads", "timed", "worst"]
NUMBER_COLUMNS = ["case", "seen", "rows", "classes", "chosen", "certain", "dip", "agreement"]
NUMBER_COLUMNS += ["agree_best", "date", "hardware"]
SIZE_COLUMNS = ["case", "seen", "classes", "largest_by_smallest", "k-means", "gamma 10"]
SIZE_COLUMNS += ["gamma 10, same search", "gamma auto", "gammas", "date", "hardware"]
GROWTH_COLUMNS = ["axis", "value", "method", "seconds", "repeats", "date", "hardware", "threads"]


class Suite(Settings):
    """A suite of stages and everything that they made.

    Every method that reads raises FileNotFoundError where the pipeline has not made the file.
    """

    def images(self, dataset: str, split: str) -> ImageDataset:
        return load_images(self, dataset, split)

    def fits(self, dataset: str, method: str) -> dict[str, list[LabelingEstimator]]:
        return load_fits(self, dataset, method)

    def selection(self, dataset: str) -> tuple[pd.DataFrame, np.ndarray]:
        """TURTLE with a grid of settings: a table, one row per fit, and their labelings (R, n).

        The table has the columns dataset, spaces, the settings of the grid, generalization_score
        and loss.
        """
        path = self.data / "selection" / f"{dataset}.csv"
        with np.load(path.with_suffix(".npz")) as file:
            return pd.read_csv(path), file["labelings"]

    def scores(self) -> pd.DataFrame:
        """All scores as one long table: dataset, method, spaces, split, seed, metric, value."""
        paths = [self.data / "scores" / f"{dataset}.csv" for dataset in self.datasets]
        return pd.concat([pd.read_csv(path) for path in paths], ignore_index=True)

    def timings(self) -> pd.DataFrame:
        """Measured seconds of each method, with date and hardware; empty if never measured.

        They are measured apart from the pipeline (`make bench`), which must repeat to the bit.
        """
        return self._measured(self.name, TIMING_COLUMNS)

    def speed(self) -> pd.DataFrame:
        """Every method beside a plain reference: one row per case, method and hardware, or none.

        `ratio` is the reference's seconds by the method's, `accuracy` and `worst` are the mean and
        the lowest cluster accuracy of whole runs as fractions, `peak_memory_mb` is what a fit
        needs above its embeddings, `precision` that of the products' operands. `hardware` names the
        instruction set, `case` what was extrapolated. See `make bench`.
        """
        return self._measured("speed", SPEED_COLUMNS)

    def growth(self) -> pd.DataFrame:
        """Seconds of an outer iteration of TURTLE, ours and the reference's, or no rows.

        `axis` is what grows to `value`: rows "n", dimensions "d", classes "C" or batched "runs".
        """
        return self._measured("growth", GROWTH_COLUMNS)

    def numbers_of_classes(self) -> pd.DataFrame:
        """Numbers of classes chosen without labels, beside the truth; or no rows.

        `certain` is what the choice says of itself, `dip` and `agreement` are those of the chosen
        number, `agree_best` is the number that halves of the rows agree best about, `seen` says
        whether the rule was found on such data. See `hume-turtle bench --choices`.
        """
        return self._measured("number-of-classes", NUMBER_COLUMNS)

    def class_sizes(self) -> pd.DataFrame:
        """Cluster accuracy, as fractions, of k-means, γ = 10 and γ chosen without labels; or none.

        `gammas` has the γ chosen for each seed.
        """
        return self._measured("class-sizes", SIZE_COLUMNS)

    def _measured(self, name: str, columns: list[str]) -> pd.DataFrame:
        """data/measured/<name>.csv, or an empty table with these columns."""
        path = self.root / "data" / "measured" / f"{name}.csv"
        return pd.read_csv(path) if path.exists() else pd.DataFrame(columns=columns)

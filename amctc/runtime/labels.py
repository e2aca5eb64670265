"""The true class of every sample: from an array of the data's `.npz`, a `.npy` file, or a `.csv` file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import did_you_mean, error
from amctc.runtime.arrays import npz_names, open_npy, read_npz
from amctc.runtime.datasets import Dataset
from amctc.runtime.label_table import read_label_table


@dataclass(frozen=True, eq=False)
class Labels:
    """`values` is int64 [samples], each 0 or more, in the order of the data set they were opened for."""

    values: NDArray[np.int64]

    @staticmethod
    def open(spec: str, data: Dataset | int | None = None, npz_path: str | Path | None = None) -> Labels:
        """Labels by what `--labels` says.

        `spec` is the path of a `.npy` or `.csv` file, or else the name of an array in the `.npz` file
        `npz_path`, which is that of the data set if it has one. `data` is the data set or its number of
        samples. A `.csv` of one column, or without a `file` column, is in sample order; one with `file`
        and `label` columns is matched to the names of the images.

        Raises `DiagnosticError`: AM460 no such labels, AM461 another number than samples, AM462 a
        label that is not a whole number of 0 or more, AM463 an image without a row or with
        a row it shares, AM464 a `.csv` that is not as above, and AM100, AM102 and AM105 for
        a file that cannot be read as text.
        """
        dataset = data if isinstance(data, Dataset) else None
        count = dataset.count if dataset is not None else data if isinstance(data, int) else None
        kind = Path(spec).suffix.lower()
        if kind == ".csv":
            values = read_label_table(Path(spec), dataset.names if dataset is not None else None)
        elif kind == ".npy":
            values = _whole_numbers(_open_npy(Path(spec)), spec)
        else:
            held = npz_path or (dataset.path if dataset is not None else None)
            values = _whole_numbers(_from_npz(spec, Path(held) if held is not None else None), spec)
        if dataset is not None and dataset.chosen is not None and len(values) == dataset.total:
            values = values[np.array(dataset.chosen, np.intp)]  # labels of the whole, as below
        if dataset is not None and count != dataset.source.count == len(values):
            values = values[dataset.start : dataset.stop]  # labels of the whole, of which the data set is a part
        if count is not None and len(values) != count:
            raise error(
                "AM461",
                f"the labels `{spec}` are {len(values)}, the data set has {count} samples",
                help="give one label for each sample, in the same order",
            )
        return Labels(values)

    def __len__(self) -> int:
        return len(self.values)

    def select(self, start: int, stop: int | None = None) -> Labels:
        """Those of the samples from `start` up to `stop` (excluded), as `Dataset.select` picks samples."""
        return Labels(self.values[start:stop])


def _open_npy(path: Path) -> NDArray[Any]:
    if not path.is_file():
        raise error("AM460", f"there is no file `{path}`", file=str(path))
    return open_npy(path)


def _from_npz(key: str, path: Path | None) -> NDArray[Any]:
    if path is None or path.suffix.lower() != ".npz":
        raise error(
            "AM460",
            f"the labels `{key}` are neither a .npy nor a .csv file, and the data are not an .npz that could hold them",
            help="give the path of a .npy or .csv file",
        )
    present = npz_names(path)
    if key not in present:
        names = ", ".join(f"`{name}`" for name in present[:20])
        help = did_you_mean(key, present)
        raise error("AM460", f"there is no array `{key}`; the data hold {names}", file=str(path), help=help)
    return read_npz(path, [key])[key]


def _whole_numbers(array: NDArray[Any], spec: str) -> NDArray[np.int64]:
    """The labels as int64 [samples]: integers, or floats that are whole; trailing axes of length 1 go."""
    if array.ndim == 0 or array.size != len(array):
        message = f"the labels `{spec}` have the shape {array.shape}, not one number for each sample"
        raise error("AM462", message, help="one-hot labels: give the number of the class instead")
    flat = np.asarray(array).reshape(-1)
    # 2**53: up to there a float64 tells whole numbers apart; no model has so many classes.
    whole = (flat >= 0) & (flat < 2**53) & (flat == np.floor(flat)) if flat.dtype.kind != "b" else np.zeros(flat.shape)
    for sample in np.flatnonzero(~whole.astype(np.bool_))[:1]:
        raise error("AM462", f"label {flat[sample]} of sample {sample} in `{spec}` is not a whole number of 0 or more")
    return flat.astype(np.int64)

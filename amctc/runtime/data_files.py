"""From the path a user gives to a source of samples: which kind of data it is, and which files."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from amctc.diagnostics import DiagnosticError, did_you_mean, error
from amctc.runtime.arrays import npz_names
from amctc.runtime.image_source import IMAGE_SUFFIXES, ImageSource
from amctc.runtime.samples import SampleShape, common_count, missing_input
from amctc.runtime.sources import ArraySource, BinSource, JoinedSource, Rows, Source
from amctc.runtime.stored_arrays import stored_npy, stored_npz

if TYPE_CHECKING:
    from amctc.runtime.preprocess import Preprocess

KINDS = "`.npz`, `.npy`, `.bin` files, images (JPEG, PNG, BMP, PPM), or a folder or glob of either of the last two"

Shapes = Mapping[str, SampleShape]


def open_path(text: str, shapes: Shapes, preprocess: Preprocess | None) -> Source:
    """The source behind a path, a glob, or a comma-separated list of `.bin` files.

    Raises `DiagnosticError`: AM440 where nothing usable is found, and what `Dataset.open` lists.
    """
    path = Path(text)
    if "," in text and not _exists(path):
        return _open_list(text, shapes, preprocess)
    suffix = path.suffix.lower()
    if suffix in (".npz", ".npy") and not _is_glob(path):
        _require_file(path)
        return _open_arrays(path, shapes, preprocess)
    return _open_files(expand(text), text, shapes, preprocess)


def _open_arrays(path: Path, shapes: Shapes, preprocess: Preprocess | None) -> ArraySource:
    if preprocess is not None:
        preprocess.check_arrays()
    if path.suffix.lower() == ".npy":
        arrays: Mapping[str, Rows] = {_only_input(shapes, path, "an .npy file"): stored_npy(path)}
    else:
        present = npz_names(path)
        for name in shapes:
            if name not in present:
                help = did_you_mean(name, present) or "name each array after the model's input that it feeds"
                raise missing_input(name, present, str(path), help)
        arrays = stored_npz(path, shapes)
    return ArraySource.open(arrays, shapes, preprocess, path)


def _open_list(text: str, shapes: Shapes, preprocess: Preprocess | None) -> Source:
    """A list feeds one input with all its files, or several inputs with one entry each, in their order."""
    entries = [entry.strip() for entry in text.split(",")]
    if len(shapes) == 1:
        files = tuple(path for entry in entries for path in expand(entry))
        return _open_files(files, text, shapes, preprocess)
    if len(entries) != len(shapes):
        names = ", ".join(f"`{name}`" for name in shapes)
        message = f"the list has {len(entries)} entries, the model has {len(shapes)} inputs: {names}"
        raise error("AM400", message, help="give one .bin file or folder for each input, in this order")
    parts = [
        _open_files(expand(entry), entry, {name: shape}, preprocess)
        for entry, (name, shape) in zip(entries, shapes.items(), strict=True)
    ]
    lengths = {name: part.count or 0 for name, part in zip(shapes, parts, strict=True)}
    count = common_count(lengths, shapes)
    return JoinedSource(tuple(parts), tuple(length // count for length in lengths.values()), count)


def _open_files(files: Sequence[Path], text: str, shapes: Shapes, preprocess: Preprocess | None) -> Source:
    paths = tuple(files)
    images = tuple(path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES)
    raw = tuple(path for path in paths if path.suffix.lower() == ".bin")
    if images and raw:
        message = f"`{text}` holds both images (`{images[0].name}`) and .bin files (`{raw[0].name}`)"
        raise error("AM440", message, file=text, help="give a glob that matches one kind, such as `folder/*.png`")
    if images:
        name = _only_input(shapes, Path(text), "a set of images")
        from amctc.runtime.images import require_pillow
        from amctc.runtime.preprocess import Preprocess

        require_pillow()
        return ImageSource(images, shapes[name], preprocess or Preprocess())
    if raw:
        name = _only_input(shapes, Path(text), "a set of .bin files", "give a list `a.bin,b.bin`, in the inputs' order")
        if preprocess is not None:
            preprocess.check_arrays()
        return BinSource.open(raw, shapes[name], preprocess)
    raise error("AM440", f"`{text}` holds no data that can be read", file=text, help=f"data are {KINDS}")


def expand(text: str) -> tuple[Path, ...]:
    """The files behind a path or a glob, sorted; a folder gives those directly in it."""
    path = Path(text)
    if _exists(path):
        if not path.is_dir():
            return (path,)
        return tuple(sorted(_listed(path), key=lambda entry: entry.name))
    if not _is_glob(path):
        raise _missing(path)
    found = tuple(sorted(entry for entry in map(Path, glob.iglob(text, recursive=True)) if entry.is_file()))
    if not found:
        raise error("AM440", f"no file matches `{text}`", file=text)
    return found


def _listed(folder: Path) -> Iterator[Path]:
    try:
        entries = list(folder.iterdir())
    except OSError as problem:
        reason = (problem.strerror or str(problem)).lower()
        raise error("AM440", f"folder `{folder}` cannot be read: {reason}", file=str(folder)) from None
    if not entries:
        raise error("AM440", f"folder `{folder}` is empty", file=str(folder))
    return (entry for entry in entries if entry.is_file())


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that is too long, or holds a zero byte
        return False


def _is_glob(path: Path) -> bool:
    return any(sign in str(path) for sign in "*?[") and not _exists(path)


def _require_file(path: Path) -> None:
    if not _exists(path):
        raise _missing(path)
    if not path.is_file():
        raise error("AM440", f"`{path}` is a folder, not a file", file=str(path))


def _missing(path: Path) -> DiagnosticError:
    siblings: list[str] = []
    if _exists(path.parent) and path.parent.is_dir():
        siblings = sorted(entry.name for entry in path.parent.iterdir())[:1000]
    help = did_you_mean(path.name, siblings) or f"data are {KINDS}"
    return error("AM440", f"there is no file or folder `{path}`", file=str(path), help=help)


def _only_input(shapes: Shapes, path: Path, what: str, help: str = "give an .npz file keyed by input name") -> str:
    if len(shapes) == 1:
        return next(iter(shapes))
    names = ", ".join(f"`{name}`" for name in shapes)
    message = f"{what} feeds one input, the model has {len(shapes)}: {names}"
    raise error("AM400", message, file=str(path), help=help)

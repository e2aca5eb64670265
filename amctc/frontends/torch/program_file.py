"""Reading a `.pt2` file, as `torch.export.save` writes it, without running anything that lies in it.

`torch.export.load` unpickles what the file says is a pickle, and takes names and expressions of it for code. So the
parts that are plain are written into a new archive, which is what torch gets to see; sample inputs, which are pickled
always, are not read at all.
"""

from __future__ import annotations

import json
import re
import shutil
import stat
import tempfile
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from amctc.diagnostics import DiagnosticError, error
from amctc.frontends.torch.program_checks import NotPlain, plain_program
from amctc.frontends.torch.quiet import quiet

if TYPE_CHECKING:
    from collections.abc import Generator

    from torch.export import ExportedProgram

MOST_ENTRIES: Final = 1 << 18
MOST_JSON_BYTES: Final = 1 << 28
_PROGRAM: Final = "models/model.json"
_TENSORS: Final = {
    "data/weights/model_weights_config.json": re.compile(r"weight_\d{1,9}", re.ASCII),
    "data/constants/model_constants_config.json": re.compile(r"tensor_\d{1,9}", re.ASCII),
}
"""The files that say which tensor lies where, and the names of the files beside them with the numbers."""
_SAMPLES: Final = "data/sample_inputs/model.pt"
_PLAIN: Final = {"archive_format": b"pt2", "archive_version": b"0", ".data/version": b"6\n", "byteorder": b"little"}
_STRIDED: Final = 7
_AGAIN: Final = "write it anew with `torch.export.save(program, path)`, by the torch that is installed here"
_NOT_PLAIN: Final = (
    "a model from others may hold code; export it yourself, or have it exported, from tensors and ops of torch alone"
)


def read_program(path: str | Path) -> ExportedProgram:
    """The program of a `.pt2` file.

    Raises `DiagnosticError`: AM482 for a file that cannot be read or is none of these, AM483 for one that holds
    pickled objects or anything else that would be run as code.
    """
    import torch

    with _told(path), tempfile.TemporaryFile() as copy:
        with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
            _copy_plain(archive, Path(path).stat().st_size, copy)
        copy.seek(0)
        with quiet():
            return torch.export.load(copy)


@contextmanager
def _told(path: str | Path) -> Generator[None]:
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):
            raise error("AM482", "this is not a regular file", file=str(path))
        yield
    except DiagnosticError:
        raise
    except NotPlain as found:
        message = f"this program is not loaded, for it holds what torch would run as code: {found}"
        raise error("AM483", message, file=str(path), help=_NOT_PLAIN) from None
    except OSError as failure:
        reason = (failure.strerror or str(failure)).lower()
        raise error("AM482", f"this program cannot be read: {reason}", file=str(path)) from None
    except Exception as failure:
        said = str(failure).strip().splitlines()
        message = f"this is no exported program of torch: {said[0][:200] if said else type(failure).__name__}"
        raise error("AM482", message, file=str(path), help=_AGAIN) from failure


def _copy_plain(archive: zipfile.ZipFile, size: int, copy: IO[bytes]) -> None:
    """Write what is plain of an archive of so many bytes into a new one. Raises `ValueError` for what is damaged."""
    entries = _entries(archive, size)
    program = plain_program(_json(archive, entries, _PROGRAM))
    with zipfile.ZipFile(copy, "w") as plain:
        for name, content in _PLAIN.items():
            plain.writestr(f"model/{name}", content)
        plain.writestr(f"model/{_SAMPLES}", b"")
        plain.writestr(f"model/{_PROGRAM}", json.dumps(program))
        for listing, names in _TENSORS.items():
            folder = listing.rpartition("/")[0]
            config = _tensors(_json(archive, entries, listing), names, entries, folder)
            plain.writestr(f"model/{listing}", json.dumps({"config": config}))
            for name in dict.fromkeys(str(each["path_name"]) for each in config.values()):
                _copy(archive, entries[f"{folder}/{name}"], plain, f"model/{folder}/{name}")


def _copy(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, plain: zipfile.ZipFile, name: str) -> None:
    with archive.open(entry) as source, plain.open(name, "w", force_zip64=True) as target:
        shutil.copyfileobj(source, target, 1 << 24)


def _entries(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """The files of an archive by their names below its one folder. torch stores them as they are, not compressed."""
    listed = archive.infolist()
    if len(listed) > MOST_ENTRIES:
        raise ValueError(f"it holds {len(listed)} files, and at most {MOST_ENTRIES} are read")
    found = {each.filename.partition("/")[2]: each for each in listed}
    if len(found) < len(listed) or len({each.filename.partition("/")[0] for each in listed}) != 1:
        raise ValueError("its files do not lie in one folder, each under a name of its own")
    if any(each.compress_type != zipfile.ZIP_STORED or each.file_size != each.compress_size for each in listed):
        raise ValueError("it is compressed, which torch does not do")
    if sum(each.file_size for each in listed) > size:
        raise ValueError("its files are larger than the file that they lie in")
    return found


def _json(archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo], name: str) -> Any:
    entry = entries.get(name)
    if entry is None:
        legacy = f"{name.removesuffix('_config.json').removesuffix('_weights').removesuffix('_constants')}.pt"
        if legacy in entries:
            raise NotPlain(f"the pickle `{legacy}`")
        raise ValueError(f"it has no `{name}`")
    if entry.file_size > MOST_JSON_BYTES:
        raise ValueError(f"`{name}` is larger than the {MOST_JSON_BYTES} bytes that are read")
    try:
        return json.loads(archive.read(entry))
    except RecursionError:
        raise ValueError(f"the parts of `{name}` are nested too deep") from None


def _tensors(
    listing: Any, names: re.Pattern[str], entries: dict[str, zipfile.ZipInfo], folder: str
) -> dict[str, dict[str, Any]]:
    """The tensors of a listing, each within its file. Raises `NotPlain` for pickled ones."""
    config = listing.get("config") if isinstance(listing, dict) else None
    if not isinstance(config, dict):
        raise ValueError("it does not say where its tensors lie")
    found: dict[str, dict[str, Any]] = {}
    for tensor, said in config.items():
        if not isinstance(said, dict) or not isinstance(said.get("path_name"), str):
            raise ValueError(f"it does not say where the tensor `{tensor[:60]}` lies")
        name = said["path_name"]
        if said.get("use_pickle") is not False or names.fullmatch(name) is None:
            raise NotPlain(f"`{tensor[:60]}` is a pickled object (`{name[:40]}`)")
        entry = entries.get(f"{folder}/{name}")
        meta = said.get("tensor_meta")
        if entry is None or not isinstance(meta, dict) or not _fits(meta, entry.file_size):
            raise ValueError(f"the tensor `{tensor[:60]}` does not lie in its file")
        plain = {key: meta[key] for key in ("dtype", "sizes", "strides", "storage_offset", "layout", "requires_grad")}
        found[tensor] = {
            "path_name": name,
            "is_param": said.get("is_param") is True,
            "use_pickle": False,
            "tensor_meta": plain | {"device": {"type": "cpu", "index": None}},
        }
    return found


def _fits(meta: dict[str, Any], size: int) -> bool:
    """Whether a tensor has no more elements than its file has bytes, and all of these lie in the file."""
    sizes, strides = _integers(meta.get("sizes")), _integers(meta.get("strides"))
    offset = _integers([meta.get("storage_offset")])
    if sizes is None or strides is None or offset is None or len(sizes) != len(strides) or len(sizes) > 64:
        return False
    if meta.get("layout") != _STRIDED or not isinstance(meta.get("dtype"), int) or "requires_grad" not in meta:
        return False
    count = 1
    for each in sizes:
        count *= each
        if count > size:
            return False
    last = offset[0] + sum((each - 1) * stride for each, stride in zip(sizes, strides, strict=True))
    return count == 0 or last < size


def _integers(sizes: Any) -> list[int] | None:
    """Sizes that are known numbers, none below zero; None for anything else."""
    if not isinstance(sizes, list):
        return None
    found = [each.get("as_int") if isinstance(each, dict) else None for each in sizes]
    plain = [each for each in found if isinstance(each, int) and not isinstance(each, bool) and 0 <= each < 1 << 62]
    return plain if len(plain) == len(found) else None

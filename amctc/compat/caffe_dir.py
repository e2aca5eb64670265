"""A folder that stands for a built Caffe, for scripts that are told where Caffe lies.

Such scripts test for a few paths in it, insert `python` into `sys.path` and import `caffe`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from amctc.diagnostics import Collector, error
from amctc.dialects.caffe.merged_schema import merge_caffe_proto
from amctc.output import write_files

MARK: Final = ".amctc-caffe-dir"
"""The file that tells a stand-in from a folder of somebody else."""

_README: Final = """\
# A stand-in for Caffe

There is no Caffe in this folder. `amctc compat caffe-dir` wrote it for scripts that want the folder of a
built Caffe: give it to them as that folder. What they import as `caffe`, `amct_caffe` and
`hotwheels.amct_caffe` then comes from amctc, which must be installed for the Python that runs them.

| path | what it is |
| --- | --- |
| `python/caffe`, `python/amct_caffe`, `python/hotwheels` | import amctc's modules of these names |
| `python/caffe/pycaffe.py`, `python/caffe/_caffe.so`, `build/lib/libcaffe.so` | nothing; scripts look for them |
| `build/tools/caffe` | says that it is a stand-in, and ends with status 1 |
| `src/caffe/proto/caffe.proto` | the schema of Caffe with ATC's and AMCT's layers, as amctc reads it |

The folder can be deleted at any time.
"""

_IMPORT: Final = '''\
"""Written by `amctc compat caffe-dir`: what is imported here comes from amctc."""

try:
    from amctc.compat.serving import serve
except ImportError as failure:
    raise ImportError("this stand-in for Caffe needs amctc: install it for this Python") from failure

serve()

import importlib
import sys

sys.modules[__name__] = importlib.import_module("{name}")
'''

_NOTHING: Final = '"""Nothing: `import caffe` comes from amctc. Scripts look whether this file is there."""\n'

_TOOL: Final = """\
#!/bin/sh
echo "this is a stand-in for Caffe, written by amctc: there is no caffe command here" >&2
echo "amctc run, amctc eval and amctc compile run and quantize Caffe models" >&2
exit 1
"""


def write_caffe_dir(folder: str | Path) -> tuple[Path, ...]:
    """Write the stand-in, over an older one if there is one; gives the files.

    Raises `DiagnosticError`: AM636 for a folder that holds something else, AM700 where it cannot be written.
    """
    place = Path(folder)
    _refuse_foreign(place)
    files = {place / name: text.encode() for name, text in _texts().items()}
    write_files(files)
    (place / "build/tools/caffe").chmod(0o755)
    return tuple(files)


def _texts() -> dict[str, str]:
    return {
        MARK: "written by `amctc compat caffe-dir`\n",
        "README.md": _README,
        "python/caffe/__init__.py": _IMPORT.format(name="amctc.compat.caffe"),
        "python/caffe/pycaffe.py": _NOTHING,
        "python/caffe/_caffe.so": "",
        "python/amct_caffe/__init__.py": _IMPORT.format(name="amctc.compat.amct_caffe"),
        "python/hotwheels/__init__.py": _IMPORT.format(name="hotwheels"),
        "build/tools/caffe": _TOOL,
        "build/lib/libcaffe.so": "",
        "src/caffe/proto/caffe.proto": merge_caffe_proto([], None, Collector()),
    }


def _refuse_foreign(folder: Path) -> None:
    try:
        there = sorted(entry.name for entry in folder.iterdir())
    except FileNotFoundError:
        return
    except OSError as failure:
        reason = (failure.strerror or "unreadable").lower()
        raise error("AM636", f"this is no folder to write into: {reason}", file=str(folder)) from None
    if there and MARK not in there:
        shown = ", ".join(f"`{name}`" for name in there[:3]) + (", …" if len(there) > 3 else "")
        help = "name a folder that does not exist, or an empty one"
        raise error("AM636", f"this folder holds other things: {shown}", file=str(folder), help=help)

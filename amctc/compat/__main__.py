"""`python -m amctc.compat SCRIPT ARGS…`: run a script that was written for Caffe and AMCT."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

USAGE = """\
usage: python -m amctc.compat SCRIPT [ARGUMENTS]

Run SCRIPT as `python SCRIPT ARGUMENTS` would, with `caffe`, `amct_caffe`, `hotwheels.amct_caffe` and `amct_pytorch`
served by amctc: neither Caffe nor AMCT needs to be there.
"""


def main(arguments: Sequence[str]) -> int:
    """Run a script as `__main__`; what it raises, and its exit status, are this program's."""
    if not arguments or arguments[0] in ("-h", "--help"):
        (sys.stdout if arguments else sys.stderr).write(USAGE)
        return 0 if arguments else 2
    script = arguments[0]
    try:
        source = Path(script).read_bytes()
    except OSError as failure:
        reason = failure.strerror or "unreadable"
        sys.stderr.write(f"python -m amctc.compat: can't open file '{script}': {reason}\n")
        return 2
    from amctc.compat.serving import serve

    serve()
    sys.argv[:] = arguments
    if not sys.flags.safe_path:
        sys.path[0] = str(Path(script).resolve().parent)
    module = ModuleType("__main__")
    vars(module).update(__file__=script, __builtins__=__builtins__, __cached__=None)
    sys.modules["__main__"] = module
    exec(compile(source, script, "exec", dont_inherit=True), vars(module))
    return 0


if __name__ == "__main__":
    # Not sys.exit: a script's atexit functions and threads end as they do without us.
    status = main(sys.argv[1:])
    if status:
        sys.exit(status)

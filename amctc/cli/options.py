"""Arguments and options that several commands take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from amctc.frontends import Reading

ModelArg = Annotated[Path, typer.Argument(help="the model: a Caffe prototxt", show_default=False)]
WeightsArg = Annotated[Path | None, typer.Argument(help="its weights: a caffemodel", show_default=False)]
PolicyOption = Annotated[Path, typer.Option("--policy", "-p", help="a .cfg policy or a JSON layer config")]
DataOption = Annotated[
    str, typer.Option("--data", "-d", help="an .npz or .npy, a folder or glob of images, .bin files")
]
PreprocessOption = Annotated[
    str | None, typer.Option("--preprocess", help="what to do with the data, e.g. resize-short=256,center-crop=227,bgr")
]
BatchOption = Annotated[int | None, typer.Option("--batch-size", min=1, help="samples a batch [default: the model's]")]
CustomProtoOption = Annotated[
    list[Path] | None,
    typer.Option("--custom-proto", help="a .proto with messages of your own layers; may be repeated"),
]
StageOption = Annotated[
    list[str] | None, typer.Option("--stage", help="a stage that the Caffe net is built for; may be repeated")
]
LevelOption = Annotated[int, typer.Option("--level", help="the level that the Caffe net is built for")]
JsonOption = Annotated[bool, typer.Option("--json", help="print JSON")]


def reading(custom_proto: Sequence[Path] | None, stage: Sequence[str] | None, level: int) -> Reading:
    """How the model is to be read, from a command's options."""
    from amctc.frontends.caffe import NetState

    return {"custom_protos": custom_proto or (), "state": NetState(level=level, stages=frozenset(stage or ()))}

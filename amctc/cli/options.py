"""Arguments and options that several commands take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from amctc.frontends import Reading
    from amctc.pipeline.instrument import Instrument

ModelArg = Annotated[
    Path,
    typer.Argument(
        help="the model: a Caffe prototxt, an ONNX model, a .pt2 program of torch, or module:function that gives a "
        "torch module",
        show_default=False,
    ),
]
WeightsArg = Annotated[
    Path | None, typer.Argument(help="its weights: a caffemodel; only for Caffe", show_default=False)
]
PolicyOption = Annotated[Path, typer.Option("--policy", "-p", help="a .cfg policy or a JSON layer config")]
DataOption = Annotated[
    str, typer.Option("--data", "-d", help="an .npz or .npy, a folder or glob of images, .bin files")
]
PreprocessOption = Annotated[
    str | None, typer.Option("--preprocess", help="what to do with the data, e.g. resize-short=256,center-crop=227,bgr")
]
BatchOption = Annotated[int | None, typer.Option("--batch-size", min=1, help="samples a batch [default: the model's]")]
MaxSamplesOption = Annotated[
    int | None, typer.Option("--max-samples", min=1, help="use at most this many samples: the first")
]
SampleSeedOption = Annotated[
    int | None, typer.Option("--sample-seed", min=0, help="choose the samples of --max-samples at random, by this seed")
]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", min=1, help="calibrate by so many processes on this machine; needs Dask")
]
SchedulerOption = Annotated[
    str | None,
    typer.Option("--scheduler", metavar="ADDRESS", help="calibrate by the Dask cluster whose scheduler is there"),
]
CheckpointOption = Annotated[
    Path | None,
    typer.Option("--checkpoint", metavar="FILE", help="keep what calibration has seen here, and go on from there"),
]
StartOverOption = Annotated[
    bool, typer.Option("--start-over", help="calibrate from the start, whatever the checkpoint holds")
]
CheckpointEveryOption = Annotated[
    float, typer.Option("--checkpoint-every", min=0, metavar="SECONDS", help="how often the checkpoint is written")
]
TargetOption = Annotated[
    str | None,
    typer.Option("--target", "-t", help="targets to write, as text: name,name{option=value,…} [default: the model's]"),
]
CustomProtoOption = Annotated[
    list[Path] | None,
    typer.Option("--custom-proto", help="a .proto with messages of your own layers; may be repeated"),
]
PluginOption = Annotated[
    list[Path] | None,
    typer.Option("--plugin", help="a Python file that registers passes, targets and more; may be repeated"),
]
StageOption = Annotated[
    list[str] | None, typer.Option("--stage", help="a stage that the Caffe net is built for; may be repeated")
]
LevelOption = Annotated[int, typer.Option("--level", help="the level that the Caffe net is built for")]
TimePassesOption = Annotated[
    bool, typer.Option("--time-passes", help="print how long each pass took and what it did, on stderr")
]
PrintBeforeOption = Annotated[
    list[str] | None,
    typer.Option("--print-ir-before", metavar="PASS", help="print the graph before this pass, or `all`, on stderr"),
]
PrintAfterOption = Annotated[
    list[str] | None,
    typer.Option("--print-ir-after", metavar="PASS", help="print the graph after this pass, or `all`, on stderr"),
]
PrintLayerOption = Annotated[
    list[str] | None,
    typer.Option("--print-ir-layer", metavar="LAYER", help="print which pass changed this layer, how and why"),
]
SaveTempsOption = Annotated[
    Path | None, typer.Option("--save-temps", help="write the graph after each pass into this folder")
]
EquivalenceOption = Annotated[
    bool,
    typer.Option("--check-equivalence", help="run the graph around each pass that is to preserve numbers, and compare"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="print JSON")]


def reading(custom_proto: Sequence[Path] | None, stage: Sequence[str] | None, level: int) -> Reading:
    """How the model is to be read, from a command's options."""
    from amctc.frontends.caffe import NetState

    return {"custom_protos": custom_proto or (), "state": NetState(level=level, stages=frozenset(stage or ()))}


def watching(
    time_passes: bool,
    print_before: Sequence[str] | None,
    print_after: Sequence[str] | None,
    print_layer: Sequence[str] | None,
    save_temps: Path | None,
    check_equivalence: bool,
) -> tuple[Instrument, ...]:
    """The instruments that a command's options ask for."""
    from amctc import instruments

    found: list[Instrument] = []
    if print_before or print_after:
        found.append(instruments.PrintIR(before=print_before or (), after=print_after or ()))
    found += [instruments.LayerHistory(name) for name in print_layer or ()]
    if save_temps is not None:
        found.append(instruments.Dumps(save_temps))
    if check_equivalence:
        found.append(instruments.CheckEquivalence())
    if time_passes:
        found.append(instruments.Timing())
    return tuple(found)

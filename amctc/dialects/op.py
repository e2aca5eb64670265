"""What a row of the op table says. The table is where an op is described; nobody else knows ops by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from amctc.ir import Node, Value
from amctc.ir.node import Shape

if TYPE_CHECKING:
    from amctc.dialects.kin import Kin
    from amctc.dialects.recurrent_grids import RecurrentGrids


class OpError(Exception):
    """A layer's own parameters, inputs or weights are wrong; the caller adds the layer and the place."""


class UnknownShape(Exception):
    """Nothing in the model says the shapes of a layer's outputs; only running it does."""


@dataclass(frozen=True)
class Arity:
    """How many inputs or outputs an op takes; `most` None means any number from `least` on."""

    least: int
    most: int | None

    def __str__(self) -> str:
        if self.most is None:
            return f"at least {self.least}"
        return str(self.least) if self.least == self.most else f"{self.least} to {self.most}"

    def allows(self, count: int) -> bool:
        return count >= self.least and (self.most is None or count <= self.most)


ONE = Arity(1, 1)


@dataclass(frozen=True)
class Window:
    """How the filters of a convolution lie over an input of [N..., channels, spatial...].

    `axis` is that of the channels. `pads` has the zeros before and behind each spatial axis. Of a transposed
    convolution they are cut off its output.
    """

    axis: int
    channels: int
    outputs: int
    group: int
    kernel: Shape
    stride: Shape
    dilation: Shape
    pads: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class LinearChannels:
    """Which weights of a linear layer go with which channel of its output and of its input.

    Channels are numbered group by group: number c of the output is number c % O of group c // O in
    [groups, O, I, everything else], and likewise for the input.
    """

    split: Callable[[Node, NDArray[np.generic]], NDArray[np.generic]]
    """The weight array as [groups, Cout / groups, Cin / groups, everything else]; a view where possible."""
    join: Callable[[Node, NDArray[np.generic]], NDArray[np.generic]]
    """The inverse: back to the array's own shape."""
    input_axis: Callable[[Node, Shape], int]
    """The axis of an input of that shape at which its channels begin. A layer that takes the axes from there on as
    one (InnerProduct) has a channel for each element of them, in their order."""


@dataclass(frozen=True)
class Linear:
    """The op is linear in its data input: weights times data, plus a bias for each output channel."""

    weight: str
    bias: str
    out_channels: Callable[[Node], int]
    """Number of output channels."""
    channel_axis: Callable[[Node, Shape], int]
    """The axis of the output channels in the output, for an output of that shape."""
    by_output_channel: Callable[[Node, NDArray[np.generic]], NDArray[np.generic]]
    """The weight array as [Cout, everything else]; a view where possible."""
    from_output_channel: Callable[[Node, NDArray[np.generic]], NDArray[np.generic]]
    """The inverse: [Cout, everything else] back to the array's own shape."""
    enable_bias: Callable[[Node], None]
    """Set the attributes so that the layer has a bias."""
    window: Callable[[Node, Shape], Window] | None = None
    """For an input of that shape; None for an op without windows: its data are rows of as many numbers as a row of the
    weights has."""
    transposed: bool = False
    """Whether the windows lie over the output, as those of a transposed convolution."""
    channels: LinearChannels | None = None
    """How the weights go with the channels of the input; None where nothing is known of that."""


@dataclass(frozen=True)
class InnerProduct:
    """One product of a weight array with an operand of the layer, plus perhaps a bias.

    `operand` is the index of a data input; the number of the node's inputs stands for the layer's own
    hidden state. `weight` and `bias` are roles.
    """

    weight: str
    bias: str | None
    operand: int
    bias_part: tuple[int, int] | None = None
    """Where this product's bias begins and ends among the elements of an array that others share; None: all of it."""


@dataclass(frozen=True)
class Recurrent:
    """The op runs over time: inner products of its inputs and of its own hidden state, and gates between them.

    Weights are [Cout, K] if `rows` says nothing else. Such a layer keeps its float inputs and quantizes inside: there
    is no value of the graph that a Quantize of the hidden state could stand on.
    """

    products: Callable[[Node], tuple[InnerProduct, ...]]
    """All of them, in the order of the weights."""
    hidden_range: tuple[float, float]
    """The hidden state lies in this range."""
    hidden_output: int | None
    """The output that has the hidden state of every step; None where no output has it."""
    quantize: Callable[[Node], None]
    """Set the attributes so that the layer computes on the integers that its annotation says."""
    is_quantized: Callable[[Node], bool]
    """Whether the attributes say that the layer computes on integers."""
    grids: Callable[[Node], RecurrentGrids]
    """On which, for a layer that does. Raises `OpError` where what it says does not fit its inner products."""
    rows: Callable[[NDArray[np.generic]], NDArray[np.generic]] = lambda weight: weight
    """A weight array as [Cout, K]; a view."""
    from_rows: Callable[[NDArray[np.generic]], NDArray[np.generic]] = lambda rows: rows
    """The inverse."""
    initial: Callable[[Node], Value | NDArray[np.float32] | None] = lambda node: None
    """What the hidden state is before the first step, where calibration is to see that too; None: zeros."""


@dataclass(frozen=True)
class Affine:
    """At inference the op is y = a*x + b with one a and one b a channel, which is axis 1 if `axis` says nothing else.

    `coefficients(node, channels)` gives (a, b) as float64 vectors, or the reason (a sentence) why
    this node is not such a map (another axis, a second input, statistics of the batch).
    """

    coefficients: Callable[[Node, int], tuple[NDArray[np.float64], NDArray[np.float64]] | str]
    become: Callable[[Node, NDArray[np.float32], NDArray[np.float32]], None] | None = None
    """Turn the node into its dialect's layer of such a map, with this a and this b for each channel of axis 1."""
    axis: Callable[[Node], int] = lambda node: 1
    """The axis of the channels, where the layout of the data is not the usual one."""


@dataclass(frozen=True)
class Bounded:
    """The op is a ReLU that stops at an upper bound."""

    bound: Callable[[Node], float | str]
    """The bound, or the reason (a sentence) why this node is not such a function."""
    become: Callable[[Node], None]
    """Turn the node into its dialect's ReLU, which has no bound."""


@dataclass(frozen=True)
class BatchStatistics:
    """The op normalizes by a running mean and variance, or by those of its own input, and can renew the first by these.

    The running ones are the weights `mean`, `variance` and `factor`.
    """

    uses_batch: Callable[[Node], bool]
    """Whether the node takes mean and variance from its own input."""
    use_batch: Callable[[Node], None]
    """Set the attributes so that it does."""
    fraction: Callable[[Node], float | None]
    """How much of the running statistics is left when a batch is added; None where the node does not say."""
    updated: Callable[[Node, NDArray[np.float32], float], Mapping[str, NDArray[np.float32]]]
    """`updated(node, x, fraction)`: these weights after one forward pass in training, on input x of [samples,
    channels, ...], by role. The node stays as it is; weights that it lacks begin with zeros. `ValueError` where x has
    another number of channels."""


@dataclass(frozen=True)
class Reshaping:
    """The output holds the elements of the only input, in their order, under the shape that `infer` gives."""

    become: Callable[[Node, tuple[int, ...]], None]
    """Turn the node into its dialect's reshape: a size for each axis, 0 for that of the input, -1 for what is left."""


@dataclass(frozen=True)
class Permuting:
    """The output is the only input with its axes in another order."""

    order: Callable[[Node, int], tuple[int, ...]]
    """Which axis of the input each axis of the output is, for an input of so many axes."""
    become: Callable[[Node, tuple[int, ...]], None]
    """Turn the node into its dialect's permutation in that order."""


@dataclass(frozen=True)
class Likeness:
    """The op computes what another dialect's op does, and is run as that.

    `op` is the usual one; `kin` gives the very layer for a node, and raises `NoKin` or `OpError` (see
    `amctc.dialects.kin`).
    """

    op: str
    kin: Callable[[Node], Kin]


@dataclass(frozen=True)
class Quantizable:
    """How a layer of this type may be quantized (seed 001, appendix: supported layers)."""

    on_by_default: bool
    weights: bool = False
    channel_wise: bool = False
    """Whether the weights may have a scale for each output channel."""
    data_inputs: Callable[[Node], tuple[int, ...]] | None = None
    """Which inputs carry data; None means all of them."""


@dataclass(frozen=True)
class OpDef:
    """One op.

    `infer(node, shapes)` gives the output shapes for the given input shapes (where the data decide, the
    most they can be), and raises `OpError` when the parameters are wrong and `UnknownShape` where it
    cannot be said. `weight_shapes(node, shapes)` gives the shape of every weight the
    layer must have, by role, in the order of the format's blobs.
    """

    name: str
    summary: str
    inputs: Arity
    outputs: Arity
    infer: Callable[[Node, tuple[Shape, ...]], tuple[Shape, ...]]
    weight_shapes: Callable[[Node, tuple[Shape, ...]], Mapping[str, Shape]] = lambda node, shapes: {}
    parameter: str | None = None
    """The field of the source format's layer message that holds the op's own parameters."""
    quantizable: Quantizable | None = None
    linear: Linear | None = None
    recurrent: Recurrent | None = None
    affine: Affine | None = None
    addend: Callable[[Node], NDArray[np.generic] | None] = lambda node: None
    """The constant that the op adds to its only input, where that is all it does."""
    statistics: BatchStatistics | None = None
    homogeneous: Callable[[Node], bool] | None = None
    """Whether this node is positively homogeneous: its input times s > 0 gives its output times s. For an op with one
    input that looks at each element alone (`activation`, `identity`) or at each channel."""
    channel_axis: Callable[[Node], int] = lambda node: 1
    """The axis of these channels in its input and output."""
    bounded: Bounded | None = None
    reshaping: Reshaping | None = None
    permuting: Permuting | None = None
    source: bool = False
    """An input of the graph."""
    free_shape: Callable[[Node], Shape | None] = lambda node: None
    """The shape that an input declares if it leaves axes free, which are 0 here; None where all are said."""
    activation: bool = False
    training_only: bool = False
    """A loss or a score of it: left out of a model that is to be deployed."""
    in_place_differs: Callable[[Node], bool] = lambda node: False
    """Whether this node works in place, and would give other numbers with a top of its own."""
    identity: bool = False
    """At inference the output equals the input (Dropout, Split)."""
    changes_nothing: Callable[[Node, tuple[Shape, ...]], bool] = lambda node, shapes: False
    """Whether the first output equals the first input, for inputs of these shapes; may raise as `infer` does."""
    swallows: bool = False
    """Only reads its inputs, so that they count as read (Silence)."""
    effect: bool = False
    """Does, or may do, something besides its outputs: writes a file, watches a value, is somebody else's code."""
    moves_data: bool = False
    """The outputs together hold exactly the elements of the inputs, each once (Concat, Reshape): no arithmetic."""
    dtypes: Callable[[Node], tuple[str, ...]] | None = None
    """Element types of the outputs; None means float32."""
    variant: Callable[[Node], OpDef | None] = lambda node: None
    """The row that describes a node of this op which the row itself does not fit; None where it does."""
    aliases: Callable[[Node], tuple[str, ...]] = lambda node: ()
    """Other names of the layer's type that a policy may use, such as torch's."""
    clamps: Callable[[Node], tuple[float, float] | None] = lambda node: None
    """The bounds between which the op holds its only input, where that is all it does."""
    keeps_grid: Callable[[Node], bool] = lambda node: False
    """Whether each element of the outputs is one of an input's elements, or 0: what lies on a grid stays on it."""
    likeness: Likeness | None = None
    """Which layer of another dialect the op is like."""
    integer: bool = False
    """It quantizes, or computes on what is quantized: a model that has it is no float model."""
    notes: str = ""

    @property
    def dialect(self) -> str:
        return self.name.partition(".")[0]

    @property
    def type(self) -> str:
        return self.name.partition(".")[2]

    def data_inputs(self, node: Node) -> tuple[int, ...]:
        """Indices of the inputs that are quantized when the layer is."""
        if self.quantizable is not None and self.quantizable.data_inputs is not None:
            return self.quantizable.data_inputs(node)
        return tuple(range(len(node.inputs)))

    def output_dtypes(self, node: Node) -> tuple[str, ...]:
        return self.dtypes(node) if self.dtypes is not None else ("float32",) * len(node.outputs)

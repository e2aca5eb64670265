"""One row a layer: whether it is quantized, how, and because of which rule."""

from __future__ import annotations

from dataclasses import dataclass

from amctc.diagnostics import error
from amctc.policy.resolved import GaveWay, InputConfig, KvLayerConfig, LayerConfig, Lost, ResolvedPolicy, Rule
from amctc.policy.said import nearest
from amctc.policy.settings import IFMR_NAME
from amctc.policy.tensors import TENSOR

LAYER_HEAD = ("layer", "type", "quantized", "weights", "scale", "data", "because of")

_NEVER = "its type is never quantized"
_NOT_NAMED = "not named"


@dataclass(frozen=True)
class LayerRow:
    """One layer in short.

    `reason` says why it is not quantized, and is None for a layer that is. `weights`, `weight_bits`
    and `scale` (`channel`: one for each output channel, `layer`: one for all) are None for a layer
    without weights; of a policy of KV-cache quantization `scale` and `data` are about the layer's output.
    `data_bits` is empty for one that is not quantized at all; a skipped layer has what it
    would get. `rule` gave the layer its config, or left it out; `location` is its `file:line`, or
    None for what no file says. `lost` are the other rules about this layer, `gave_way` the widths that its rule asks
    for and its type cannot have.
    """

    layer: str
    type: str
    quantized: bool
    reason: str | None
    weights: str | None
    weight_bits: int | None
    scale: str | None
    data: tuple[str, ...]
    data_bits: tuple[int, ...]
    rule: str
    location: str | None
    lost: tuple[Lost, ...] = ()
    gave_way: tuple[GaveWay, ...] = ()

    @property
    def rule_text(self) -> str:
        return f"{self.rule} ({self.location})" if self.location is not None else self.rule

    @property
    def cells(self) -> tuple[str, ...]:
        """What a table with `LAYER_HEAD` shows."""
        if not self.quantized:
            reason = (self.reason or "").partition(",")[0]
            return (self.layer, self.type, f"no: {reason}", "", "", "", self.rule_text)
        weights = f"{self.weights.removesuffix('_quantize')} {self.weight_bits}" if self.weights is not None else ""
        named = zip(self.data, self.data_bits, strict=True)
        pairs = [str(bits) if algorithm == IFMR_NAME else f"{algorithm} {bits}" for algorithm, bits in named]
        data = pairs[0] if len(set(pairs)) == 1 else ", ".join(pairs)
        return (self.layer, self.type, "yes", weights, self.scale or "", data, self.rule_text)

    @property
    def story(self) -> tuple[str, ...]:
        """In sentences: whether it is quantized, and the rules that lost."""
        end = "is quantized" if self.quantized else f"is not quantized: {self.reason}"
        return (f"`{self.layer}` {end}", *map(str, self.lost), *map(str, self.gave_way))


def explain_layers(resolved: ResolvedPolicy, layer: str | None = None) -> list[LayerRow]:
    """The row of every layer of the graph in graph order, or that of one layer.

    Raises `DiagnosticError` AM220 for a layer that the graph lacks.
    """
    if layer is None:
        names = resolved.types or {name: config.type for name, config in resolved.layers.items()}
        return [_row(resolved, name, kind) for name, kind in names.items()]
    kind = resolved.types.get(layer)
    if kind is None:
        raise error("AM220", f"the model has no layer `{layer[:200]}`", help=nearest(layer, resolved.types))
    return [_row(resolved, layer, kind)]


def layer_row_to_json(row: LayerRow) -> dict[str, object]:
    """The row as plain data."""
    data = {key: value for key, value in vars(row).items() if key not in ("lost", "gave_way")}
    lost = [
        {
            "rule": entry.rule.kind,
            "location": entry.places[0],
            "winner": entry.winner.kind,
            "winner_location": entry.places[1],
        }
        for entry in row.lost
    ]
    return {**data, "data": list(row.data), "data_bits": list(row.data_bits), "lost": lost}


def _row(resolved: ResolvedPolicy, name: str, kind: str) -> LayerRow:
    if resolved.policy.kv_cache is not None:
        return _output_row(resolved.kv_cache.get(name), name, kind)
    config = resolved.layers.get(name)
    if config is None:
        return LayerRow(name, kind, False, _NEVER, None, None, None, (), (), f"built-in default of {kind}", None)
    enabled = config.quant_enable
    tensors = resolved.tensors.get(name, ())
    if tensors and not enabled.value:
        data = _data(tuple(each.input for each in tensors))
        return LayerRow(name, kind, True, None, None, None, None, *data, TENSOR, tensors[0].rule.place)
    rule = config.rule if enabled.value else enabled.rule
    weights = config.weights
    return LayerRow(
        name,
        kind,
        enabled.value,
        None if enabled.value else _reason(config, rule),
        weights.algorithm.value if weights is not None else None,
        weights.num_bits.value if weights is not None else None,
        None if weights is None else "channel" if weights.channel_wise.value else "layer",
        *_data(config.inputs),
        rule.kind,
        rule.place,
        config.lost,
        config.gave_way,
    )


def _output_row(config: KvLayerConfig | None, name: str, kind: str) -> LayerRow:
    """Of a policy of KV-cache quantization: what becomes of the layer's output."""
    if config is None:
        return LayerRow(name, kind, False, _NOT_NAMED, None, None, None, (), (), "built-in default", None)
    data, bits = _data((config.output,))
    scale = "channel" if config.per_channel else "layer"
    rule = config.rule
    return LayerRow(name, kind, True, None, None, None, scale, data, bits, rule.kind, rule.place, config.lost)


def _data(inputs: tuple[InputConfig, ...]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Algorithms and bits."""
    return tuple(entry.algorithm.value for entry in inputs), tuple(entry.num_bits.value for entry in inputs)


def _reason(config: LayerConfig, rule: Rule) -> str:
    if rule.kind in ("skip_layers", "skip_layer_types"):
        return "skipped"
    if rule.kind.startswith("json"):
        return "no entry" if rule.span is None else "`quant_enable` is false"
    # Under an exact name it would be on.
    pattern = config.rule.kind.startswith(("override_", "json"))
    return "off by default, and no pattern switches it on" if pattern else "off by default"

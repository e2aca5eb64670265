"""What the policy language has and this version does not build."""

from __future__ import annotations

from collections.abc import Iterator

from amctc.diagnostics import Diagnostic, DiagnosticError, error
from amctc.dialects.ge import GE
from amctc.policy.layer_types import NARROW_BITS, PACKED_BITS
from amctc.policy.limited import some_layers
from amctc.policy.resolved import InputConfig, LayerConfig, Resolved, ResolvedPolicy, Rule
from amctc.policy.rules import Policy
from amctc.source import Span

_NARROWEST_DATA = 8
_WIDEST_DATA = 16
_UNIFORM_BITS = 8


def not_yet_available(resolved: ResolvedPolicy) -> list[Diagnostic]:
    """One AM290 for each rule that asks for something that is not built; those that no layer follows do not count."""
    return [*_kind(resolved.policy), *_of_layers(resolved), *_of_the_whole(resolved)]


def refuse_training(policy: Policy) -> None:
    """Raise `DiagnosticError` AM290 for a policy of training: no layer would follow it."""
    found = list(_kind(policy))
    if found:
        raise DiagnosticError(*found)


def require_post_training(policy: Policy) -> None:
    """Raise `DiagnosticError` AM290 for a policy of training or of KV-cache quantization, where only layers count."""
    refuse_training(policy)
    if policy.kv_cache is not None:
        message = f"{policy.flavour.title} is not built here, where the layers themselves are quantized"
        help = "`amctc compile MODEL --policy FILE --data DATA` calibrates the outputs that it names"
        raise error("AM290", message, file=policy.source.name if policy.source is not None else None, help=help)


def _kind(policy: Policy) -> Iterator[Diagnostic]:
    if policy.flavour.kind != "qat":
        return
    yield Diagnostic(
        "AM290",
        f"{policy.flavour.title} (a policy of the flavour `{policy.flavour.name}`) is accepted by the language, "
        "but not built in this version",
        file=policy.source.name if policy.source is not None else None,
        help="write a policy of post-training quantization",
    )


def _of_layers(resolved: ResolvedPolicy) -> Iterator[Diagnostic]:
    asked: dict[tuple[str, str, int], tuple[Rule, str, list[str]]] = {}
    for config in resolved.layers.values():
        for what, rule, help in _beyond(config) if config.quant_enable.value else ():
            key = (what, rule.kind, rule.span.start if rule.span is not None else -1)
            layers = asked.setdefault(key, (rule, help, []))[2]
            if not layers or layers[-1] != config.name:
                layers.append(config.name)
    for name, tensors in resolved.tensors.items():
        for what, rule, help in filter(None, (_of_data(each.input, GE) for each in tensors)):
            asked.setdefault((what, rule.kind, rule.span.start if rule.span is not None else -1), (rule, help, [name]))
    for (what, _, _), (rule, help, names) in asked.items():
        notes = (f"it holds for {some_layers(names)}",)
        yield Diagnostic("AM290", _message(what), span=rule.span, notes=notes, help=help)


def _beyond(config: LayerConfig) -> Iterator[tuple[str, Rule, str]]:
    """What of a layer's config is not built: its name, the rule that asks for it, and what to write instead."""
    for entry in config.inputs:
        if (found := _of_data(entry, config.dialect)) is not None:
            yield found
    weights = config.weights
    if weights is not None:
        if not weights.is_clustered and weights.num_bits.value not in _bits_of(config):
            bits = weights.num_bits
            yield f"weights of {bits.value} bits", bits.rule, f"take {_UNIFORM_BITS} bits"
        if weights.asymmetric is not None and weights.asymmetric.value:
            yield "`asymmetric` of weights", weights.asymmetric.rule, "write `asymmetric: false`"
    only = config.weight_compress_only
    if only is not None and only.value:
        yield "`weight_compress_only`", only.rule, "write `weight_compress_only: false`"


def _bits_of(config: LayerConfig) -> tuple[int, ...]:
    """The bits that uniform weights may have: a Caffe file has no place for others than 8, one of GE none for 4."""
    if config.dialect == "caffe":
        return (_UNIFORM_BITS,)
    packed = () if config.dialect == GE else PACKED_BITS
    return (*packed, *NARROW_BITS, _UNIFORM_BITS)


def _of_data(entry: InputConfig, dialect: str) -> tuple[str, Rule, str] | None:
    """What of the config of data is not built: in GE, sums of wider data are taken to float by its compiler alone."""
    bits, widest = entry.num_bits, _UNIFORM_BITS if dialect == GE else _WIDEST_DATA
    if _NARROWEST_DATA <= bits.value <= widest:
        return None
    least = f"{_NARROWEST_DATA} to " if widest > _NARROWEST_DATA else ""
    return f"data of {bits.value} bits", bits.rule, f"take {least}{widest} bits"


def _of_the_whole(resolved: ResolvedPolicy) -> Iterator[Diagnostic]:
    general = resolved.general
    switches: tuple[tuple[str, Resolved[bool] | None], ...] = (
        ("joint_quant", general.joint_quant),
        ("weight_offset", general.weight_offset),
        ("enable_auto_nuq", general.enable_auto_nuq),
    )
    for name, switch in switches:
        if switch is not None and switch.value:
            yield _whole(name, switch.rule.span, f"write `{name}: false`")


def _whole(name: str, span: Span | None, help: str) -> Diagnostic:
    return Diagnostic("AM290", _message(f"`{name}`"), span=span, help=help)


def _message(what: str) -> str:
    verb = "are" if what.startswith(("data ", "weights ")) else "is"
    return f"{what} {verb} accepted by the language, but not built in this version"

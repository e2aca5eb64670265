"""Properties of the resolution: writing it out changes nothing, and the rule that wins is the one that should."""

from __future__ import annotations

import fnmatch
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from amctc.diagnostics import DiagnosticError, Level
from amctc.dialects.table import op_table
from amctc.frontends import load_model
from amctc.ir import Graph
from amctc.policy import Policy, ResolvedPolicy, resolve, to_json
from amctc.source import SourceFile
from tests.fuzz.random_nets import nets
from tests.policy.texts import small_graph


def loaded(text: str) -> Graph:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.prototxt"
        path.write_text(text, encoding="utf-8")
        return load_model(path)


@dataclass(frozen=True)
class Named:
    """An override, and the width of data by which it is known."""

    name: str
    bits: int

    def covers(self, name: str) -> bool:
        pattern = self.name.startswith("glob:")
        return fnmatch.fnmatchcase(name, self.name[5:]) if pattern else name == self.name

    def text(self, where: str) -> str:
        key = "layer_type" if where == "override_layer_types" else "layer_name"
        name = f'{key}: "{self.name}"'
        return f"{where} {{ {name} calibration_config {{ ifmr_quantize {{ num_bits: {self.bits} }} }} }}"


def quantizable(graph: Graph) -> dict[str, str]:
    """The types of the layers that can be quantized, by name."""
    rows = ((node, op_table().get(node.op)) for node in graph.nodes)
    return {node.name: node.type for node, row in rows if row is not None and row.quantizable is not None}


def patterns_over(names: list[str]) -> st.SearchStrategy[str]:
    """Names, and globs that match at least one of them."""

    def cut(name: str, start: int, end: int) -> str:
        start, end = sorted((start % (len(name) + 1), end % (len(name) + 1)))
        return f"glob:{name[:start]}*{name[end:]}"

    globs = st.builds(cut, st.sampled_from(names), st.integers(0, 99), st.integers(0, 99))
    return st.one_of(st.sampled_from(names), globs, st.just("glob:*"))


@st.composite
def overrides(draw: st.DrawFn, names: list[str], first_bits: int) -> list[Named]:
    if not names:
        return []
    found = draw(st.lists(patterns_over(names), unique=True, max_size=4))
    return [Named(name, first_bits + index) for index, name in enumerate(found)]


@dataclass(frozen=True)
class Case:
    graph: Graph
    by_name: list[Named]
    by_type: list[Named]
    skip_layers: list[str]
    skip_types: list[str]
    common: bool

    @property
    def text(self) -> str:
        lines = [named.text("override_layer_types") for named in self.by_type]
        lines += [named.text("override_layer_configs") for named in self.by_name]
        lines += [f'skip_layers: "{name}"' for name in self.skip_layers]
        lines += [f'skip_layer_types: "{name}"' for name in self.skip_types]
        lines += ["common_config { ifmr_quantize { num_bits: 16 } }"] if self.common else []
        return "\n".join(lines)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    graph = small_graph() if draw(st.booleans()) else loaded(draw(nets()))
    layers = quantizable(graph)
    assume(layers)
    names, types = list(layers), sorted(set(layers.values()))
    return Case(
        graph,
        draw(overrides(names, 8)),
        draw(overrides(types, 12)),
        draw(st.lists(patterns_over(names), unique=True, max_size=1)),
        draw(st.lists(patterns_over(types), unique=True, max_size=1)),
        draw(st.booleans()),
    )


def strongest(found: list[Named], name: str) -> Named | None:
    """The oracle: by exact name, else the last pattern."""
    exact = [named for named in found if named.name == name]
    rest = [named for named in found if named.name.startswith("glob:") and named.covers(name)]
    return exact[0] if exact else rest[-1] if rest else None


def skipped(names: list[str], name: str) -> bool:
    return any(Named(entry, 0).covers(name) for entry in names)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(cases())
def test_the_rule_that_wins_is_the_strongest(case: Case) -> None:
    try:
        resolved = resolve(Policy.from_text(SourceFile("quant.cfg", case.text)), case.graph)
    except DiagnosticError as refusal:
        assert errors_of(refusal) == {"AM224"}
        layers = quantizable(case.graph)
        assert all(
            skipped(case.skip_layers, name) or skipped(case.skip_types, kind) or not on_by_default(case, name, kind)
            for name, kind in layers.items()
        )
        return
    for name, kind in quantizable(case.graph).items():
        winner = strongest(case.by_name, name) or strongest(case.by_type, kind)
        bits = winner.bits if winner is not None else 16 if case.common else 8
        config = resolved.layers[name]
        assert all(entry.num_bits.value == bits for entry in config.inputs), name
        off = skipped(case.skip_layers, name) or skipped(case.skip_types, kind)
        assert config.quant_enable.value == (not off and on_by_default(case, name, kind)), name
        rivals = [named for named in case.by_name if named.covers(name)]
        rivals += [named for named in case.by_type if named.covers(kind)]
        lost = [
            entry for entry in config.lost if entry.rule.kind.startswith("override") and entry.winner == config.rule
        ]
        assert len(lost) >= len(rivals) - 1


def on_by_default(case: Case, name: str, kind: str) -> bool:
    """Whether a layer that is not skipped is quantized."""
    row = op_table()[f"caffe.{kind}"]
    assert row.quantizable is not None
    exact = any(named.name == name for named in case.by_name) or any(named.name == kind for named in case.by_type)
    return row.quantizable.on_by_default or exact


DATA_OF = {
    "caffe": ("ifmr_quantize { num_bits: 12 max_percentile: 0.9999 }", "ifmr_quantize { search_step: 0.03 }"),
    "pytorch": (
        "hfmg_quantize { num_of_bins: 1024 asymmetric: false }",
        "ifmr_quantize { asymmetric: false dst_type: INT16 }",
        "ifmr_quantize { search_range_start: 0.5 search_range_end: 2 }",
        "hfmg_quantize { }",
    ),
    "ge": ("ifmr_quantize { asymmetric: false }", "ifmr_quantize { min_percentile: 0.75 }"),
}
WEIGHTS_OF = {
    "caffe": (
        "arq_quantize { }",
        "snq_quantize { max_iteration: 600 init_algo: 'gaussian' }",
        "snq_quantize { channel_wise: false min_distance: 1e-4 init_algo: 'optimal' }",
    ),
    "pytorch": (
        "arq_quantize { quant_bits: 6 } dmq_balancer { }",
        "ada_quantize { num_iteration: 5 beta_range_start: 9 } dmq_balancer { migration_strength: 0.25 }",
        "ada_quantize { warm_start: 0.5 reg_param: 0.125 }",
    ),
    "ge": ("arq_quantize { quant_bits: 7 }", "weight_compress_only: true arq_quantize { asymmetric: true }"),
}
GENERAL_OF = {
    "caffe": (
        "",
        "batch_num: 7 update_bn: true bn_update_config { bn_update_iterations: 3 }",
        "update_bn: true",
        "update_bn: false bn_update_config { bn_moving_average_fraction: 0.25 }",
        "bn_update_config { bn_dump_dir: 'bn' }",
    ),
    "pytorch": ("", "batch_num: 7 fakequant_precision_mode: FORCE_FP16_QUANT"),
    "ge": ("", "joint_quant: true"),
}


@st.composite
def flavoured(draw: st.DrawFn) -> tuple[Graph, str, str]:
    """A graph, a flavour and the text of a policy of it."""
    graph = small_graph() if draw(st.booleans()) else loaded(draw(nets()))
    layers = quantizable(graph)
    assume(layers)
    flavour = draw(st.sampled_from(["caffe", "pytorch", "ge"]))
    data, weights = st.sampled_from(("", *DATA_OF[flavour])), st.sampled_from(("", *WEIGHTS_OF[flavour]))

    def config(may_weigh: bool) -> str:
        return f"{{ {draw(data)} {draw(weights) if may_weigh else ''} }}"

    lines = [draw(st.sampled_from(GENERAL_OF[flavour]))]
    if draw(st.booleans()):
        lines.append(f"activation_offset: {str(draw(st.booleans())).lower()}")
    if draw(st.booleans()):
        lines.append(f"common_config {config(True)}")
    types = sorted(set(layers.values()))
    for kind in draw(st.lists(st.sampled_from(types), unique=True, max_size=2)):
        weighs = kind in ("Convolution", "InnerProduct")
        lines.append(f'override_layer_types {{ layer_type: "{kind}" calibration_config {config(weighs)} }}')
    for name in draw(st.lists(patterns_over(list(layers)), unique=True, max_size=2)):
        weighs = layers.get(name) in ("Convolution", "InnerProduct")
        lines.append(f'override_layer_configs {{ layer_name: "{name}" calibration_config {config(weighs)} }}')
    if draw(st.booleans()):
        lines.append(f'skip_layers: "{draw(patterns_over(list(layers)))}"')
    return graph, flavour, "\n".join(lines)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(flavoured())
def test_a_policy_written_out_means_the_same_in_every_value(found: tuple[Graph, str, str]) -> None:
    graph, flavour, text = found
    try:
        resolved = resolve(Policy.from_text(SourceFile("quant.cfg", text), flavour), graph)
    except DiagnosticError as refusal:
        assert errors_of(refusal) == {"AM224"}
        return
    for stated in (flavour, None):
        again = read_again(resolved, graph, stated)
        assert again == resolved
        assert again.types == resolved.types
        assert to_json(again) == to_json(resolved) or stated is None


def errors_of(refusal: DiagnosticError) -> set[str]:
    return {found.code for found in refusal.diagnostics if found.level is Level.ERROR}


def read_again(resolved: ResolvedPolicy, graph: Graph, flavour: str | None) -> ResolvedPolicy:
    return resolve(Policy.from_text(SourceFile("config.json", to_json(resolved)), flavour), graph)

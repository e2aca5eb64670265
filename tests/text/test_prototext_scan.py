"""The shortcut for plain prototexts gives the grammar's trees, or leaves the text to the grammar."""

from __future__ import annotations

import pytest
from hypothesis import given

from amctc.source import SourceFile
from amctc.text.prototext import parse_by_grammar, parse_prototext
from amctc.text.prototext_scan import scan
from amctc.text.prototext_tree import TextMessage
from amctc.text.syntax import MAX_DEPTH
from tests.fuzz.mutations import damaged_texts
from tests.shared_files import GOLDEN, ROOT, needs_golden

PLAIN = """\
# a comment
name: "net" ; input: 'data'
layer { name: "conv" type: "Convolution" blobs_lr: 1 blobs_lr: 2.5e-1, convolution_param: < pad: -1 kernel_size: 3 > }
layer{name:"x"# here, too
  eps:1e-5 word:TRAIN big:18446744073709551615 none:nan less:-0 point:1. }
"""
ODD = (
    "name: [1, 2]",
    "a: 0x10",
    "a: 1f",
    "a: 010",
    "a: - 1",
    "a: -inf",
    "[a.b]: 1",
    'a: "x" "y"',
    "a: 'it\\'s'",
    "a: .5",
)
WRONG = (
    "a",
    "a:",
    "a: 1 2",
    "a { b: 1",
    "a: 1 }",
    "a { b: 1 >",
    "a: 1,,",
    "a: 12abc",
    'a: "x',
    "a: 1.2.3",
    ", a: 1",
    "a: 1e999",
)


def described(message: TextMessage) -> list[object]:
    """Everything in a tree, positions included, which its equality leaves out."""
    found: list[object] = [(message.span.start, message.span.end)]
    for field in message.fields:
        found.append((field.name, field.name_span.start, field.name_span.end, field.span.start, field.span.end))
        if isinstance(field.value, TextMessage):
            found.extend(described(field.value))
        else:
            found.append((field.value.kind, repr(field.value.value), field.value.span.start, field.value.span.end))
    return found


def test_a_plain_text_is_scanned() -> None:
    source = SourceFile("net.prototxt", PLAIN)
    tree = scan(source)
    assert tree is not None
    assert described(tree) == described(parse_by_grammar(source))


@pytest.mark.parametrize("text", [*ODD, *WRONG, "a { " * (MAX_DEPTH + 1) + "}" * (MAX_DEPTH + 1)])
def test_what_is_not_plain_is_left_to_the_grammar(text: str) -> None:
    assert scan(SourceFile("text", text)) is None


@needs_golden
def test_the_nets_that_caffe_ran_are_plain() -> None:
    nets = sorted((GOLDEN / "caffe/layers").glob("*.prototxt"))
    assert len(nets) > 400
    assert all(scan(SourceFile(net.name, net.read_text(encoding="utf-8"))) is not None for net in nets)


@given(
    damaged_texts(
        [PLAIN, *ODD, (ROOT / "examples/digits/policy.cfg").read_text(encoding="utf-8")],
        ["name", "{", "}", "<", ">", ":", '"a"', "'b'", "1", "-", "1.5", "#", "inf", ",", ";", "\f", "[", "]"],
    )
)
def test_a_scanned_tree_is_the_grammars(text: str) -> None:
    source = SourceFile("text", text)
    tree = scan(source)
    if tree is not None:
        assert described(tree) == described(parse_by_grammar(source))
        assert described(tree) == described(parse_prototext(source))

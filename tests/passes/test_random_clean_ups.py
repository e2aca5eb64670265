"""The float clean-ups on random nets: what the nets compute stays the same, whatever is cleaned up."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.random_nets import TYPES, fitting_feeds, nets
from tests.passes.clean_ups import check_same, measured, numbers, random_net, write_and_read

RESHAPING = ("Reshape", "Flatten", "Unsqueeze", "Permute")
MOVEMENT = (*RESHAPING, "Split", "Dropout", "Silence", "Concat", "Slice", "Tile", "Crop", "ReLU")
AFFINE = ("Scale", "Bias", "BatchNorm", "Power")
CONSTANT = ("DummyData", "Parameter", "Eltwise", "Concat", "Power", "Reshape", "Silence", "Scale")
SMOOTH = tuple(sorted({*MOVEMENT, *AFFINE, *CONSTANT, "Pooling", "Sigmoid", "TanH", "Convolution", "InnerProduct"}))
EXACT = ("remove-dead", "fold-split", "remove-identity", "fold-constants", "merge-reshape", "merge-permute")

fewer = settings(max_examples=settings().max_examples // 4)


@fewer
@given(text=st.one_of(nets(TYPES), nets(MOVEMENT, 8), nets(RESHAPING, 5), nets(CONSTANT, 8)))
def test_passes_that_only_move_data_change_not_one_bit(text: str) -> None:
    graph = random_net(text)
    wanted = measured(graph)
    for name in EXACT:
        check_same(graph, name, wanted=wanted)


@fewer
@given(text=st.one_of(nets((*AFFINE, "ReLU", "Split", "Convolution"), 8), nets(AFFINE, 5)))
def test_merged_maps_compute_what_they_computed(text: str) -> None:
    check_same(random_net(text), "merge-affine", tolerance=1e-5)


@fewer
@given(text=nets(SMOOTH, 10))
def test_the_float_pipeline_preserves_the_numbers_and_what_is_written_has_the_same_outputs(text: str) -> None:
    graph = random_net(text)
    after, _ = check_same(graph, "float", tolerance=1e-5)
    with tempfile.TemporaryDirectory() as folder:
        again = write_and_read(after, Path(folder))
    assert {value.blob for value in again.outputs} == {value.blob for value in graph.outputs}
    feeds = fitting_feeds(graph)
    wanted, found = numbers(after, feeds), numbers(again, feeds)
    assert wanted.keys() == found.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)

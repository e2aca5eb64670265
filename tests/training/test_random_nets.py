"""Random nets of every layer type, in torch as the runtime runs them, and back."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from amctc.diagnostics import DiagnosticError
from amctc.frontends import load_model
from amctc.ir import Graph
from amctc.runtime.executor import all_blobs, run_graph
from amctc.training.network import Network
from tests.fuzz.random_nets import fitting_feeds, nets
from tests.nets import write_net


@settings(max_examples=settings().max_examples // 4)
@given(nets())
def test_a_network_gives_the_runtimes_numbers_and_goes_back(text: str) -> None:
    graph = _read(text)
    feeds = fitting_feeds(graph)
    names = list(all_blobs(graph))
    network = Network(graph, phase="TEST", force_backward=True)
    try:
        expected = run_graph(graph, feeds, names)
    except DiagnosticError as told:
        # Figures that a layer cannot take: both say so.
        with pytest.raises(DiagnosticError) as caught:
            network.forward(feeds)
        assert [found.code for found in caught.value.diagnostics] == [found.code for found in told.diagnostics]
        return
    found = network.forward(feeds, blobs=names)
    for name in names:
        top = found.blobs[name].detach().numpy()
        assert top.shape == expected[name].shape, name
        np.testing.assert_allclose(top, expected[name], rtol=1e-3, atol=1e-4, err_msg=name)
    network.backward({name: np.ones(tuple(top.shape), np.float32) for name, top in found.outputs.items()})
    for parameter in network.parameters:
        gradient = parameter.tensor.grad
        assert gradient is None or gradient.shape == parameter.tensor.shape


def _read(text: str) -> Graph:
    with tempfile.TemporaryDirectory() as folder:
        model, weights = write_net(Path(folder), text)
        return load_model(model, weights if weights.stat().st_size else None, keep_training=True)

"""A model with layers that are trained with quantization, made of the user's model and made back into it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

from torch import nn

from amctc.modules.retrain_plan import PlannedLayer
from amctc.modules.trained_layer import QuantizedLayer, RetrainLayer


def with_retrain_layers(model: nn.Module, plan: Sequence[PlannedLayer], batch_num: int) -> nn.Module:
    """A copy of a model in which the planned modules are `RetrainLayer`s; the model itself is left as it is.

    A BatchNorm behind a layer is computed in the wrapper, and an Identity stands where it was.
    """
    made = copy.deepcopy(model)
    wrapped: dict[str, RetrainLayer] = {}
    for planned in plan:
        module = made.get_submodule(planned.name)
        layer = RetrainLayer(QuantizedLayer(module, planned.how, batch_num, planned.name))
        layer.train(module.training)
        if planned.leader != planned.name:
            layer.quant_module.share_range(wrapped[planned.leader].quant_module)
        if planned.batch_norm is not None:
            layer.take_batch_norm(planned.batch_norm, made.get_submodule(planned.batch_norm))
            made.set_submodule(planned.batch_norm, nn.Identity())
        made.set_submodule(planned.name, layer)
        wrapped[planned.name] = layer
    return made


def without_retrain_layers(model: nn.Module) -> nn.Module:
    """A copy of such a model as it was before, with the weights and the statistics that training gave it."""
    made = copy.deepcopy(model)
    for name, layer in retrain_layers(made).items():
        made.set_submodule(name, layer.quant_module.replaced_module)
        if layer.batch_norm_name is not None and layer.bn_module is not None:
            made.set_submodule(layer.batch_norm_name, layer.bn_module)
    return made


def retrain_layers(model: nn.Module) -> Mapping[str, RetrainLayer]:
    """The layers of a model that are trained with quantization, by their names."""
    return {name: module for name, module in model.named_modules() if isinstance(module, RetrainLayer)}

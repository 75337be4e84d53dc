"""Models of OpenVINO rewritten so that they compute the same with less work.

Guidance runs the UNet on the same latents twice, without and with the prompt. Until the first cross-attention both
halves are equal, and what is computed of the prompt alone is equal at every step: neither has to be computed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Shapes = Sequence[Sequence[int]]
LAYOUT = ("Reshape", "Transpose", "Unsqueeze", "Squeeze")
"""They move no number: they stay on the side of the layer that asks for their order, which then reads it for free."""
SPLITS = ("Split", "VariadicSplit")


def with_shapes(model: Any, shapes: Shapes) -> Any:
    """A copy whose inputs have these shapes."""
    fixed = model.clone()
    fixed.reshape(dict(enumerate(map(list, shapes))))
    return fixed


def split_gates(model: Any) -> None:
    """Compute the halves of a gated layer apart, where otherwise one product would be computed and copied apart.

    (x W + b) split along its last axis is x W_1 + b_1, x W_2 + b_2.
    """
    from openvino import opset13 as ops

    for split in (op for op in model.get_ordered_ops() if op.get_type_name() in SPLITS):
        total = split.input_value(0).get_node()
        product = total.input_value(0).get_node() if total.get_type_name() == "Add" else total
        if product.get_type_name() != "MatMul" or total is product:
            continue
        weight, bias = (node.input_value(1).get_node() for node in (product, total))
        if {weight.get_type_name(), bias.get_type_name()} != {"Constant"}:
            continue
        transposed = product.get_attributes()["transpose_b"]
        rows = weight.data if transposed else weight.data.T  # (outputs, inputs)
        start = 0
        for output in split.outputs():
            stop = start + output.get_partial_shape()[-1].get_length()
            half = ops.matmul(product.input_value(0), ops.constant(rows[start:stop].copy()), False, True)
            output.replace(ops.add(half, ops.constant(bias.data[..., start:stop].copy())).output(0))
            start = stop
    model.validate_nodes_and_infer_types()


def split_guidance(model: Any, shapes: Shapes) -> tuple[Any, Any]:
    """A UNet of open shapes as two models of fixed ones: what is computed of the prompt alone, and one step.

    shapes: of the sample (2 B, C, h, w), whose halves are equal, the timestep, and all inputs that speak of the
    prompt (2 B, ...). The first model takes the latter; the second takes the sample's first half (B, C, h, w), the
    timestep, and the first one's outputs; it gives the prediction (2 B, C, h, w).
    """
    from openvino import Model
    from openvino import opset13 as ops

    batch = shapes[0][0] // 2
    half = with_shapes(model, [[batch, *shape[1:]] if shape else [] for shape in shapes])
    whole, prompt = with_shapes(model, shapes), with_shapes(model, shapes)
    halves, wholes, prompts = (one.get_ordered_ops() for one in (half, whole, prompt))
    place = {op.get_name(): index for index, op in enumerate(wholes)}
    inputs: list[Any] = []
    results: list[Any] = []
    made: dict[tuple[int, int], Any] = {}
    for target, source, shared in _seams(whole):
        key = place[source.get_node().get_name()], source.get_index()
        if key not in made and shared:
            made[key] = _doubled(halves[key[0]].output(key[1]), source)
        elif key not in made:
            results.append(ops.result(prompts[key[0]].output(key[1])))
            inputs.append(ops.parameter(list(source.get_shape()), np.float32))
            made[key] = inputs[-1].output(0)
        target.replace_source_output(made[key])
    first, time, *_ = half.get_parameters()
    for unread in (*whole.get_parameters(), *half.get_parameters()[2:], *prompt.get_parameters()[:2]):
        _leave_only_its_shape(unread)
    return Model(results, prompt.get_parameters()[2:]), Model(whole.get_results(), [first, time, *inputs])


def _seams(whole: Any) -> list[tuple[Any, Any, bool]]:
    """The inputs of layers that read both latents and prompt, where they read what was computed of one alone.

    With each, the output that it reads, and whether that is of the latents: shared by both halves.
    """
    parameters = whole.get_parameters()
    of_latents, of_prompt = _reached(whole, parameters[:2]), _reached(whole, parameters[2:])
    of_one = of_latents ^ of_prompt
    seams = []
    for op in (op for op in whole.get_ordered_ops() if op.get_name() in of_latents & of_prompt):
        for target in op.inputs():
            source = target.get_source_output()
            while source.get_node().get_name() in of_one and source.get_node().get_type_name() in LAYOUT:
                target = source.get_node().input(0)
                source = target.get_source_output()
            if (name := source.get_node().get_name()) in of_one:
                seams.append((target, source, name in of_latents))
    return seams


def _reached(model: Any, parameters: Sequence[Any]) -> set[str]:
    """The names of all that is computed of the values of these inputs; their shapes are no values."""
    reached = {parameter.get_name() for parameter in parameters}
    for op in model.get_ordered_ops():
        sources = (one.get_source_output().get_node().get_name() for one in op.inputs())
        if op.get_type_name() != "ShapeOf" and any(source in reached for source in sources):
            reached.add(op.get_name())
    return reached


def _doubled(of_half: Any, of_whole: Any) -> Any:
    """An output of the model of one half in the shape that the whole one reads."""
    from openvino import opset13 as ops

    return of_half if of_half.get_shape() == of_whole.get_shape() else ops.concat([of_half, of_half], 0).output(0)


def _leave_only_its_shape(parameter: Any) -> None:
    """Put zeros in the place of an input of which nothing but the shape is still read."""
    from openvino import opset13 as ops

    zeros = np.zeros(list(parameter.get_output_shape(0)), np.float32)
    parameter.output(0).replace(ops.constant(zeros).output(0))

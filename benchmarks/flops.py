"""How much a network computes: two operations per multiplication and addition of its convolutions."""

from onnx import load_from_string, shape_inference

__all__ = ["count_flops"]


def count_flops(graph: bytes, size: int) -> int:
    """Floating-point operations of one picture of `size` px through a serialised ONNX graph.

    >>> from tellapart.model.backbones import open_backbone
    >>> round(count_flops(open_backbone("tf_efficientnet_lite0").graph, 224) / 1e6)
    767
    """
    model = load_from_string(graph)
    shape = model.graph.input[0].type.tensor_type.shape.dim
    for dim, value in zip(shape, (1, 3, size, size), strict=True):
        dim.dim_value = value
    inferred = shape_inference.infer_shapes(model).graph
    places = {
        info.name: [dim.dim_value for dim in info.type.tensor_type.shape.dim]
        for info in inferred.value_info
    }
    weights = {tensor.name: list(tensor.dims) for tensor in inferred.initializer}
    total = 0
    for node in inferred.node:
        if node.op_type == "Conv":
            _, channels, height, width = places[node.output[0]]
            _, inside, rows, columns = weights[node.input[1]]
            total += 2 * channels * height * width * inside * rows * columns
    return total

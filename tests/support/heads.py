"""Small ONNX models with every form of head, and models without one, for tests only.

Each gives class scores, or features, of pictures float32 [N, 3, 16, 16]. What a cut ought to find is
called `feat` [N, 12], or `map` [N, 12, 8, 8] where the head reads maps, or `tokens` [N, 17, 8].
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx

from tests.support.models import Builder, dense, pooled, trunk

Form = Callable[[Builder], str]  # adds all nodes, gives the output's name


def made(form: Form) -> onnx.ModelProto:
    """The model of a form."""
    b = Builder()
    return b.model([form(b)])


def number(b: Builder, value: float) -> str:
    return b.const(value, np.float32)


def layer_norm(b: Builder, x: str, width: int, to: str = "") -> str:
    ones, zeros = b.const(np.ones(width), np.float32), b.const(np.zeros(width), np.float32)
    return b.op("LayerNormalization", x, ones, zeros, to=to)


def batch_norm(b: Builder, x: str, width: int = 12) -> str:
    given = [b.const(np.linspace(low, 2, width), np.float32) for low in (1, -1, 0.1, 0.5)]
    return b.op("BatchNormalization", x, *given)


def pointwise(b: Builder, x: str, classes: int = 5, width: int = 12) -> str:
    return b.op("Conv", x, b.weight(classes, width, 1, 1))


def averaged(b: Builder, x: str, to: str = "") -> str:
    return b.op("Flatten", b.op("GlobalAveragePool", x), to=to)


def gelu(b: Builder, x: str) -> str:
    half = b.op("Mul", x, number(b, 0.5))
    return b.op("Mul", half, b.op("Add", b.op("Erf", x), number(b, 1)))


def tokens(b: Builder, extra: int = 1) -> str:
    """A transformer block over 16 patches and `extra` tokens before them: `tokens` [N, 17, 8]."""
    x = b.op("Conv", "picture", b.weight(8, 3, 4, 4), strides=[4, 4])
    x = b.op("Transpose", b.op("Reshape", x, b.const([0, 8, -1])), perm=[0, 2, 1])
    rows = b.op("Shape", "picture", start=0, end=1)
    shape = b.op("Concat", rows, b.const([extra, 8]), axis=0)
    x = b.op("Concat", b.op("Expand", b.weight(1, extra, 8), shape), x, axis=1)
    a = b.op("MatMul", b.op("MatMul", x, b.weight(8, 8)), b.op("Transpose", x, perm=[0, 2, 1]))
    mixed = b.op("MatMul", b.op("Softmax", a), b.op("MatMul", x, b.weight(8, 8)))
    x = b.op("Add", x, b.op("MatMul", mixed, b.weight(8, 8)))
    return layer_norm(b, x, 8, to="tokens")


def token(b: Builder, x: str, place: int, to: str = "") -> str:
    return b.op("Gather", x, b.const(place), to=to, axis=1)


# Heads whose features are `feat`


def einsum(b: Builder) -> str:
    return b.op("Einsum", pooled(b), b.weight(12, 5), equation="nd,dk->nk")


def einsum_of_keras(b: Builder) -> str:
    x = b.op("Einsum", b.weight(5, 12), pooled(b), equation="kd,...d->...k")
    return b.op("Softmax", b.op("Add", x, b.weight(5)))


def multi_sample_dropout(b: Builder) -> str:
    """One dense layer behind several dropouts, stacked and averaged as torch.stack writes it."""
    x, weights, bias = pooled(b), b.weight(12, 5), b.weight(5)
    parts = []
    for _ in range(4):
        scores = b.op("Gemm", b.op("Dropout", x), weights, bias)
        parts.append(b.op("Unsqueeze", scores, b.const([0])))
    return b.op("ReduceMean", b.op("Concat", *parts, axis=0), b.const([0]), keepdims=0)


def several_heads_averaged(b: Builder) -> str:
    x = pooled(b)
    total = b.op("Add", dense(b, batch_norm(b, x)), dense(b, batch_norm(b, x)))
    return b.op("Div", total, number(b, 2))


def probabilities_averaged(b: Builder) -> str:
    x = pooled(b)
    return b.op("Mean", *[b.op("Softmax", dense(b, x)) for _ in range(3)])


def branches_averaged(b: Builder) -> str:
    x = pooled(b)
    return b.op("Softmax", b.op("Mean", dense(b, b.op("Sin", x)), dense(b, b.op("Cos", x))))


def cosine(b: Builder) -> str:
    x = b.op("LpNormalization", pooled(b, to="raw"), to="feat", axis=1)
    weights = b.op("LpNormalization", b.weight(5, 12), axis=1)
    return b.op("Mul", b.op("MatMul", x, b.op("Transpose", weights, perm=[1, 0])), number(b, 30))


def sub_centres(b: Builder) -> str:
    x = b.op("LpNormalization", pooled(b, to="raw"), to="feat", axis=1)
    x = b.op("Reshape", b.op("MatMul", x, b.weight(12, 15)), b.const([0, 5, 3]))
    return b.op("Mul", b.op("ReduceMax", x, b.const([2]), keepdims=0), number(b, 64))


def ordinal(b: Builder) -> str:
    rank = b.op("MatMul", pooled(b), b.weight(12, 1))
    return b.op("Sigmoid", b.op("Add", rank, b.weight(4)))


def ordinal_chain(b: Builder) -> str:
    """Conditional chances, multiplied up to those of each rank (CORN)."""
    chances = b.op("Sigmoid", dense(b, pooled(b), 4))
    return b.op("Exp", b.op("CumSum", b.op("Log", chances), b.const(1)))


def projector(b: Builder) -> str:
    x = gelu(b, dense(b, pooled(b, to="early"), 24))
    return dense(b, layer_norm(b, x, 24, to="feat"), width=24)


def bottleneck_with_activation(b: Builder) -> str:
    return dense(b, b.op("Relu", dense(b, pooled(b, to="early"), 3), to="feat"), width=3)


def wide_and_deep(b: Builder) -> str:
    x = pooled(b)
    deep = dense(b, b.op("Relu", dense(b, x, 7)), width=7)
    return b.op("Softmax", b.op("Add", dense(b, x), deep))


def map_of_labels(b: Builder) -> str:
    """A thousand classes to ten: a product behind the Softmax."""
    return b.op("MatMul", b.op("Softmax", dense(b, pooled(b), 9)), b.weight(9, 4))


def order_of_labels(b: Builder) -> str:
    return b.op("Gather", dense(b, pooled(b)), b.const([4, 2, 0, 1, 3]), axis=1)


def calibrated(b: Builder) -> str:
    return b.op("Softmax", dense(b, dense(b, pooled(b)), 5, width=5))


def temperature(b: Builder) -> str:
    return b.op("LogSoftmax", b.op("Div", dense(b, pooled(b)), number(b, 1.7)))


def refined_scores(b: Builder) -> str:
    """Scores and a correction made of them."""
    x = dense(b, pooled(b))
    return b.op("Softmax", b.op("Add", x, dense(b, b.op("Relu", x), width=5)))


def heads_side_by_side(b: Builder) -> str:
    x = pooled(b)
    return b.op("Concat", b.op("Softmax", dense(b, x)), b.op("Sigmoid", dense(b, x, 3)), axis=1)


def flat_map(b: Builder) -> str:
    x = b.op("Flatten", trunk(b), to="feat")
    return dense(b, x, width=12 * 64)


def pointwise_on_a_vector(b: Builder) -> str:
    x = b.op("GlobalAveragePool", trunk(b), to="feat")
    return b.op("Flatten", pointwise(b, x))


def attention_pooling(b: Builder) -> str:
    x = tokens(b)
    keys = b.op("Transpose", b.op("MatMul", x, b.weight(8, 8)), perm=[0, 2, 1])
    weights = b.op("Softmax", b.op("MatMul", b.weight(1, 1, 8), keys))
    mixed = b.op("MatMul", weights, b.op("MatMul", x, b.weight(8, 8)))
    x = b.op("Squeeze", mixed, b.const([1]))
    x = b.op("Add", x, b.op("MatMul", gelu(b, b.op("MatMul", x, b.weight(8, 16))), b.weight(16, 8)))
    return dense(b, layer_norm(b, x, 8, to="feat"), width=8)


def class_token_beside_mean(b: Builder) -> str:
    x = tokens(b, 5)
    patches = b.op("Slice", x, b.const([5]), b.const([99]), b.const([1]))
    mean = b.op("ReduceMean", patches, b.const([1]), keepdims=0)
    return dense(b, b.op("Concat", token(b, x, 0), mean, to="feat", axis=1), width=16)


FEATURES: dict[str, Form] = {
    form.__name__: form
    for form in (
        einsum,
        einsum_of_keras,
        multi_sample_dropout,
        several_heads_averaged,
        probabilities_averaged,
        branches_averaged,
        cosine,
        sub_centres,
        ordinal,
        ordinal_chain,
        projector,
        bottleneck_with_activation,
        wide_and_deep,
        map_of_labels,
        order_of_labels,
        calibrated,
        temperature,
        refined_scores,
        heads_side_by_side,
        flat_map,
        pointwise_on_a_vector,
        attention_pooling,
        class_token_beside_mean,
    )
}

# Heads that read maps: their features are `map`, averaged


def attention_map(b: Builder) -> str:
    """Scores of every place, weighed by an attention of every place."""
    x = trunk(b)
    gate = b.op("Sigmoid", pointwise(b, x))
    scores = b.op("Mul", gate, pointwise(b, x))
    return b.op("Sigmoid", b.op("ReduceSum", scores, b.const([2, 3]), keepdims=0))


def softmax_attention_map(b: Builder) -> str:
    """The same, the attention a distribution over places, joined by a product."""
    x = b.op("Reshape", trunk(b), b.const([0, 12, -1]))
    x = b.op("Transpose", x, perm=[0, 2, 1])
    gate = b.op("Softmax", b.op("MatMul", x, b.weight(12, 1)), axis=1)
    scores = b.op(
        "MatMul", b.op("Transpose", gate, perm=[0, 2, 1]), b.op("MatMul", x, b.weight(12, 5))
    )
    return b.op("Softmax", b.op("Squeeze", scores, b.const([1])))


def convolution_of_three_pixels(b: Builder) -> str:
    x = b.op("Conv", trunk(b), b.weight(5, 12, 3, 3), pads=[1] * 4)
    return b.op("Softmax", averaged(b, x))


def most_telling_place(b: Builder) -> str:
    x = b.op("Transpose", b.op("Reshape", trunk(b), b.const([0, 12, -1])), perm=[0, 2, 1])
    scores = b.op("MatMul", x, b.weight(12, 5))
    return b.op("Sigmoid", b.op("ReduceMax", scores, b.const([1]), keepdims=0))


def residual_attention(b: Builder) -> str:
    """CSRA: the mean of the scores, and their mean weighed by themselves."""
    scores = b.op("Reshape", pointwise(b, trunk(b)), b.const([0, 5, -1]))
    mean = b.op("ReduceMean", scores, b.const([2]), keepdims=0)
    weighed = b.op("Mul", scores, b.op("Softmax", scores, axis=2))
    most = b.op("ReduceSum", weighed, b.const([2]), keepdims=0)
    return b.op("Sigmoid", b.op("Add", mean, most))


MAPS: dict[str, Form] = {
    form.__name__: form
    for form in (
        attention_map,
        softmax_attention_map,
        convolution_of_three_pixels,
        most_telling_place,
        residual_attention,
    )
}

# Heads that read several vectors, put side by side: their places


def two_tokens(b: Builder) -> str:
    """DeiT: a head on the class token and one on the distillation token."""
    x = tokens(b, 2)
    heads = [dense(b, token(b, x, i, to=f"token{i}"), width=8) for i in range(2)]
    return b.op("Div", b.op("Add", *heads), number(b, 2))


def average_and_maximum(b: Builder) -> str:
    x = trunk(b)
    mean = b.op("Flatten", b.op("GlobalAveragePool", x), to="token0")
    most = b.op("Flatten", b.op("GlobalMaxPool", x), to="token1")
    return b.op("Softmax", b.op("Add", dense(b, mean), dense(b, most)))


VECTORS: dict[str, Form] = {form.__name__: form for form in (two_tokens, average_and_maximum)}

# Models that end in features: the output itself


def residual_block(b: Builder) -> str:
    x = trunk(b)
    more = b.op(
        "Conv",
        b.op("Relu", b.op("Conv", x, b.weight(12, 12, 3, 3), pads=[1] * 4)),
        b.weight(12, 12, 1, 1),
    )
    return averaged(b, b.op("Relu", b.op("Add", x, more)))


def residual_block_that_projects(b: Builder) -> str:
    x = trunk(b)
    more = b.op("Conv", b.op("Relu", pointwise(b, x, 6)), b.weight(16, 6, 1, 1))
    return averaged(b, b.op("Relu", b.op("Add", pointwise(b, x, 16), more)))


def mobile_net(b: Builder) -> str:
    """A pointwise convolution with a smooth activation, then the average."""
    x = pointwise(b, trunk(b), 32)
    return averaged(b, b.op("Mul", x, b.op("Sigmoid", x)))


def mobile_net_hidden_layer(b: Builder) -> str:
    x = b.op("GlobalAveragePool", trunk(b))
    return b.op("Flatten", b.op("HardSwish", pointwise(b, x, 32)))


def class_token(b: Builder) -> str:
    return token(b, tokens(b), 0)


def mean_token(b: Builder) -> str:
    return b.op("ReduceMean", tokens(b), b.const([1]), keepdims=0)


def unit_length(b: Builder) -> str:
    return b.op("LpNormalization", dense(b, pooled(b), 6), axis=1)


def power_mean(b: Builder) -> str:
    """GeM pooling."""
    x = b.op("Pow", b.op("Clip", trunk(b), number(b, 1e-6)), number(b, 3))
    x = b.op("Pow", b.op("GlobalAveragePool", x), number(b, 1 / 3))
    return b.op("Flatten", x)


def recurrent(b: Builder) -> str:
    x = b.op("Transpose", b.op("Reshape", trunk(b), b.const([0, 12, -1])), perm=[2, 0, 1])
    b.op("GRU", x, b.weight(1, 18, 12), b.weight(1, 18, 6), to="all", outputs=2, hidden_size=6)
    return b.op("Squeeze", "all_1", b.const([0]))


HEADLESS: dict[str, Form] = {
    form.__name__: form
    for form in (
        residual_block,
        residual_block_that_projects,
        mobile_net,
        mobile_net_hidden_layer,
        class_token,
        mean_token,
        unit_length,
        power_mean,
        recurrent,
    )
}

# Models that could be either: what comes into question is listed


def scores_of_prototypes(b: Builder) -> str:
    """Distances to seven prototypes: a head without any layer."""
    x = b.op("Unsqueeze", pooled(b), b.const([1]))
    apart = b.op("Sub", x, b.weight(1, 7, 12))
    far = b.op("ReduceSum", b.op("Mul", apart, apart), b.const([2]), keepdims=0)
    return b.op("Neg", far)


def named_as_features(b: Builder) -> str:
    return b.op("Identity", dense(b, pooled(b)), to="features")


def activated(b: Builder) -> str:
    return b.op("Relu", dense(b, pooled(b)))


def normalised(b: Builder) -> str:
    return batch_norm(b, dense(b, pooled(b)), 5)


def gated(b: Builder) -> str:
    x = pooled(b)
    return b.op("Mul", dense(b, x), b.op("Sigmoid", dense(b, x)))


def linear_maps_in_a_row(b: Builder) -> str:
    return dense(b, dense(b, pooled(b), 4), width=4)


def pooled_scores(b: Builder) -> str:
    return averaged(b, pointwise(b, trunk(b)))


def convolved_scores(b: Builder) -> str:
    return averaged(b, b.op("Conv", trunk(b), b.weight(5, 12, 3, 3)))


def map_of_chances(b: Builder) -> str:
    return dense(b, b.op("Sigmoid", dense(b, pooled(b))), width=5)


def refined_vector(b: Builder) -> str:
    x = dense(b, pooled(b))
    return b.op("Add", x, dense(b, b.op("Relu", x), width=5))


def class_token_beside_places(b: Builder) -> str:
    """VOLO: the class token's scores, and the best of all places'."""
    x = tokens(b)
    places = b.op(
        "MatMul", b.op("Slice", x, b.const([1]), b.const([99]), b.const([1])), b.weight(8, 5)
    )
    most = b.op("ReduceMax", places, b.const([1]), keepdims=0)
    return b.op("Add", dense(b, token(b, x, 0), width=8), most)


def channels_reduced(b: Builder) -> str:
    return b.op(
        "ReduceMax", b.op("Reshape", pooled(b), b.const([0, 4, 3])), b.const([2]), keepdims=0
    )


UNCLEAR: dict[str, Form] = {
    form.__name__: form
    for form in (
        scores_of_prototypes,
        named_as_features,
        activated,
        normalised,
        gated,
        linear_maps_in_a_row,
        pooled_scores,
        convolved_scores,
        map_of_chances,
        refined_vector,
        class_token_beside_places,
        channels_reduced,
    )
}

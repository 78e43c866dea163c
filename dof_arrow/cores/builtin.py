"""The built-in core `builtin:scattering-1`: a wavelet scattering network, as an ONNX graph.

Nothing is downloaded and nothing was trained: every number in the graph follows from the constants
below. A picture x passes through oriented wavelets psi and a modulus, at most twice, and a
low-pass phi averages what is left:

    S0 = x * phi      S1 = |x * psi| * phi      S2 = ||x * psi| * psi'| * phi

where psi' is coarser than psi.

S. Mallat, "Group invariant scattering", Comm. Pure Appl. Math. 65 (2012); J. Bruna and S. Mallat,
"Invariant scattering convolution networks", IEEE TPAMI 35 (2013). As in a fast wavelet transform,
one small filter bank serves every octave: the coarser wavelet is the same filter on a picture of
half the size.

Filter taps are multiples of 2^-20 (wavelets), 2^-6 (low-pass) and 2^-2 (colour), so that the bytes
of the graph do not depend on any libm, numpy or processor. The modulus is sqrt(re^2 + im^2) with no
epsilon: it is exact at zero.
"""

from __future__ import annotations

import json
import math
import operator
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dof_arrow.cores import made_before
from dof_arrow.cores.core import Core
from dof_arrow.cores.core_file import DESCRIPTION
from dof_arrow.cores.graph import model as graph
from dof_arrow.cores.graph import runtime
from dof_arrow.cores.origins import by_digest, efficientnet_lite
from dof_arrow.cores.origins.resolve import is_elsewhere
from dof_arrow.errors import UsageError
from dof_arrow.format.spec import json_model
from dof_arrow.format.spec.metadata import Preprocessing, TensorSpec
from dof_arrow.format.spec.preprocessing import Fit

if TYPE_CHECKING:
    from onnx import ModelProto

SCATTERING_1 = "builtin:scattering-1"
CAUTION = (
    "builtin:scattering-1 is for trying out, not for sharing patients' pictures. It reveals the "
    "picture: a linear map rebuilt 89% of the variance of chest radiographs' 32 x 32 thumbnails, "
    "52% of photographs'. And it sees little: it told ten kinds of photograph apart in about 45% "
    "of cases where MobileNetV2 did in 62%."
)

SIDE = 32
PREPROCESSING = Preprocessing(mode="RGB", fit="squash", resize=(SIDE, SIDE), scale=1 / 255)

OCTAVES = 2
MAP_SIDE = SIDE >> OCTAVES
GRID = 4
POOLS = ("4x4", "2x2", "1x1", "8x8")
ORIENTATIONS = 4

# The Morlet wavelet of Bruna and Mallat. It has 7 x 7 taps, three and a half sigma.
FREQUENCY = 3 * math.pi / 4  # radians a pixel
SIGMA = 0.85  # pixels
RADIUS = 3
TAPS_A_UNIT = 1 << 20

# After Burt and Adelson, "The Laplacian pyramid as a compact image code" (1983), but of even
# length: so the maps of a mirrored picture are the mirrored maps.
BINOMIAL = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64

# Luma and two chromas: Malvar and Sullivan, "YCoCg-R" (JVT-I014, 2003).
YCOCG = np.array([[1, 2, 1], [2, 0, -2], [-1, 2, -1]]) / 4

_FIXED = {"preprocess", "at", "size", "grey", "decode", "name", "license"}

Taps = npt.NDArray[np.float64]


def resolve(core: str | os.PathLike[str], **options: Any) -> Core:
    """The core that an argument names: `builtin`, `builtin:scattering-1`, or any other model.

    Other models are found by `origins.resolve.find`. A core made of a model that is no file of the
    user's is kept in the cache, where `find_cores` finds it by its digest; one made of a file is
    kept too, so that it is not made twice (`made_before`). `options` are those of
    `load` or of `Core.load`. Raises UsageError for options that the built-in core does not have.

    >>> resolve("builtin").output_shape
    (688,)
    """
    name = str(core)
    if name.partition(":")[0] != "builtin":
        if not is_elsewhere(name):
            return made_before.load(core, **options)
        if name == efficientnet_lite.NAME:
            made = made_before.load_starter(**options)
        else:
            made = Core.load(core, **options)
        by_digest.keep(made.data)
        return made
    given = {key: value for key, value in options.items() if value is not None}
    fixed = sorted(given.keys() & _FIXED)
    if fixed:
        raise UsageError(
            "the built-in core is cut and carries its preprocessing, name and licence",
            name,
            found=", ".join(f"--{key}" for key in fixed),
            hint=f"Leave out --{' and --'.join(fixed)}.",
        )
    return load(SCATTERING_1 if name == "builtin" else name, **given)


def load(
    name: str = SCATTERING_1,
    *,
    threads: int = 1,
    provider: str = runtime.CPU,
    pool: str | None = None,
    fit: Fit | None = None,
) -> Core:
    """A built-in core, ready to run: features float32 [n, 43 K^2], K = 4 unless `pool` says `KxK`.

    Raises UsageError for an unknown name or pooling.

    >>> load(pool="2x2").output_shape
    (172,)
    """
    if name != SCATTERING_1:
        raise UsageError(
            "no such built-in core", expected=SCATTERING_1, found=name, hint=f"Try {SCATTERING_1}."
        )
    data = graph.to_bytes(build(pool=pool))
    return Core.from_bytes(
        data, name=name, preprocess=PREPROCESSING, fit=fit, threads=threads, provider=provider
    )


def build(*, pool: str | None = None) -> ModelProto:
    """The network as an ONNX model.

    It takes `input` float32 [N, 3, 32, 32], RGB from 0 to 1, and gives `feature` float32
    [N, 43 K^2]. Each of the 43 maps is averaged over K x K cells, which stand together, row by
    row. The maps are, of the luma: S0, S1 coarse (4 orientations), S1 fine (4), S2 (16, the finer
    wavelet's orientation first); of the two chromas: S0 (2), S1 coarse (8), S1 fine (8). Raises
    UsageError for a `pool` that does not divide the maps evenly.

    >>> build(pool="2x2").graph.output[0].name
    'feature'
    """
    import onnx

    grid = _grid(pool)
    model = onnx.ModelProto(ir_version=8, producer_name="dof-arrow")
    model.opset_import.add(domain="", version=graph.OPSET)
    model.graph.name = "scattering-1"
    shape = ["N", 3, SIDE, SIDE]
    picture = onnx.helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, shape)
    model.graph.input.append(picture)
    network = _Network(model)
    luma, chroma = network.colours("input")
    paths = [*network.scatter(luma, order=2), *network.scatter(chroma, order=1)]
    width = grid * grid * sum(maps.channels for maps in paths)
    graph.rename_tensor(model, network.averages(paths, grid), "feature")
    graph.set_output(model, "feature", ["N", width])
    graph.set_properties(model, {DESCRIPTION: json.dumps(_about(grid), sort_keys=True)})
    return model


def wavelets() -> Taps:
    """The filter bank before rounding, float64 [2, ORIENTATIONS, 7, 7]: real, then imaginary."""
    bank = [_morlet(math.pi * turn / ORIENTATIONS) for turn in range(ORIENTATIONS)]
    return np.array(bank).swapaxes(0, 1)


def rounded(bank: Taps) -> Taps:
    """The filter bank as it stands in the graph: multiples of 2^-20.

    Each filter's centre tap makes it sum to zero.
    """
    steps = np.rint(bank * TAPS_A_UNIT)
    steps[..., RADIUS, RADIUS] -= steps.sum(axis=(-2, -1))
    return steps / TAPS_A_UNIT + 0.0  # the sign of a zero, which depends on the libm, becomes plus


def _morlet(angle: float) -> tuple[Taps, Taps]:
    """Real and imaginary part of g(u) (exp(i FREQUENCY u) - beta).

    g has unit sum, and beta makes the sum of the whole zero.
    """
    side = range(-RADIUS, RADIUS + 1)
    window = []
    real = []
    imaginary = []
    for y in side:
        for x in side:
            phase = FREQUENCY * (math.cos(angle) * x + math.sin(angle) * y)
            window.append(math.exp(-(x * x + y * y) / (2 * SIGMA * SIGMA)))
            real.append(math.cos(phase))
            imaginary.append(math.sin(phase))
    # Sums without rounding error, in whatever order.
    mass = math.fsum(window)
    beta = math.fsum(map(operator.mul, window, real)) / mass
    envelope = np.array(window) / mass
    shape = (len(side), len(side))
    even = envelope * (np.array(real) - beta)
    odd = envelope * np.array(imaginary)
    return even.reshape(shape), odd.reshape(shape)


@dataclass(frozen=True, slots=True)
class _Maps:
    """A tensor [N, channels, side, side] of the network in the making."""

    name: str
    channels: int
    side: int


class _Network:
    """Writes the nodes of a scattering network into a model."""

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        side = 2 * RADIUS + 1
        self.wavelets = self.constant("wavelets", rounded(wavelets()).reshape(-1, 1, side, side))
        self.low_pass = self.constant("low_pass", BINOMIAL[None, None])

    def colours(self, picture: str) -> tuple[_Maps, _Maps]:
        """Luma and chroma of an RGB picture [N, 3, SIDE, SIDE]."""
        luma = self.mixed(picture, "luma", YCOCG[:1])
        chroma = self.mixed(picture, "chroma", YCOCG[1:])
        return luma, chroma

    def mixed(self, picture: str, name: str, rows: Taps) -> _Maps:
        """Sums of the colours of each pixel, one map for each of `rows`."""
        colours = self.constant(name, rows[:, :, None, None])
        return _Maps(self.node("Conv", picture, colours), len(rows), SIDE)

    def scatter(self, maps: _Maps, order: int, octaves: int = OCTAVES) -> list[_Maps]:
        """What paths of at most `order` wavelets over the next `octaves` make of `maps`.

        Each path ends low-passed.
        """
        if octaves == 0:
            return [maps]
        paths = self.scatter(self.halved(maps), order, octaves - 1)
        if order:
            paths += self.scatter(self.halved(self.modulus(maps)), order - 1, octaves - 1)
        return paths

    def modulus(self, maps: _Maps) -> _Maps:
        """|x * psi| for every channel x and orientation: [N, channels ORIENTATIONS, side, side]."""
        waves = self.convolved(maps, self.wavelets, margin=RADIUS)
        pairs = self.reshaped(waves, 2, ORIENTATIONS, maps.side, maps.side)
        lengths = self.node("ReduceL2", pairs, self.integers("axis", 1), keepdims=0)
        channels = maps.channels * ORIENTATIONS
        return _Maps(self.reshaped(lengths, channels, maps.side, maps.side), channels, maps.side)

    def halved(self, maps: _Maps) -> _Maps:
        """Low-passed, and every other pixel kept."""
        smooth = self.convolved(maps, self.low_pass, margin=1, strides=[2, 2])
        side = maps.side // 2
        return _Maps(self.reshaped(smooth, maps.channels, side, side), maps.channels, side)

    def convolved(self, maps: _Maps, filters: str, margin: int, **attributes: Any) -> str:
        """Every channel by itself with every filter, the picture reflected at its edges."""
        alone = self.reshaped(maps.name, 1, maps.side, maps.side)
        pads = self.integers("pads", 0, 0, margin, margin, 0, 0, margin, margin)
        padded = self.node("Pad", alone, pads, mode="reflect")
        return self.node("Conv", padded, filters, **attributes)

    def averages(self, paths: list[_Maps], grid: int) -> str:
        """All paths side by side, averaged over grid x grid cells, as vectors."""
        cell = [MAP_SIDE // grid] * 2
        stacked = self.node("Concat", *(maps.name for maps in paths), axis=1)
        averaged = self.node("AveragePool", stacked, kernel_shape=cell, strides=cell)
        return self.node("Flatten", averaged)

    def reshaped(self, name: str, *row: int) -> str:
        return self.node("Reshape", name, self.integers("shape", -1, *row))

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        return graph.add_node(self.model, operator, *inputs, **attributes)

    def constant(self, name: str, values: Taps) -> str:
        return graph.add_constant(self.model, values.astype(np.float32), name)

    def integers(self, name: str, *values: int) -> str:
        return graph.add_constant(self.model, np.array(values, np.int64), name)


def _about(grid: int) -> dict[str, json_model.Json]:
    """The core's description, as `headless` writes it; loading adds the preprocessing."""
    tensor = TensorSpec(name="input", shape=("N", 3, SIDE, SIDE), dtype="float32")
    return {
        "name": "scattering-1",
        "source": SCATTERING_1,
        "license": "Apache-2.0",
        "opset": graph.OPSET,
        "pool": f"{grid}x{grid}",
        "input": json_model.to_json(tensor),
    }


def _grid(pool: str | None) -> int:
    """Cells a side: whatever divides the maps evenly; `none` keeps the maps."""
    if pool is None:
        return GRID
    sides = {}
    for side in range(1, MAP_SIDE + 1):
        if MAP_SIDE % side == 0:
            sides[f"{side}x{side}"] = side
    sides["none"] = MAP_SIDE
    if pool not in sides:
        raise UsageError(
            "the built-in core cannot be pooled so",
            expected=", ".join(sides),
            found=pool,
            hint="Try --pool 2x2.",
        )
    return sides[pool]

"""The text of the graph that is a preprocessing: resize, crop or pad, arrange, scale.

SPEC section 4.4. Every step is made of a declaration, and says what it names for the next one.
"""

from __future__ import annotations

from dof_arrow.format.spec.metadata import Preprocessing
from dof_arrow.format.spec.preprocessing import channel_count, output_size, resize_box

MOST_IN_FLOAT = 1 << 21  # pixels of the larger of the stored and the resized picture
ONNX_TYPES = {"float32": "float", "float16": "float16", "uint8": "uint8"}


def graph_text(spec: Preprocessing) -> str:
    """The graph in ONNX's textual form; steps that a declaration leaves out are Identity."""
    held = 1 if spec.mode == "L" else "channels"
    given = f"uint8[height, width, {held}] picture"
    made = f"{_output_type(spec)} input"
    steps = [_START, _resize(spec), _pad(spec), _colour(spec), _arrange(spec), _normalise(spec)]
    head = '<ir_version: 8, opset_import: ["" : 18], producer_name: "dof-arrow">'
    return f"{head}\npreprocessing ({given}) => ({made}) {{{''.join(steps)}}}"


def _output_type(spec: Preprocessing) -> str:
    height, width = output_size(spec) or ("height", "width")
    channels = channel_count(spec)
    axes: tuple[int | str, ...] = (height, width, channels)
    if spec.layout == "NCHW":
        axes = (channels, height, width)
    return f"{ONNX_TYPES[spec.dtype]}[1, {', '.join(map(str, axes))}]"


_START = """
    zero = Constant <value_ints = [0]> ()
    one = Constant <value_ints = [1]> ()
    two = Constant <value_ints = [2]> ()
    three = Constant <value_ints = [3]> ()
    batch = Unsqueeze (picture, zero)
    planes = Transpose <perm = [0, 3, 1, 2]> (batch)
    stored = Shape <start = 0, end = 2> (picture)
    held = Shape <start = 2, end = 3> (picture)
"""

# The rule of `resized_size`: [h, w] of the picture, scaled to cover the box or to lie in it.
_SCALE_TO_BOX = """
    swapped = Constant <value_ints = [1, 0]> ()
    stored_across = Gather (stored, swapped)
    box_across = Gather (box, swapped)
    product = Mul (stored, box_across)
    other = Div (product, stored_across)
"""
_FIT = {
    "crop": _SCALE_TO_BOX + "    {size} = Max (box, other)\n",
    "pad": _SCALE_TO_BOX + "    inside = Min (box, other)\n    {size} = Max (inside, one)\n",
    "squash": "    {size} = Identity (box)\n",
}

# A picture of the final size is resized to its own size, which changes nothing.
_AS_IS = """
    is_side_final = Equal (stored, final)
    sides_final = Cast <to = 7> (is_side_final)
    both_final = ReduceMin (sides_final)
    is_final = Cast <to = 9> (both_final)
    size = Where (is_final, stored, fitted)
"""

# The part that is kept, from [top, left] to [bottom, right]: all, or by torchvision's rule
# (size - crop) / 2, halves rounded to even.
_WHOLE = """
    start = Constant <value_ints = [0, 0]> ()
    stop = Identity (size)
"""
_CENTRE_CROP = """
    excess = Sub (size, frame)
    excess_float = Cast <to = 1> (excess)
    half_of_it = Constant <value = float[1] {0.5}> ()
    middle = Mul (excess_float, half_of_it)
    rounded = Round (middle)
    start = Cast <to = 7> (rounded)
    stop = Add (start, frame)
"""

# An odd row or column goes below or to the right.
_PAD = """
    missing = Sub (frame, size)
    before = Div (missing, two)
    after = Sub (missing, before)
    pads = Concat <axis = 0> (before, after)
    padded_sides = Constant <value_ints = [2, 3]> ()
    framed = Pad (kept, pads, fill, padded_sides)
"""

# Sizes stand outside the branches: onnx 1.23 refuses a Resize whose sizes are put together in one.
_SIZES = """
    all_sizes = Concat <axis = 0> (one, held, size)
    old_height, old_width = Split <num_outputs = 2> (stored)
    new_height, new_width = Split <num_outputs = 2> (size)
    top, left = Split <num_outputs = 2> (start)
    bottom, right = Split <num_outputs = 2> (stop)
    kept_width = Sub (right, left)
    row_sizes = Concat <axis = 0> (one, held, old_height, new_width)
    column_sizes = Concat <axis = 0> (one, held, new_height, kept_width)
    larger = Max (stored, size)
    area = ReduceProd <keepdims = 0> (larger)
    most = Constant <value_int = {most}> ()
    is_large = Greater (area, most)
"""
# The sides of a large picture are resized by one operator, in uint8, which rounds twice as well.
_LARGE = """
            resized = Resize <{how}> (planes, , , all_sizes)
            sides = Constant <value_ints = [2, 3]> ()
            kept_of_large = Slice (resized, start, stop, sides)
"""
# What the crop drops of a row is dropped before the columns are resized. QuantizeLinear bounds
# values to 0 and 255, and rounds halves to even: divided by 1 - 2^-20, they go up.
_SMALL = """
            almost_one = Constant <value = float {{0.99999905}}> ()
            black = Constant <value = uint8 {{0}}> ()
            {rows}
            {columns}
            kept_of_small = Identity (columns)
"""
_ALONG = """
            {name}_levels = Cast <to = 1> ({pixels})
            {name}_resized = Resize <{how}> ({name}_levels, , , {sizes})
            {name}_cut = Slice ({name}_resized, {start}, {stop}, {axis})
            {name} = QuantizeLinear ({name}_cut, almost_one, black)
"""


def _resize(spec: Preprocessing) -> str:
    """`kept` uint8 [1, c, h, w], resized and cropped, and `size` [h, w], which it had between."""
    if not spec.resize:
        return "    size = Identity (stored)\n    kept = Identity (planes)\n"
    how = f'mode = "{spec.interpolation}", antialias = 1, exclude_outside = 1'
    how += ', coordinate_transformation_mode = "half_pixel"'
    if spec.interpolation == "cubic":
        how += ", cubic_coeff_a = -0.5"
    is_cropped = spec.crop and spec.fit != "pad"
    kept = "uint8[1, held, kept_height, kept_width]"
    return f"""
    box = Constant <value_ints = {list(resize_box(spec))}> ()
    {_size(spec)}
    {_frame(spec)}
    {_CENTRE_CROP if is_cropped else _WHOLE}
    {_SIZES.format(most=MOST_IN_FLOAT)}
    kept = If (is_large) <
        then_branch = large () => ({kept} kept_of_large) {{{_LARGE.format(how=how)}}},
        else_branch = small () => ({kept} kept_of_small) {{{_small(how)}}}
    >
"""


def _frame(spec: Preprocessing) -> str:
    return f"frame = Constant <value_ints = {list(spec.crop)}> ()" if spec.crop else ""


def _small(how: str) -> str:
    """`kept_of_small`: the rows resized and cut, then the columns, with whole levels after each."""
    rows = {
        "name": "rows",
        "pixels": "planes",
        "sizes": "row_sizes",
        "start": "left",
        "stop": "right",
        "axis": "three",
    }
    columns = {
        "name": "columns",
        "pixels": "rows",
        "sizes": "column_sizes",
        "start": "top",
        "stop": "bottom",
        "axis": "two",
    }
    return _SMALL.format(
        rows=_ALONG.format(how=how, **rows), columns=_ALONG.format(how=how, **columns)
    )


def _size(spec: Preprocessing) -> str:
    """`size` [h, w] after the resize."""
    if not spec.as_is:
        return _FIT[spec.fit].format(size="size")
    final = f"    final = Constant <value_ints = {list(output_size(spec) or ())}> ()"
    return _FIT[spec.fit].format(size="fitted") + final + _AS_IS


def _pad(spec: Preprocessing) -> str:
    """`framed` uint8 [1, c, height, width]: padded around the centre where that is asked for."""
    if not spec.crop or spec.fit != "pad":
        return "    framed = Identity (kept)\n"
    return f"    fill = Constant <value = uint8 {{{spec.fill}}}> (){_PAD}"


def _colour(spec: Preprocessing) -> str:
    """`coloured` uint8 [1, c, height, width]: what is one channel stands for all three."""
    if spec.mode == "L":
        return "    coloured = Identity (framed)\n"
    return """
    in_colour = Constant <value_ints = [1, 3, 1, 1]> ()
    coloured = Expand (framed, in_colour)
"""


def _arrange(spec: Preprocessing) -> str:
    """`arranged` uint8: channels in the core's order, axes in its layout."""
    steps = "    ordered = Identity (coloured)\n"
    if spec.channels == "BGR":
        steps = """
    blue_first = Constant <value_ints = [2, 1, 0]> ()
    ordered = Gather <axis = 1> (coloured, blue_first)
"""
    if spec.layout == "NCHW":
        return steps + "    arranged = Identity (ordered)\n"
    return steps + "    arranged = Transpose <perm = [0, 2, 3, 1]> (ordered)\n"


def _normalise(spec: Preprocessing) -> str:
    """`input` = (arranged * scale - mean) / std in float32, then in the core's element type."""
    if spec.dtype == "uint8":
        return "    input = Identity (arranged)\n"
    scale = () if spec.scale == 1 else (spec.scale,)
    last = "Cast <to = 10> (normal)" if spec.dtype == "float16" else "Identity (normal)"
    return f"""
    pixels = Cast <to = 1> (arranged)
    {_per_channel(spec, "scaled", "Mul", "pixels", scale)}
    {_per_channel(spec, "centred", "Sub", "scaled", spec.mean)}
    {_per_channel(spec, "normal", "Div", "centred", spec.std)}
    input = {last}
"""


def _per_channel(
    spec: Preprocessing, name: str, operator: str, value: str, numbers: tuple[float, ...]
) -> str:
    """`name` made of `value` with one number for all channels, or one for each, or none."""
    if not numbers:
        return f"{name} = Identity ({value})"
    shape = [1, len(numbers), 1, 1] if spec.layout == "NCHW" else [1, 1, 1, len(numbers)]
    literal = ", ".join(repr(float(number)) for number in numbers)
    return f"""by_{name} = Constant <value = float{shape} {{{literal}}}> ()
    {name} = {operator} ({value}, by_{name})"""

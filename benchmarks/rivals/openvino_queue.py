"""Features of a folder of pictures as Parquet: OpenVINO's queue of asynchronous requests.

python openvino_queue.py PICTURES CORE.onnx OUT.parquet
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import openvino
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

folder, model, out = sys.argv[1:]
network = openvino.Core().read_model(model)
network.reshape([1, 3, 224, 224])
compiled = openvino.compile_model(network, "CPU", {"PERFORMANCE_HINT": "THROUGHPUT"})
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


def prepared(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        pixels = picture.convert("RGB")
    scale = 256 / min(pixels.size)
    width, height = (round(side * scale) for side in pixels.size)
    left, top = (width - 224) // 2, (height - 224) // 2
    pixels = pixels.resize((width, height), Image.Resampling.BILINEAR)
    pixels = pixels.crop((left, top, left + 224, top + 224))
    return ((np.asarray(pixels, np.float32) / 255 - MEAN) / STD).transpose(2, 0, 1)[None]


paths = sorted(Path(folder).iterdir())
rows = np.empty((len(paths), *compiled.output(0).partial_shape.to_shape()[1:]), np.float32)


def take(request: openvino.InferRequest, number: int) -> None:
    rows[number] = request.get_output_tensor().data[0]


queue = openvino.AsyncInferQueue(compiled)
queue.set_callback(take)
with ThreadPoolExecutor() as pool:
    for number, ready in enumerate(pool.map(prepared, paths)):
        queue.start_async({0: ready}, number)
queue.wait_all()
feature = pa.FixedSizeListArray.from_arrays(rows.reshape(-1), rows.shape[1])
names = [path.name for path in paths]
pq.write_table(pa.table({"id": names, "feature": feature}), out)

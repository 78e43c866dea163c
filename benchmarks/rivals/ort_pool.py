"""Features of a folder of pictures as Parquet: a thread pool, ONNX Runtime, Pillow's resize.

python ort_pool.py PICTURES CORE.onnx OUT.parquet [reduced] [cubic]
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

folder, model, out, *how = sys.argv[1:]
filter_ = Image.Resampling.BICUBIC if "cubic" in how else Image.Resampling.BILINEAR
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(model, options)
name = session.get_inputs()[0].name
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


def features(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        if "reduced" in how:
            picture.draft("RGB", (256, 256))
        pixels = picture.convert("RGB")
    scale = 256 / min(pixels.size)
    width, height = (round(side * scale) for side in pixels.size)
    left, top = (width - 224) // 2, (height - 224) // 2
    pixels = pixels.resize((width, height), filter_)
    pixels = pixels.crop((left, top, left + 224, top + 224))
    taken = (np.asarray(pixels, np.float32) / 255 - MEAN) / STD
    return session.run(None, {name: taken.transpose(2, 0, 1)[None]})[0][0]


paths = sorted(Path(folder).iterdir())
with ThreadPoolExecutor() as pool:
    rows = np.stack(list(pool.map(features, paths)))
feature = pa.FixedSizeListArray.from_arrays(rows.reshape(-1), rows.shape[1])
names = [path.name for path in paths]
pq.write_table(pa.table({"id": names, "feature": feature}), out)

"""Features of the frames of a folder of clips as Parquet: a thread pool, PyAV, ONNX Runtime.

python av_pool.py CLIPS CORE.onnx OUT.parquet
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

folder, model, out = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(model, options)
name = session.get_inputs()[0].name
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


def prepared(pixels: Image.Image) -> np.ndarray:
    scale = 256 / min(pixels.size)
    width, height = (round(side * scale) for side in pixels.size)
    left, top = (width - 224) // 2, (height - 224) // 2
    pixels = pixels.resize((width, height), Image.Resampling.BILINEAR)
    pixels = pixels.crop((left, top, left + 224, top + 224))
    return ((np.asarray(pixels, np.float32) / 255 - MEAN) / STD).transpose(2, 0, 1)[None]


def features(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        container.streams.video[0].thread_count = 1
        rows = []
        for frame in container.decode(video=0):
            rows.append(session.run(None, {name: prepared(frame.to_image())})[0][0])
    return np.stack(rows)


paths = sorted(Path(folder).iterdir())
with ThreadPoolExecutor() as pool:
    clips = list(pool.map(features, paths))
rows = np.concatenate(clips)
feature = pa.FixedSizeListArray.from_arrays(rows.reshape(-1), rows.shape[1])
names = [path.name for path, clip in zip(paths, clips, strict=True) for _ in clip]
pq.write_table(pa.table({"clip": names, "feature": feature}), out)

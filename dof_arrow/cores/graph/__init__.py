"""An ONNX model as a value, and the runtime that runs it."""

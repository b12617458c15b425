"""Read model files without a runtime: what they are, and whether they break a rule that no honest file breaks.

Only the structure is read, in bounded time and memory, because the file may be hostile. Needs no numpy, no onnx.
"""

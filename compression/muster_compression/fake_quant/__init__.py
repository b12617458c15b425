"""Integer arithmetic imitated in floating point, so that a training feels it.

In scope: where a runtime rounds (inputs of convolutions, products, sums; weights with their batch normalisation folded
in), straight-through gradients, ranges. Not in scope: the integer model itself: weights go back into the plain float
module, and the quantizer of the deployed format (``onnx-static-int8``, ``tflite-static-int8``) makes it later.
"""

"""The model that demonstrations and tests use: a CNN on scikit-learn's handwritten digits, upscaled to 64 x 64.

Upscaling makes the model slow enough to be worth compressing: a 64 x 64 input costs milliseconds where the
8 x 8 original costs microseconds.
"""

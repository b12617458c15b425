"""The model that demonstrations and tests use: a CNN on scikit-learn's handwritten digits, upscaled to 80 x 80.

Upscaling makes the model slow enough to be worth compressing: a 80 x 80 input costs milliseconds where the
8 x 8 original costs microseconds.
"""

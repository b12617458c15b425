"""Where models come from: ONNX and TFLite files as they are, torch modules through an export."""

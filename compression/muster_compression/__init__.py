"""From one model to many variants: import, compress, judge.

In scope: sources (ONNX, TFLite, torch), the canonical signature, recipes and passes, evaluation and golden sets,
manifests; usable alone, without any fleet, through ``muster-compress``.
Not in scope: devices (the host only estimates; devices decide), storing or signing what comes out.

The functions that other packages call (``import_model``, ``variant_of``, ``run_recipe``) are light: they start a child
process that does the work, because a model file is hostile input and because torch and onnx are heavy.
"""

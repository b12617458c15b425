"""How a model is run and measured on the machine at hand.

In scope: runtime adapters (ONNX Runtime, LiteRT), the face that gives every variant the same inputs and outputs, the
throw-away child process and its protocol, the timed loop and its statistics, accuracy on labelled samples, the
self-test on golden inputs, the check of model files that may be hostile.

Not in scope: choosing between results, storing them, sensors and pre-flight readings (``muster_devices``), training
and compression. Modules on the parent's side (``measure``, ``check``, ``probe_runtimes``, ``spawn``, ``converse``,
``binding``, ``sketch``, ``tiers``) import neither numpy nor a runtime.
"""

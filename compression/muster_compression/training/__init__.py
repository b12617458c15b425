"""The one training loop: every pass that trains uses ``fit``.

In scope: seeded batches, optimizer, schedule, augmentation, the task's loss, checkpoints that resume exactly,
divergence, progress with the time left, outputs and score of a module.
Not in scope: what is trained for (teachers, masks, fake quantization): that comes as ``loss`` and ``after_step``.

``settings`` and ``divergence`` import no torch, so that recipes are checked without it.
"""

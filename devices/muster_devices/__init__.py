"""What a device is and can do: profiles, facts, sensors, pre-flight readings, emulation, taking turns.

In scope: static facts of device classes (``profiles``), what this device is (``facts``, ``probe``), how it is just now
(``pressure``, ``thermal``, ``preflight``, ``sensors``), making a host pass for a smaller device (``emulation``) and
letting the emulated devices of one host measure one after the other (``turn``). Besides, what every process of ours
wants of its system: files that last (``durable``), ``failpoint``, ``descriptors``, ``oom`` and ``http_patience``.
Not in scope: running models, and which runtimes work (``muster_bench``).

Every reader takes the root folder of the tree that it reads, so that recorded trees and chroots work. What cannot be
read is None with a reason, never 0.
"""

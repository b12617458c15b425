"""The ladder inside your own process: it falls back under load and climbs up again by itself.

python examples/05_serve_in_app.py     # on a device that a rollout of digits has reached
"""

import numpy as np

import muster
from muster_compression.dataset.splits import ONLY_INPUT
from muster_compression.digits.data import digits


def main() -> None:
    test = digits().test
    assert test is not None
    images, labels = test.inputs[ONLY_INPUT], np.asarray(test.labels)
    with muster.Serving("digits") as serving:
        answers = [int(np.argmax(np.asarray(serving(image[None])))) for image in images]
        print(f"{np.mean(answers == labels):.1%} of {len(labels)} digits right, answered by {serving.active_variant}")


if __name__ == "__main__":
    main()

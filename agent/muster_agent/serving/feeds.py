"""An app's arrays as canonical inputs, checked before they queue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from muster_agent.serving.errors import RequestError
from muster_agent.serving.tensors import Array, check_complete, check_tensor, datatype
from muster_protos.model import Signature


def feeds_of(signature: Signature, inputs: Any) -> dict[str, Array]:
    """One array for a model of one input, else a mapping by name.

    Raises:
        RequestError: names, dtypes or shapes are not the signature's; nothing is converted silently.
    """
    if isinstance(inputs, Mapping):
        named = {str(name): np.asarray(array) for name, array in inputs.items()}
    elif len(signature.inputs) == 1:
        named = {signature.inputs[0].name: np.asarray(inputs)}
    else:
        names = ", ".join(spec.name for spec in signature.inputs)
        raise RequestError(f"expected a mapping with the inputs {names}, found one {type(inputs).__name__}")
    for name, array in named.items():
        spec = next((spec for spec in signature.inputs if spec.name == name), None)
        kind = datatype(spec) if spec is not None and array.dtype == np.dtype(spec.dtype) else array.dtype.name
        check_tensor(signature, name, kind, array.shape)
    check_complete(signature, named)
    return named

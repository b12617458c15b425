"""One run through a module, with a hand on every call into torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

from muster_compression.fake_quant.operators import ATTENTION_INPUTS, ATTENTION_WEIGHTS, Kind, kind_of_call

if TYPE_CHECKING:
    from muster_compression.fake_quant.module import FakeQuantized


class Walk(TorchFunctionMode):
    """Rounds what a runtime would round.

    A place is named by the weight that was read last and a number behind it, so that a branch which only a training
    takes does not shift the others. ``is_finding`` makes a place of whatever comes by, and rounds nothing.
    """

    def __init__(self, owner: FakeQuantized, is_finding: bool = False) -> None:
        super().__init__()
        self._owner = owner
        self._is_finding = is_finding
        self._names = {id(parameter): name for name, parameter in owner.inner.named_parameters()}
        self._last = "start"
        self._counts: Counter[str] = Counter()

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """The call with rounded arguments. Inside, the mode is off: what a call calls itself is not looked at."""
        del types
        given, named = list(args), kwargs or {}
        match kind_of_call(func):
            case Kind.WEIGHTED:
                self._weighted(given, 0)
            case Kind.TRANSPOSED:
                self._weighted(given, 1)
            case Kind.ATTENTION:
                self._attention(given)
            case Kind.OPERANDS:
                given = [self._activation(item) for item in given]
            case Kind.IN_PLACE:
                self._in_place(given)
            case Kind.LIST if given and isinstance(given[0], (list, tuple)):
                given[0] = [self._activation(item) for item in given[0]]
            case Kind.INPUT if given:
                given[0] = self._activation(given[0])
            case _:
                pass
        return func(*given, **named)

    def _weighted(self, given: list[Any], axis: int) -> None:
        if len(given) > 1 and _is_float(given[1]):
            given[1] = self._weight(given[1], axis)
            given[0] = self._activation(given[0])

    def _attention(self, given: list[Any]) -> None:
        """Inside of it only weights and inputs are rounded. Equal inputs stay the same object: it asks for that."""
        known: dict[int, Any] = {}
        for index in ATTENTION_INPUTS:
            original = given[index]
            if id(original) not in known:
                known[id(original)] = self._activation(original)
            given[index] = known[id(original)]
        for index in ATTENTION_WEIGHTS:
            if index < len(given) and _is_float(given[index]):
                given[index] = self._weight(given[index], 0)

    def _in_place(self, given: list[Any]) -> None:
        """The tensor itself takes its rounded values, then the operation changes it."""
        rounded = [self._activation(item) for item in given]
        given[1:] = rounded[1:]
        if rounded[0] is not given[0]:
            given[0].copy_(rounded[0])

    def _weight(self, weight: Tensor, axis: int) -> Tensor:
        name = self._names.get(id(weight), "")
        self._last = self._numbered(name or "computed weight")
        if not self._is_finding:
            return self._owner.rounded_weight(weight, axis)
        if name:
            self._owner.weights[name] = axis
        self._owner.products += 1
        return weight

    def _activation(self, values: Any) -> Any:
        if not _is_float(values) or values.dim() == 0:
            return values
        place = self._numbered(f"{self._last} >")
        if self._is_finding:
            self._owner.add_range(place)
            return values
        return self._owner.rounded(place, values)

    def _numbered(self, name: str) -> str:
        self._counts[name] += 1
        return f"{name} {self._counts[name]}"


def _is_float(value: object) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()

"""What a model is judged by, as ``Signature.metric`` names it.

``accuracy``, ``auc``, ``r2`` (more is better), ``mae``, ``mse``, ``rmse`` (less is better), or a user's own function:
``user:<function>``, and ``user:<function>:min`` where less is better. What a version does not know has no value there.
"""

from __future__ import annotations

BUILT_IN = ("accuracy", "auc", "mae", "mse", "rmse", "r2")
_ERRORS = frozenset(("mae", "mse", "rmse"))
_REGRESSION = frozenset(("mae", "mse", "rmse", "r2"))
_SHARES = frozenset(("accuracy", "auc"))
_USER, _LESS = "user:", ":min"


def user_metric(function: str, higher_is_better: bool) -> str:
    """The name of a user's own metric."""
    return f"{_USER}{function}{'' if higher_is_better else _LESS}"


def is_user_metric(name: str) -> bool:
    """A function of the user's, which only the host that has it can compute."""
    return name.startswith(_USER)


def is_error_metric(name: str) -> bool:
    """Less is better."""
    return name in _ERRORS or (is_user_metric(name) and name.endswith(_LESS))


def is_regression_metric(name: str) -> bool:
    """The outputs are values, no class scores."""
    return name in _REGRESSION


def is_share(name: str) -> bool:
    """Between 0 and 1, and 1 is perfect."""
    return name in _SHARES

import pytest

from muster_protos import errors
from muster_protos.errors import MusterError, PermanentError, TemporaryError, UnreachableError

_TREE = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, MusterError)]


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.MusterError, 1),
        (errors.InvalidInputError, 1),
        (errors.CodecError, 1),
        (errors.UsageError, 2),
        (errors.ConflictError, 1),
        (errors.MissingExtraError, 3),
        (errors.NotFoundError, 4),
        (errors.NotAuthorisedError, 5),
        (errors.UnreachableError, 6),
        (errors.InfeasibleError, 7),
    ],
)
def test_exit_codes_are_a_promise(kind, code):
    assert kind.exit_code == code


@pytest.mark.parametrize("kind", _TREE, ids=lambda kind: kind.__name__)
def test_every_leaf_says_whether_trying_again_helps(kind):
    assert kind is MusterError or issubclass(kind, TemporaryError) is not issubclass(kind, PermanentError)


def test_codes_of_the_shell_are_not_taken_and_that_of_usage_has_one_owner():
    assert not {kind.exit_code for kind in _TREE} & {0, 8, 9, 130}
    assert [kind for kind in _TREE if kind.exit_code == 2] == [errors.UsageError]


def test_what_was_typed_wrong_keeps_its_message():
    with pytest.raises(errors.UsageError, match="expected a device id"), errors.as_usage():
        errors_of_input()
    with pytest.raises(errors.NotFoundError), errors.as_usage():
        raise errors.NotFoundError("not there")


def errors_of_input() -> None:
    raise errors.InvalidInputError("expected a device id")


def test_a_temporary_error_may_say_when():
    assert UnreachableError("no answer", 2.5).retry_after_s == 2.5
    assert TemporaryError("busy").retry_after_s is None
    assert str(TemporaryError("busy")) == "busy"

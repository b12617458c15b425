import numpy as np
import pytest

from muster_bench.errors import SelfTestError
from muster_bench.face import Face, identity_binding
from muster_bench.golden import self_test
from muster_bench.testing import FunctionSession
from muster_protos.model import Signature, TensorSpec

SIGNATURE = Signature((TensorSpec("x", "float32", (-1, 2)),), (TensorSpec("y", "float32", (-1, 2)),))


def face(function):
    session = FunctionSession(SIGNATURE.inputs, SIGNATURE.outputs, lambda feeds: {"y": function(feeds["x"])})
    return Face(session, SIGNATURE, identity_binding(SIGNATURE, session.inputs, session.outputs))


@pytest.fixture
def golden(tmp_path):
    x = np.random.default_rng(1).random((4, 2)).astype(np.float32)
    np.savez(tmp_path / "golden.npz", in_x=x, out_y=x * 2)
    return tmp_path / "golden.npz"


def test_the_same_outputs_pass_with_their_distance(golden):
    assert self_test(face(lambda x: x * 2), golden, 0.0) == 0.0
    assert self_test(face(lambda x: x * 2 + 0.001), golden, 0.01) == pytest.approx(0.001, rel=1e-2)


def test_other_outputs_fail_with_the_figures(golden):
    with pytest.raises(SelfTestError, match=r"output 'y' differs from its golden values by 0.5, allowed are 0.1"):
        self_test(face(lambda x: x * 2 + 0.5), golden, 0.1)


def test_rounding_passes_and_nonsense_fails_without_a_tolerance(golden):
    self_test(face(lambda x: x * 2.001), golden, None)
    with pytest.raises(SelfTestError, match="differs"):
        self_test(face(lambda x: x), golden, None)


def test_nan_fails_whatever_the_tolerance(golden):
    with pytest.raises(SelfTestError, match="NaN"):
        self_test(face(lambda x: x * np.float32("nan")), golden, 1e9)

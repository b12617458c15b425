from hypothesis import given
from hypothesis import strategies as st

from muster_protos.envelope import DESIRED_STATE, VARIANT_MANIFEST, signed_bytes

_TYPES = st.text("abcdefghijklmnopqrstuvwxyzABC.0123456789", min_size=1, max_size=40)


@given(_TYPES, st.binary(), _TYPES, st.binary())
def test_no_two_envelopes_sign_the_same_bytes(type_a, payload_a, type_b, payload_b):
    same = signed_bytes(type_a, payload_a) == signed_bytes(type_b, payload_b)
    assert same == ((type_a, payload_a) == (type_b, payload_b))


def test_a_manifest_never_passes_for_a_desired_state():
    assert signed_bytes(DESIRED_STATE, b"x") != signed_bytes(VARIANT_MANIFEST, b"x")
    assert signed_bytes(DESIRED_STATE, b"x") == b"muster-v1\0muster.v1.DesiredState\0x"

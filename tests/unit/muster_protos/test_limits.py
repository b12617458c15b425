import pytest

from muster_protos.errors import InvalidInputError
from muster_protos.limits import CHUNK_BYTES, FRAMING_BYTES, MAX_AGENT_MESSAGE_BYTES, check_size


def test_a_chunk_with_its_framing_fits_into_a_message():
    assert CHUNK_BYTES + FRAMING_BYTES < MAX_AGENT_MESSAGE_BYTES


def test_what_is_too_large_is_refused_with_both_sizes():
    check_size(10, 10, "report")
    with pytest.raises(InvalidInputError, match="expected a report of at most 10 bytes, found 11"):
        check_size(11, 10, "report")

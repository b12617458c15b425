import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster_bench.errors import HostileArtifactError
from muster_bench.files.onnx_reader import read_onnx
from muster_bench.files.protobuf_wire import LENGTH, VARINT, integers, signed, walk


@given(st.binary(max_size=300))
def test_any_bytes_are_walked_or_refused(content):
    for read in (lambda view: list(walk(view)), read_onnx):
        try:
            read(memoryview(content))
        except HostileArtifactError:
            continue


def test_fields_come_with_number_type_and_value():
    fields = list(walk(memoryview(b"\x08\x96\x01\x12\x02hi\x1d\x01\x00\x00\x00")))
    assert [(number, kind) for number, kind, _ in fields] == [(1, VARINT), (2, LENGTH), (3, 5)]
    assert fields[0][2] == 150
    assert bytes(fields[1][2]) == b"hi"


@pytest.mark.parametrize("content", [b"\x12\x05hi", b"\x08", b"\x08" + b"\xff" * 11, b"\x0b", b"\x00\x00", b"\x0d\x01"])
def test_cut_off_and_malformed_messages_are_refused(content):
    with pytest.raises(HostileArtifactError):
        list(walk(memoryview(content)))


def test_negative_numbers_and_packed_lists_are_read():
    assert signed(2**64 - 4) == -4
    assert integers(memoryview(b"\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")) == [1, -1]
    assert integers(7) == [7]

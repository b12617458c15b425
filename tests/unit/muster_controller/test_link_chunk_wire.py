from hypothesis import example, given
from hypothesis import strategies as st

from muster_controller.adapters.link_grpc.chunk_wire import encode_chunk
from muster_protos import codec
from muster_protos.model import Chunk


@given(st.integers(0, 2**63 - 1), st.binary(max_size=500), st.integers(0, 2**63 - 1))
@example(0, b"", 0)
@example(127, bytes(127), 128)
@example(2**63 - 1, bytes(256 * 1024), 2**63 - 1)
def test_encoded_chunk_is_what_protobuf_writes(offset: int, data: bytes, total_bytes: int) -> None:
    encoded = encode_chunk(offset, memoryview(data), total_bytes)
    assert encoded == codec.encode(Chunk(offset, data, total_bytes))
    assert codec.decode(Chunk, encoded) == Chunk(offset, data, total_bytes)

"""What is written by hand reads as the same message as what the generated classes write."""

from envoy.config.core.v3 import base_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

from jevons.gateway import wire

NAMES = st.text(max_size=20) | st.text(min_size=120, max_size=140)
VALUES = NAMES | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False)
METADATA = st.dictionaries(NAMES, st.dictionaries(NAMES, VALUES, max_size=5), min_size=1, max_size=3)
BODIES = st.binary(max_size=300) | st.sampled_from([b"x" * 20_000, b"y" * 3_000_000])


@given(BODIES, METADATA)
def test_the_message_is_the_one_that_protobuf_would_write(body, metadata):
    length = base_pb2.HeaderValueOption(
        header=base_pb2.HeaderValue(key="content-length", raw_value=str(len(body)).encode()),
        append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )
    common = pb.CommonResponse(header_mutation=pb.HeaderMutation(set_headers=[length]), body_mutation=pb.BodyMutation(body=body))
    expected = pb.ProcessingResponse(request_body=pb.BodyResponse(response=common))
    expected.dynamic_metadata.update(metadata)
    for namespace, values in metadata.items():
        if not values:
            expected.dynamic_metadata.fields[namespace].struct_value.SetInParent()
    assert pb.ProcessingResponse.FromString(wire.routed(body, metadata)) == expected

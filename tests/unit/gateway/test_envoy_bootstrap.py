"""Envoy's configuration says what was decided: explicit limits everywhere, nothing falls back to a wrong pod, errors in OpenAI's form."""

import json
from pathlib import Path

import pytest

from jevons.gateway.access_log import ACCESS_LOG_FORMAT
from jevons.gateway.envoy.bootstrap import EnvoySettings, bootstrap
from jevons.gateway.envoy.policy import local_replies
from jevons.gateway.steps.decide import ROOM_TRIES
from jevons.gateway.steps.endpoint import TRIED_PODS
from jevons.gateway.steps.respond import DESTINATION, INTERNAL_HEADERS, ROUTER_HEADERS


@pytest.fixture
def configuration():
    return bootstrap(EnvoySettings(Path("/state"), (Path("/state/picker-0.sock"), Path("/state/picker-1.sock")), port=8080))


def http(configuration):
    return configuration["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]


def filters(configuration):
    return {one["name"]: one for one in http(configuration)["http_filters"]}


def test_every_cluster_sets_its_circuit_breakers(configuration):
    for cluster in configuration["static_resources"]["clusters"]:
        assert cluster["circuit_breakers"]["thresholds"][0]["max_requests"] >= 100_000


def test_every_entry_of_the_longest_list_is_tried_and_all_who_are_held_may_be_tried_at_once(configuration):
    route = http(configuration)["route_config"]["virtual_hosts"][0]["routes"][0]["route"]
    assert route["retry_policy"]["num_retries"] == TRIED_PODS + ROOM_TRIES - 1
    for cluster in configuration["static_resources"]["clusters"]:
        assert [(one["max_retries"] >= 100_000, "retry_budget" in one) for one in cluster["circuit_breakers"]["thresholds"]] == [(True, False)] * 2


def test_a_host_that_is_not_there_is_never_replaced(configuration):
    (policy,) = configuration["static_resources"]["clusters"][0]["load_balancing_policy"]["policies"]
    fallback = policy["typed_extension_config"]["typed_config"]["fallback_policy"]["policies"][0]["typed_extension_config"]["typed_config"]
    assert (fallback["fallback_policy"], fallback["subset_selectors"]) == ("NO_FALLBACK", [{"keys": ["never"]}])


def test_memory_is_given_back_then_streams_are_reset_then_requests_are_refused_below_the_containers_limit(configuration):
    manager = configuration["overload_manager"]
    (heap,) = (one["typed_config"] for one in manager["resource_monitors"] if one["name"] == "envoy.resource_monitors.fixed_heap")
    assert heap["max_heap_size_bytes"] <= 0.75 * 2**30
    assert [(one["name"].removeprefix("envoy.overload_actions."), one["triggers"][0].get("threshold")) for one in manager["actions"]] == [
        ("shrink_heap", {"value": 0.85}),
        ("reset_high_memory_stream", None),
        ("stop_accepting_requests", {"value": 0.95}),
    ]
    assert {one["triggers"][0]["name"] for one in manager["actions"]} == {"envoy.resource_monitors.fixed_heap"}


def test_health_has_a_port_of_its_own_where_asked_which_no_overload_closes(configuration):
    assert len(configuration["static_resources"]["listeners"]) == 1
    asked = bootstrap(EnvoySettings(Path("/state"), (Path("/state/picker-0.sock"),), health_port=8081))
    _, health = asked["static_resources"]["listeners"]
    assert health["address"]["socket_address"]["port_value"] == 8081
    assert (health["bypass_overload_manager"], health["ignore_global_conn_limit"]) == (True, True)


def test_held_requests_may_idle_and_headers_may_not_trickle(configuration):
    route = http(configuration)["route_config"]["virtual_hosts"][0]["routes"][0]["route"]
    assert (http(configuration)["stream_idle_timeout"], route["timeout"], route["idle_timeout"]) == ("0s", "0s", "0s")
    assert http(configuration)["request_headers_timeout"] == "5s"


def test_only_a_short_post_of_known_length_reaches_its_picker_without_its_headers_first(configuration):
    whole, rest, *_ = http(configuration)["route_config"]["virtual_hosts"][0]["routes"]
    length = next(one["range_match"] for one in whole["match"]["headers"] if one["name"] == "content-length")
    assert 1 <= length["start"] < length["end"]
    handed_over = 2 * http(configuration)["max_request_headers_kb"] * 1024
    assert length["end"] + handed_over < 64 * 1024, "more than that Envoy does not repeat to a second picker"
    assert whole["typed_per_filter_config"]["ext_proc"]["overrides"]["processing_mode"]["request_header_mode"] == "SKIP"
    assert "typed_per_filter_config" not in rest
    assert filters(configuration)["ext_proc"]["typed_config"]["processing_mode"]["request_header_mode"] == "SEND"


def test_a_request_whose_headers_the_picker_did_not_see_first_waits_before_the_router(configuration):
    names = list(filters(configuration))
    assert names == ["handover", "ext_proc", "whole", "usage", "router"]
    asked = http(configuration)["route_config"]["virtual_hosts"][0]["routes"][0]["typed_per_filter_config"]
    assert {name for name in names if filters(configuration)[name].get("disabled")} == {"handover", "whole"} == set(asked) - {"ext_proc"}


def test_internal_headers_of_clients_are_removed_and_ours_written_on_every_way_to_an_engine(configuration):
    for route in http(configuration)["route_config"]["virtual_hosts"][0]["routes"]:
        if "route" in route:
            assert route["request_headers_to_remove"] == list(INTERNAL_HEADERS)
            assert {one["header"]["key"] for one in route["request_headers_to_add"]} == {DESTINATION, *ROUTER_HEADERS} <= set(INTERNAL_HEADERS)


def test_the_picker_is_asked_with_the_body_and_a_failure_is_never_a_free_pass(configuration):
    ext_proc = filters(configuration)["ext_proc"]["typed_config"]
    assert ext_proc["processing_mode"]["request_body_mode"] == "BUFFERED"
    assert ext_proc["processing_mode"]["response_header_mode"] == "SKIP"
    assert ext_proc["failure_mode_allow"] is False
    assert ext_proc["message_timeout"] == "10s"


def test_no_address_that_a_client_can_have_is_trusted(configuration):
    trusted = http(configuration)["internal_address_config"]
    assert trusted["unix_sockets"] is False
    assert trusted["cidr_ranges"] == [{"address_prefix": "255.255.255.255", "prefix_len": 32}], "an empty list means all private addresses"


def test_the_access_log_has_every_field_that_accounting_reads(configuration):
    logged = http(configuration)["access_log"][0]["typed_config"]["log_format"]["json_format"]
    assert set(ACCESS_LOG_FORMAT) <= set(logged)


def test_the_admin_interface_is_no_port(configuration):
    assert "socket_address" not in json.dumps(configuration["admin"])


def test_envoys_own_errors_are_in_openai_form():
    for mapper in local_replies()["mappers"]:
        body = json.loads(mapper["body_format_override"]["text_format_source"]["inline_string"])
        assert set(body["error"]) == {"message", "type", "param", "code"}

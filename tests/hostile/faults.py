"""The catalogue of faults: which tests play each, or why none does.

Numbers 110 to 114 belong to tools and to fetching, and are tested with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

UNTESTED = 1
"""How many faults no test plays. It only goes down."""


@attrs.frozen
class Fault:
    """A fault, and the tests that play it; or the reason why none does."""

    told: str
    tests: tuple[str, ...] = attrs.field(default=(), kw_only=True)
    """As `file::function`, below `tests/`."""
    deep: str | None = attrs.field(default=None, kw_only=True)
    """The part of the deep run that plays all of it, where `tests` play a bounded part."""
    why_not: str | None = attrs.field(default=None, kw_only=True)


FAULTS: Mapping[int, Fault] = {
    1: Fault(
        "connection refused",
        tests=("hostile/test_connecting.py::test_fault_01_a_refused_connection",),
    ),
    2: Fault(
        "connection never accepted",
        tests=("hostile/test_connecting.py::test_fault_02_a_black_hole",),
    ),
    3: Fault(
        "name not found, or looked up slowly",
        tests=(
            "hostile/test_connecting.py::test_fault_03_a_name_that_nobody_knows",
            "hostile/test_connecting.py::test_fault_03_a_name_that_is_looked_up_slowly",
        ),
    ),
    4: Fault(
        "name moves to another address",
        tests=("hostile/test_connecting.py::test_fault_04_a_name_that_moves",),
    ),
    5: Fault(
        "taken and closed",
        tests=(
            "hostile/test_connecting.py::test_fault_05_taken_and_closed",
            "hostile/test_connecting.py::test_fault_05_read_and_closed",
        ),
    ),
    6: Fault(
        "taken and reset",
        tests=("hostile/test_connecting.py::test_fault_06_taken_and_reset",),
    ),
    7: Fault(
        "read and never answered",
        tests=("hostile/test_connecting.py::test_fault_07_no_answer",),
    ),
    8: Fault(
        "upload never read",
        tests=(
            "hostile/test_connecting.py::test_fault_08_an_upload_that_is_never_read",
            "hostile/test_connecting.py::test_fault_08_a_caller_that_leaves_while_it_uploads",
        ),
    ),
    9: Fault(
        "head byte by byte for ever",
        tests=("hostile/test_heads.py::test_fault_09_a_head_byte_by_byte_for_ever",),
    ),
    10: Fault(
        "head stalls",
        tests=("hostile/test_heads.py::test_fault_10_a_head_that_stalls",),
    ),
    11: Fault(
        "body stalls",
        tests=(
            "hostile/test_framing.py::test_fault_11_a_body_that_stalls",
            "hostile/test_framing.py::test_fault_11_a_body_byte_by_byte_for_ever",
            "hostile/test_framing.py::test_fault_11_a_stream_that_stalls_before_its_first_event",
        ),
    ),
    12: Fault(
        "body reset",
        tests=("hostile/test_framing.py::test_fault_12_a_body_that_is_reset",),
    ),
    13: Fault(
        "body shorter than its length",
        tests=("hostile/test_framing.py::test_fault_13_a_body_shorter_than_its_length",),
    ),
    14: Fault(
        "bytes behind the response",
        tests=("hostile/test_framing.py::test_fault_14_a_second_answer_behind_the_first",),
    ),
    15: Fault(
        "broken chunks",
        tests=("hostile/test_framing.py::test_fault_15_chunks_that_are_none",),
    ),
    16: Fault(
        "lengths that contradict",
        tests=(
            "hostile/test_heads.py::test_fault_16_lengths_that_contradict",
            "hostile/test_heads.py::test_fault_16_chunks_win_over_a_length_and_the_connection_is_dropped",
        ),
    ),
    17: Fault(
        "no HTTP",
        tests=(
            "hostile/test_heads.py::test_fault_17_no_http",
            "hostile/test_heads.py::test_fault_17_hardly_http",
        ),
    ),
    18: Fault(
        "interim answers",
        tests=(
            "hostile/test_heads.py::test_fault_18_a_few_interim_answers",
            "hostile/test_heads.py::test_fault_18_interim_answers_without_end",
            "hostile/test_heads.py::test_fault_18_a_protocol_that_nobody_asked_for",
        ),
    ),
    19: Fault(
        "header fields too large, too many, malformed",
        tests=(
            "hostile/test_heads.py::test_fault_19_header_fields_that_are_too_large_or_none",
            "hostile/test_heads.py::test_fault_19_header_fields_without_end",
        ),
    ),
    20: Fault(
        "kept connection closed at the next request",
        tests=(
            "hostile/test_connecting.py::test_fault_20_a_kept_connection_that_ends_at_the_next_request",
            "engine/test_exchange.py::test_a_connection_that_was_closed_while_idle_is_not_used",
        ),
    ),
    21: Fault(
        "race with the closing of an idle connection",
        tests=("hostile/test_connecting.py::test_fault_21_connections_that_are_closed_just_as_they_are_used",),
    ),
    22: Fault(
        "answer that ends with its connection",
        tests=(
            "hostile/test_framing.py::test_fault_22_an_answer_that_ends_with_its_connection",
            "hostile/test_framing.py::test_fault_22_a_stream_that_ends_with_its_connection",
            "hostile/test_framing.py::test_fault_22_an_answer_without_length_that_is_cut",
        ),
    ),
    23: Fault(
        "refusal during the upload",
        tests=("hostile/test_framing.py::test_fault_23_a_refusal_before_the_upload_is_over",),
    ),
    24: Fault(
        "HTTP/2: GOAWAY, REFUSED_STREAM",
        tests=(
            "transport/test_http2.py::test_a_refused_stream_was_never_sent",
            "transport/test_http2.py::test_a_call_whose_stream_is_refused_is_made_again",
            "transport/test_http2.py::test_a_farewell_lets_answers_come_to_their_end_and_gives_back_the_rest",
        ),
    ),
    25: Fault(
        "TLS that cannot be trusted",
        tests=(
            "hostile/test_tls_and_proxies.py::test_fault_25_tls_that_cannot_be_trusted",
            "hostile/test_tls_and_proxies.py::test_fault_25_a_server_without_tls",
            "hostile/test_tls_and_proxies.py::test_fault_25_a_handshake_that_stalls_or_breaks",
            "hostile/test_tls_and_proxies.py::test_fault_25_tls_that_holds_and_then_breaks_in_the_answer",
        ),
    ),
    26: Fault(
        "proxy refuses, or is silent",
        tests=(
            "hostile/test_tls_and_proxies.py::test_fault_26_a_proxy_that_makes_no_tunnel",
            "hostile/test_tls_and_proxies.py::test_fault_26_a_proxy_that_is_not_there",
        ),
    ),
    27: Fault(
        "no descriptor left",
        tests=("hostile/test_connecting.py::test_fault_27_no_descriptor_is_left",),
    ),
    28: Fault(
        "bad roads",
        tests=(
            "hostile/test_toxics.py::test_fault_28_a_bad_road_changes_no_answer",
            "hostile/test_toxics.py::test_fault_28_a_road_that_ends_is_told",
            "hostile/test_toxics.py::test_fault_28_a_stream_that_ends_anywhere_is_whole_or_told",
        ),
    ),
    29: Fault(
        "status 400",
        tests=("hostile/test_statuses.py::test_fault_29_to_38_a_refusal",),
    ),
    30: Fault(
        "status 401",
        tests=("hostile/test_statuses.py::test_fault_29_to_38_a_refusal",),
    ),
    31: Fault(
        "status 402",
        tests=("hostile/test_statuses.py::test_fault_29_to_38_a_refusal",),
    ),
    32: Fault(
        "status 403",
        tests=("hostile/test_statuses.py::test_fault_29_to_38_a_refusal",),
    ),
    33: Fault(
        "status 404",
        tests=("hostile/test_statuses.py::test_fault_29_to_38_a_refusal",),
    ),
    34: Fault(
        "status 408",
        tests=("hostile/test_statuses.py::test_fault_29_to_38_a_refusal",),
    ),
    35: Fault(
        "status 409",
        tests=(
            "hostile/test_statuses.py::test_fault_29_to_38_a_refusal",
            "hostile/test_statuses.py::test_fault_35_a_conflict_that_is_the_callers",
        ),
    ),
    36: Fault(
        "status 413",
        tests=("hostile/test_statuses.py::test_fault_29_to_38_a_refusal",),
    ),
    37: Fault(
        "status 425",
        tests=("hostile/test_statuses.py::test_fault_29_to_38_a_refusal",),
    ),
    38: Fault(
        "status 429",
        tests=("hostile/test_statuses.py::test_fault_29_to_38_a_refusal",),
    ),
    39: Fault(
        "status 500",
        tests=("hostile/test_statuses.py::test_fault_39_to_45_a_failure_of_the_provider",),
    ),
    40: Fault(
        "status 502, a web page",
        tests=("hostile/test_statuses.py::test_fault_39_to_45_a_failure_of_the_provider",),
    ),
    41: Fault(
        "status 503, empty",
        tests=("hostile/test_statuses.py::test_fault_39_to_45_a_failure_of_the_provider",),
    ),
    42: Fault(
        "status 504",
        tests=("hostile/test_statuses.py::test_fault_39_to_45_a_failure_of_the_provider",),
    ),
    43: Fault(
        "status 520",
        tests=("hostile/test_statuses.py::test_fault_39_to_45_a_failure_of_the_provider",),
    ),
    44: Fault(
        "status 529",
        tests=("hostile/test_statuses.py::test_fault_39_to_45_a_failure_of_the_provider",),
    ),
    45: Fault(
        "status 999",
        tests=("hostile/test_statuses.py::test_fault_39_to_45_a_failure_of_the_provider",),
    ),
    46: Fault(
        "every form of Retry-After",
        tests=(
            "engine/test_keys_in_trouble.py::test_every_form_of_a_wait_is_kept_to_the_second_or_ignored",
            "engine/test_keys_in_trouble.py::test_a_wait_counts_for_five_minutes_at_most",
            "engine/test_keys_in_trouble.py::test_a_wait_in_the_body_is_kept",
        ),
    ),
    47: Fault(
        "wall clock wrong or jumping",
        tests=("engine/test_keys_in_trouble.py::test_a_wrong_wall_clock_changes_no_wait",),
    ),
    48: Fault(
        "x-should-retry against the status",
        tests=("engine/test_keys_in_trouble.py::test_what_a_provider_says_of_retries_is_obeyed",),
    ),
    49: Fault(
        "429 that is a quota",
        tests=("engine/test_keys_in_trouble.py::test_a_refused_key_is_out_of_use_for_all_calls",),
    ),
    50: Fault(
        "401 that repeats the key",
        tests=("security/test_canary.py::test_an_error_that_shows_the_key",),
    ),
    51: Fault(
        "huge, binary or broken body of an error",
        tests=(
            "hostile/test_statuses.py::test_fault_51_a_large_body_of_an_error",
            "hostile/test_statuses.py::test_fault_51_a_body_of_an_error_that_is_cut",
            "hostile/test_statuses.py::test_fault_51_a_body_of_an_error_that_does_not_end",
        ),
    ),
    52: Fault(
        "redirects",
        tests=("hostile/test_statuses.py::test_fault_52_a_redirect",),
    ),
    53: Fault(
        "204, 205, 206, 304",
        tests=("hostile/test_statuses.py::test_fault_53_a_status_that_answers_no_post",),
    ),
    54: Fault(
        "short wait after a long one",
        tests=("engine/test_keys_in_trouble.py::test_a_shorter_wait_does_not_end_a_longer_one",),
    ),
    55: Fault(
        "all keys parked, dead or removed",
        tests=(
            "engine/test_keys_in_trouble.py::test_when_every_key_rests_a_call_waits_for_the_first",
            "engine/test_keys_in_trouble.py::test_with_a_fallback_nobody_waits_for_a_key",
            "engine/test_keys_in_trouble.py::test_those_who_wait_for_a_key_are_let_go_one_after_the_other",
            "engine/test_keys_in_trouble.py::test_without_waits_nobody_spins",
            "engine/test_keys_in_trouble.py::test_when_all_are_dead_the_error_has_their_names_and_no_more",
            "engine/test_keys_in_trouble.py::test_a_key_that_is_taken_away_is_used_by_no_later_call",
        ),
    ),
    56: Fault(
        "body without any shape",
        tests=("hostile/test_bodies.py::test_fault_56_an_answer_without_any_shape",),
    ),
    57: Fault(
        "answer changed anywhere",
        tests=(
            "hostile/test_bodies.py::test_fault_57_an_answer_that_was_changed_anywhere",
            "providers/anthropic/test_mutated.py::test_a_changed_answer_is_read_or_refused",
        ),
    ),
    58: Fault(
        "unknown fields, deeply nested",
        tests=("hostile/test_bodies.py::test_fault_58_fields_that_nobody_knows",),
    ),
    59: Fault(
        "numbers that are none",
        tests=("hostile/test_bodies.py::test_fault_59_numbers_that_are_none",),
    ),
    60: Fault(
        "equal keys",
        tests=("hostile/test_bodies.py::test_fault_60_of_equal_keys_the_last_wins",),
    ),
    61: Fault(
        "halves of surrogate pairs",
        tests=(
            "hostile/test_bodies.py::test_fault_61_half_a_character",
            "hostile/test_bodies.py::test_fault_61_a_character_split_over_two_events",
        ),
    ),
    62: Fault(
        "encodings",
        tests=("hostile/test_bodies.py::test_fault_62_encodings",),
    ),
    63: Fault(
        "cut JSON, or something behind it",
        tests=("hostile/test_bodies.py::test_fault_63_cut_json_or_something_behind_it",),
    ),
    64: Fault(
        "body too large, or endless",
        tests=(
            "hostile/test_bodies.py::test_fault_64_a_body_that_is_too_large",
            "hostile/test_bodies.py::test_fault_64_a_body_without_end_and_the_limit_that_is_there_by_default",
            "hostile/test_bodies.py::test_fault_64_a_body_within_the_limit",
        ),
    ),
    65: Fault(
        "packed bodies: bombs, lies, cut, unknown",
        tests=(
            "hostile/test_bodies.py::test_fault_65_a_bomb",
            "hostile/test_bodies.py::test_fault_65_packed_answers_that_cannot_be_unpacked",
            "hostile/test_bodies.py::test_fault_65_packed_answers",
            "hostile/test_bodies.py::test_fault_65_a_bomb_in_an_error",
        ),
    ),
    66: Fault(
        "arguments of tools",
        tests=("hostile/test_bodies.py::test_fault_66_arguments_of_a_tool",),
    ),
    67: Fault(
        "error in a good answer",
        tests=("hostile/test_bodies.py::test_fault_67_an_error_in_a_good_answer",),
    ),
    68: Fault(
        "request that JSON cannot say",
        tests=(
            "hostile/test_bodies.py::test_fault_68_a_request_that_json_cannot_say",
            "hostile/test_bodies.py::test_fault_68_text_that_is_none",
            "hostile/test_bodies.py::test_fault_68_numbers_that_json_cannot_say",
            "wire/test_json.py::test_a_callers_value_that_is_not_json_is_refused_with_its_place",
        ),
    ),
    69: Fault(
        "line ends and splits of a stream",
        tests=(
            "hostile/test_streams.py::test_fault_69_any_line_ends_in_any_pieces",
            "wire/framing/test_sse.py::test_any_split_of_any_stream_gives_the_events_of_the_standard",
        ),
    ),
    70: Fault(
        "all that the standard of event streams allows",
        tests=("hostile/test_streams.py::test_fault_70_all_that_the_standard_allows",),
    ),
    71: Fault(
        "characters cut at every byte",
        tests=(
            "hostile/test_streams.py::test_fault_71_characters_cut_at_every_byte",
            "hostile/test_streams.py::test_fault_71_any_text_cut_at_every_byte",
        ),
    ),
    72: Fault(
        "last event without its line end",
        tests=(
            "hostile/test_streams.py::test_fault_72_a_last_event_without_its_line_end",
            "hostile/test_streams.py::test_fault_72_a_last_event_that_is_cut",
        ),
    ),
    73: Fault(
        "break before the first word",
        tests=("hostile/test_streams.py::test_fault_73_a_break_before_the_first_word",),
    ),
    74: Fault(
        "break after the first word",
        tests=("hostile/test_streams.py::test_fault_74_a_break_after_the_first_word",),
    ),
    75: Fault(
        "final marker: none, then silence, then data",
        tests=(
            "hostile/test_streams.py::test_fault_75_no_final_marker",
            "hostile/test_streams.py::test_fault_75_a_final_marker_and_then_silence",
            "hostile/test_streams.py::test_fault_75_data_after_the_final_marker",
        ),
    ),
    76: Fault(
        "one event that is no JSON",
        tests=("hostile/test_streams.py::test_fault_76_one_event_that_is_no_json",),
    ),
    77: Fault(
        "signs of life for ever",
        tests=("hostile/test_streams.py::test_fault_77_signs_of_life_for_ever",),
    ),
    78: Fault(
        "event or words without end",
        tests=(
            "hostile/test_streams.py::test_fault_78_an_event_without_end",
            "hostile/test_streams.py::test_fault_78_an_event_of_32_mb",
            "hostile/test_streams.py::test_fault_78_words_without_end",
        ),
    ),
    79: Fault(
        "JSON or a web page in place of a stream",
        tests=(
            "hostile/test_streams.py::test_fault_79_json_where_a_stream_was_asked_for",
            "hostile/test_streams.py::test_fault_79_no_stream_where_one_was_asked_for",
        ),
    ),
    80: Fault(
        "slow reader of very many events",
        tests=("hostile/test_streams.py::test_fault_80_a_slow_reader_of_very_many_events",),
    ),
    81: Fault(
        "reader that leaves",
        tests=("hostile/test_streams.py::test_fault_81_a_reader_that_leaves",),
    ),
    82: Fault(
        "reader that never reads on",
        tests=(
            "hostile/test_streams.py::test_fault_82_a_reader_that_never_reads_on",
            "engine/test_stream.py::test_a_stream_that_nobody_reads_is_ended_in_time",
        ),
    ),
    83: Fault(
        "two readers, or one that reads twice",
        tests=(
            "hostile/test_streams.py::test_fault_83_two_readers_of_one_stream",
            "hostile/test_streams.py::test_fault_83_a_stream_read_twice",
        ),
    ),
    84: Fault(
        "usage last, twice or never",
        tests=("hostile/test_streams.py::test_fault_84_usage",),
    ),
    85: Fault(
        "pieces of tool calls in any order",
        tests=(
            "hostile/test_streams.py::test_fault_85_pieces_of_tool_calls_in_any_order",
            "hostile/test_streams.py::test_fault_85_calls_out_of_order_are_put_together",
            "providers/openai/test_stream.py::test_calls_are_kept_apart_whatever_a_server_forgets",
        ),
    ),
    86: Fault(
        "cancelled at every await point",
        tests=(
            "engine/test_cancel.py::test_a_scope_may_be_cancelled_wherever_a_call_in_it_waits",
            "engine/test_cancel_asyncio.py::test_a_task_may_be_cancelled_wherever_its_call_waits",
            "engine/test_cancel_sockets.py::test_a_call_may_be_cancelled_after_any_number_of_turns_of_the_loop",
        ),
    ),
    87: Fault(
        "cancelled while queued, taken or answered",
        tests=(
            "engine/test_races.py::test_of_a_caller_that_leaves_and_its_worker_one_side_wins",
            "engine/test_races.py::test_calls_that_are_left_at_any_moment_lose_nothing",
            "engine/test_pool.py::test_a_caller_may_leave_after_any_number_of_turns_of_the_loop",
            "engine/test_pool.py::test_a_stream_handed_over_to_a_caller_that_leaves_at_that_moment_is_released",
        ),
    ),
    88: Fault(
        "storm of cancellations",
        tests=("engine/test_cancel_sockets.py::test_a_storm_of_cancellations_costs_no_place",),
    ),
    89: Fault(
        "queue full",
        tests=(
            "engine/test_pool.py::test_a_full_queue_refuses_when_told_to_drop",
            "engine/test_pool.py::test_a_full_queue_lets_callers_wait_in_order_otherwise",
            "engine/test_pool.py::test_queue_timeout_bounds_the_wait_for_a_place",
            "engine/test_pool.py::test_five_callers_that_leave_while_queued_do_not_fill_a_queue_of_five",
            "engine/test_dispatch.py::test_time_in_the_queue_counts",
            "engine/test_pool.py::test_a_drain_answers_whoever_waits_for_a_place_though_none_is_freed",
        ),
    ),
    90: Fault(
        "closing with work under way",
        tests=(
            "engine/test_races.py::test_closing_amid_everything_answers_everybody_in_time",
            "engine/test_core.py::test_two_may_close_at_once",
            "engine/test_core.py::test_closing_at_once_ends_running_calls_with_their_hooks",
            "engine/test_lifecycle.py::test_a_hook_that_closes_its_own_client_does_not_wait_for_itself_for_ever",
        ),
    ),
    91: Fault(
        "provider changed under load",
        tests=("engine/test_live_changes.py::test_changes_under_load_lose_no_call_and_double_none",),
        deep="changes",
    ),
    92: Fault(
        "worker or codec raises",
        tests=(
            "engine/test_pool.py::test_whatever_a_job_raises_the_pool_keeps_its_size",
            "engine/test_pool.py::test_a_worker_whose_own_machinery_fails_begins_anew",
            "security/test_canary.py::test_a_codec_that_fails",
        ),
    ),
    93: Fault(
        "interrupted by a signal",
        tests=(
            "engine/test_lifecycle.py::test_ctrl_c_during_a_hundred_calls_ends_the_program_at_once",
            "engine/test_lifecycle.py::test_ctrl_c_that_hits_a_worker_is_no_defect",
            "engine/test_lifecycle.py::test_sigterm_during_a_hundred_calls_ends_the_program_at_once",
            "engine/test_lifecycle.py::test_a_program_that_leaves_in_order_on_sigterm_does_so",
            "engine/test_lifecycle.py::test_a_sync_client_that_is_not_closed_ends_with_sigterm_and_with_exit",
        ),
    ),
    94: Fault(
        "other loops and threads",
        tests=(
            "engine/test_lifecycle.py::test_another_threads_loop_may_not_use_the_client",
            "engine/test_lifecycle.py::test_a_client_of_a_module_serves_one_loop_after_another",
            "engine/test_lifecycle.py::test_a_client_whose_loop_was_closed_under_it_opens_again_on_the_next",
            "test_sync.py::test_inside_a_running_event_loop",
            "test_sync.py::test_a_hook_may_use_another_client_and_its_own_refuses_at_once",
        ),
    ),
    95: Fault(
        "fork",
        tests=("engine/test_lifecycle.py::test_a_forked_child_is_refused_and_its_parent_goes_on",),
    ),
    96: Fault(
        "many threads through the sync facade",
        tests=(
            "test_sync.py::test_from_64_threads_at_once",
            "test_sync.py::test_threads_that_come_first_together_start_one_event_loop",
        ),
    ),
    97: Fault(
        "plugin or account that blocks the loop",
        tests=(
            "plugins/test_chain.py::test_a_hook_that_blocks_the_event_loop_is_told_once",
            "plugins/test_chain.py::test_a_hook_that_waits_blocks_nobody",
            "engine/test_dispatch_accounts.py::test_an_account_that_blocks_the_event_loop_is_told_once",
        ),
    ),
    98: Fault(
        "circuit breaker and its probe",
        tests=(
            "engine/test_breaker_calls.py::test_half_open_lets_one_of_two_hundred_through",
            "engine/test_breaker_calls.py::test_a_probe_that_is_cancelled_gives_its_place_back",
            "engine/test_breaker_calls.py::test_a_probe_that_hangs_makes_room_after_a_minute",
            "engine/test_breaker_calls.py::test_a_late_success_does_not_close_it",
        ),
    ),
    99: Fault(
        "black hole beside a healthy provider",
        tests=(
            "load/test_load.py::test_a_provider_that_swallows_everything_does_not_touch_another",
            "engine/test_breaker_calls.py::test_a_black_hole_with_a_fallback_behind_it_does",
        ),
    ),
    100: Fault(
        "storm of faults",
        tests=("engine/test_breaker_calls.py::test_a_storm_of_failures_is_ridden_out",),
    ),
    101: Fault(
        "outage and recovery",
        tests=(
            "engine/test_breaker_calls.py::test_an_outage_is_not_made_worse_by_retries",
            "engine/test_breaker_calls.py::test_what_is_down_is_hardly_asked_and_used_again_when_it_is_back",
        ),
    ),
    102: Fault(
        "all providers down",
        tests=("engine/test_breaker_calls.py::test_when_all_are_down_the_error_tells_every_attempt",),
    ),
    103: Fault(
        "monotonic clock that jumps",
        tests=("engine/test_races.py::test_an_hour_that_is_lost_ends_everything_once",),
    ),
    104: Fault(
        "hooks that raise, hang, answer wrongly",
        tests=(
            "plugins/test_matrix.py::test_no_hook_that_goes_wrong_takes_the_client_along",
            "plugins/test_matrix.py::test_a_hook_cannot_change_what_others_hold",
            "plugins/test_chain.py::test_a_result_of_the_wrong_type_is_a_failure",
        ),
    ),
    105: Fault(
        "account that raises, hangs, answers wrongly",
        tests=(
            "engine/test_dispatch_accounts.py::test_whatever_keys_an_account_gives_a_call_is_served_or_told",
            "engine/test_dispatch_accounts.py::test_any_weights_that_are_numbers_choose_a_key",
            "engine/test_dispatch_accounts.py::test_garbage_of_an_account_is_told",
            "engine/test_dispatch_accounts.py::test_two_keys_of_one_name_are_told",
            "engine/test_dispatch.py::test_time_of_the_account_counts",
        ),
    ),
    106: Fault(
        "key that cannot be sent",
        tests=(
            "test_account.py::test_a_value_that_cannot_be_sent_is_refused_by_name_and_shown_nowhere",
            "test_account.py::test_any_text_is_a_key_or_a_typed_error",
            "test_bad_input.py::test_a_key_that_cannot_be_sent_is_told_by_its_name",
            "wire/test_auth.py::test_a_key_either_can_be_sent_or_is_refused",
        ),
    ),
    107: Fault(
        "header fields of the user",
        tests=(
            "security/test_injection.py::test_a_header_is_refused_or_written_as_one_field",
            "security/test_injection.py::test_what_frames_or_signs_a_request_is_refused",
            "test_client.py::test_headers_that_would_do_harm_are_refused",
        ),
    ),
    108: Fault(
        "base URLs",
        tests=(
            "test_config.py::test_a_base_url_that_would_do_harm_is_refused",
            "test_config.py::test_a_base_url_is_brought_to_one_form",
            "security/test_injection.py::test_a_codecs_path_cannot_leave_the_providers_address",
        ),
    ),
    109: Fault(
        "names of models in addresses",
        tests=(
            "security/test_injection.py::test_a_deployments_name_is_one_step_of_the_path",
            "providers/test_azure.py::test_a_deployments_name_cannot_leave_its_step_of_the_path",
            "providers/test_azure.py::test_a_deployment_that_would_climb_is_refused",
        ),
    ),
    115: Fault(
        "secrets shown",
        tests=(
            "security/test_canary.py::test_an_answer",
            "security/test_canary.py::test_a_call_on_its_way",
            "security/test_canary.py::test_an_open_stream",
            "security/test_canary.py::test_changes_while_it_runs",
            "security/test_canary.py::test_an_error_that_shows_the_key",
            "security/test_canary.py::test_a_stream_that_breaks",
            "security/test_canary.py::test_a_peer_that_misbehaves",
            "security/test_canary.py::test_a_caller_that_leaves",
            "security/test_canary.py::test_closing_with_calls_in_flight",
            "security/test_canary.py::test_a_plugin_that_fails",
            "security/test_canary.py::test_an_account_that_fails",
            "security/test_canary.py::test_a_codec_that_fails",
            "security/test_canary.py::test_a_cassette",
            "security/test_canary.py::test_the_plain_client",
            "security/test_canary.py::test_the_looks_themselves_see_a_key",
            "wire/test_auth.py::test_a_secret_shows_itself_nowhere",
            "wire/test_auth.py::test_the_header_of_a_signed_request_shows_its_secret_nowhere",
            "settings/test_secrets.py::test_an_error_shows_no_secret",
        ),
    ),
    116: Fault(
        "key repeated in another form",
        tests=(
            "security/test_canary.py::test_a_key_in_any_writing",
            "security/test_canary.py::test_an_error_that_shows_the_key",
            "wire/test_auth.py::test_every_way_to_write_a_secret_is_taken_out",
        ),
    ),
    117: Fault(
        "variables of the environment",
        tests=(
            "security/test_environment.py::test_a_proxy_is_used_and_named_once_without_its_password",
            "security/test_environment.py::test_a_proxy_for_tls_is_asked_for_a_tunnel",
            "security/test_environment.py::test_a_netrc_is_never_read",
            "security/test_environment.py::test_cookies_are_not_kept",
            "security/test_environment.py::test_authorities_and_a_key_log_are_the_environments",
        ),
    ),
    118: Fault(
        "log injection",
        tests=(
            "security/test_injection.py::test_a_providers_words_stay_on_their_line",
            "security/test_injection.py::test_an_error_event_stays_on_its_line",
            "security/test_injection.py::test_a_models_name_stays_on_its_line",
            "security/test_injection.py::test_a_tools_name_stays_on_its_line",
            "security/test_injection.py::test_a_plugins_name_stays_on_its_line",
        ),
    ),
    119: Fault("too many metric labels", why_not="there are no metrics yet"),
    120: Fault(
        "hash flooding",
        tests=(
            "security/test_rules.py::test_an_object_of_a_million_keys_takes_a_bounded_multiple_of_its_size",
            "security/test_rules.py::test_what_is_larger_than_the_limits_is_too_large",
        ),
    ),
}

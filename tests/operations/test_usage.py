from __future__ import annotations

from bifrost.operations.usage import Usage

WHOLE = Usage(
    input_tokens=100,
    output_tokens=60,
    cache_read_tokens=30,
    cache_write_tokens=20,
    cache_write_1h_tokens=5,
    input_audio_tokens=10,
    reasoning_tokens=25,
    output_audio_tokens=15,
    accepted_prediction_tokens=3,
    rejected_prediction_tokens=4,
    server_tool_calls=2,
)


def test_buckets_are_disjoint_and_add_up() -> None:
    buckets = (WHOLE.uncached_tokens, WHOLE.cache_read_tokens, WHOLE.cache_write_tokens, WHOLE.input_audio_tokens)
    assert sum(buckets) == WHOLE.input_tokens
    made = (WHOLE.output_text_tokens, WHOLE.reasoning_tokens, WHOLE.output_audio_tokens)
    assert sum(made) == WHOLE.output_tokens
    assert WHOLE.total_tokens == 160


def test_a_count_that_does_not_add_up_gives_no_negative_bucket() -> None:
    odd = Usage(input_tokens=5, cache_read_tokens=10, output_tokens=5, reasoning_tokens=10)
    assert (odd.uncached_tokens, odd.output_text_tokens) == (0, 0)


def test_openais_paths_are_there() -> None:
    assert (WHOLE.prompt_tokens, WHOLE.completion_tokens) == (100, 60)
    assert WHOLE.prompt_tokens_details.cached_tokens == 30
    assert WHOLE.completion_tokens_details.reasoning_tokens == 25


def test_openais_form_has_the_details() -> None:
    assert WHOLE.to_dict() == {
        "prompt_tokens": 100,
        "completion_tokens": 60,
        "total_tokens": 160,
        "prompt_tokens_details": {"cached_tokens": 30, "cache_write_tokens": 20, "audio_tokens": 10},
        "completion_tokens_details": {
            "reasoning_tokens": 25,
            "audio_tokens": 15,
            "accepted_prediction_tokens": 3,
            "rejected_prediction_tokens": 4,
        },
    }


def test_counts_are_added_field_by_field() -> None:
    both = WHOLE + WHOLE
    assert {name: getattr(both, name) for name in WHOLE.__struct_fields__} == {
        name: 2 * getattr(WHOLE, name) for name in WHOLE.__struct_fields__
    }
    assert WHOLE + Usage() == WHOLE

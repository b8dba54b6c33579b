"""Promises of the record of running calls."""

from __future__ import annotations

import threading

from engram_transformers.calls import Call, begin_call, current_call, end_call


def call_of(attachment: object) -> Call:
    return Call(attachment, None, None, (1, 1))


def test_a_call_is_current_from_begin_to_end():
    attachment = object()
    assert current_call(attachment) is None
    call = call_of(attachment)
    begin_call(call)
    assert current_call(attachment) is call
    assert current_call(object()) is None
    end_call(call)
    assert current_call(attachment) is None


def test_calls_of_several_models_nest():
    """A draft model may run within the forward of another one."""
    one, other = object(), object()
    calls = [call_of(one), call_of(other), call_of(one)]
    for call in calls:
        begin_call(call)
    assert current_call(one) is calls[2]
    assert current_call(other) is calls[1]
    end_call(calls[2])
    assert current_call(one) is calls[0]
    end_call(calls[0])
    assert current_call(one) is None


def test_ending_a_call_ends_what_an_exception_left_above_it():
    one, other = object(), object()
    outer, inner = call_of(one), call_of(other)
    begin_call(outer)
    begin_call(inner)
    end_call(outer)
    assert current_call(other) is None
    end_call(inner)  # ending it once more does no harm
    assert current_call(one) is None


def test_another_thread_sees_no_call():
    attachment = object()
    call = call_of(attachment)
    begin_call(call)
    seen: list[object] = []
    thread = threading.Thread(target=lambda: seen.append(current_call(attachment)))
    thread.start()
    thread.join()
    end_call(call)
    assert seen == [None]

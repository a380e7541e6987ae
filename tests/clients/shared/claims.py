"""Runs what is marked as a claim and prints for each what the standard harness of Rust prints.

A claim is a function without arguments under `@claim`; it fails by raising. The arguments of the
program are the names of the claims to run, all if there are none.
"""

import sys
import time
import traceback

PATIENCE = 30
"""Seconds that anything may take to come true."""

_claims = []


def claim(function):
    """Marks a claim."""
    _claims.append(function)
    return function


def eventually(what, check):
    """Waits until `check` returns something true, and returns that."""
    end = time.monotonic() + PATIENCE
    while not (value := check()):
        assert time.monotonic() < end, f"still not true: {what}"
        time.sleep(0.02)
    return value


def equal(left, right):
    """Fails with both values unless they are the same."""
    assert left == right, f"{left!r} is not {right!r}"


def main():
    """Runs the claims that the command line names."""
    wanted, good = sys.argv[1:], True
    for function in _claims:
        if not wanted or function.__name__ in wanted:
            good &= _run(function)
    sys.exit(0 if good else 1)


def _run(function):
    begin, wrong = time.monotonic(), None
    try:
        function()
    except Exception as error:  # pylint: disable=broad-exception-caught
        wrong = error
    took = time.monotonic() - begin
    outcome = "ok" if wrong is None else "FAILED"
    print(f"test {function.__name__} ... {outcome} <{took:.2f}s>")
    if wrong:
        # First what happened, because a summary shows but the first lines; then where.
        print(f"{type(wrong).__name__}: {wrong}")
        print("".join(traceback.format_tb(wrong.__traceback__)))
    return wrong is None

"""Calls that take turns, so that what disturbs a machine disturbs all of them alike."""

import statistics
import time

WARM = 0.006  # seconds of a call before it is timed: the one before it has left caches, clocks and threads
LEAST = 0.03  # seconds that are timed


def timed(function, repeats):
    """Seconds per call."""
    start = time.perf_counter()
    for _ in range(repeats):
        function()
    return (time.perf_counter() - start) / repeats


def _warm(function):
    end = time.perf_counter() + WARM
    while True:
        function()
        if time.perf_counter() >= end:
            return


def turns(calls, rounds):
    """Seconds of each call, a dict per round.

    Every round has all calls, in an order that moves on by one from round to round, each behind an untimed
    stretch of its own.

    Args:
        calls: Functions by name.
        rounds: How many rounds there are.
    """
    once = {name: timed(call, 2) for name, call in calls.items()}
    repeats = {name: max(1, int(LEAST / seconds)) for name, seconds in once.items()}
    names, found = list(calls), []
    for number in range(rounds):
        first = number % len(names)
        row = {}
        for name in names[first:] + names[:first]:
            _warm(calls[name])
            row[name] = timed(calls[name], repeats[name])
        found.append(row)
    return found


def median(rounds, name):
    """The median of a call's seconds."""
    return statistics.median(row[name] for row in rounds)


def ratio(rounds, name, other):
    """The median of what one call takes in a round over what another takes in it."""
    return statistics.median(row[name] / row[other] for row in rounds)

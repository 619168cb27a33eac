"""How often Python looks for cycles among objects: seldom, where an answer or a bulk makes many in none."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

OBJECTS = 5_000
"""How many more objects there have to be before it looks."""


def collect_seldom() -> None:
    """Have this process, once it is ready, look through what comes later, and seldom.

    What is there by now stays; a long answer would have it all looked through several times.
    """
    if not gc.get_freeze_count():
        gc.collect()
        gc.freeze()
        gc.set_threshold(OBJECTS)


@contextmanager
def uncollected() -> Iterator[None]:
    """Keep Python from looking at all, for what makes many objects and leaves none."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()

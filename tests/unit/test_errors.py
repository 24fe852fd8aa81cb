"""The error tree: its codes, and the drawing of it that readers rely on."""

from __future__ import annotations

import inspect
import re

import pytest

from strait_core import errors
from strait_core.errors import Fault, RateLimitedError, StraitError, UnavailableError, ValidationError

CLASSES = [
    thing
    for name, thing in vars(errors).items()
    if inspect.isclass(thing) and issubclass(thing, StraitError) and not name.startswith("_")
]
LEAVES = [thing for thing in CLASSES if thing is not StraitError]


def drawn() -> dict[str, tuple[str, str]]:
    """The tree in the module's docstring: class → (code, parent)."""
    found: dict[str, tuple[str, str]] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"^ {4}((?:[│ ]   )*)(?:[├└]── )?(\w+Error)\s+(\w+)", line)
        if match:
            depth = 0 if "──" not in line else len(match[1]) // 4 + 1
            above = [*above[:depth], match[2]]
            found[match[2]] = (match[3], above[depth - 1] if depth else "")
    return found


def test_the_tree_in_the_docstring_is_the_tree():
    """Every class stands in the drawing with its code, below its parent, and nothing else does."""
    real = {}
    for thing in LEAVES:
        parents = [parent for parent in thing.__mro__[1:] if parent in CLASSES]
        real[thing.__name__] = (thing.code, parents[0].__name__)
    tree = drawn()
    assert tree.pop("StraitError") == ("code", "")
    assert tree == real


def test_codes_are_unique():
    """A code names one class, whatever reads it."""
    codes = [thing.code for thing in CLASSES]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z_]+", code) for code in codes)


@pytest.mark.parametrize("thing", [t for t in CLASSES if t is not ValidationError])
def test_an_error_carries_message_and_hint(thing: type[StraitError]):
    """What a person reads is the text of the exception; the hint stands apart."""
    error = thing("the thing broke", hint="mend it")
    assert (str(error), error.message, error.hint) == ("the thing broke", "the thing broke", "mend it")
    assert thing("alone").hint is None


def test_a_validation_error_lists_every_fault():
    """The message is made of the faults unless one is given; a whole-body fault says so."""
    faults = [Fault("/name", "must not be empty"), Fault("/tags/a~1b", "is too long"), Fault("", "is not an object")]
    error = ValidationError(faults, hint="look")
    assert str(error) == "name: must not be empty; tags/a~1b: is too long; body: is not an object"
    assert (error.faults, error.hint) == (faults, "look")
    assert str(ValidationError(faults, "the body is wrong")) == "the body is wrong"


@pytest.mark.parametrize("thing", [RateLimitedError, UnavailableError])
def test_what_may_be_tried_again_says_when(thing: type[RateLimitedError | UnavailableError]):
    """`retry_after` is in seconds; none means no advice."""
    assert thing("later", retry_after=1.5).retry_after == 1.5
    assert thing("later").retry_after is None

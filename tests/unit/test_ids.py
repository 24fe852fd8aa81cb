"""Ids: what they spell, how they sort, and what is not one."""

from __future__ import annotations

import random
import uuid
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strait_core import ids
from strait_core.ids import Prefix

UUIDS = st.integers(0, 2**128 - 1).map(lambda number: UUID(int=number))
TIMES = st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
LOWEST, HIGHEST = UUID(int=0), UUID(int=2**128 - 1)


def made(now: datetime, seed: int = 1) -> UUID:
    return ids.uuid7(now, random.Random(seed).getrandbits)


def test_the_prefixes_are_the_contract():
    """The eleven kinds of id, by the names that users see."""
    assert " ".join(sorted(f"{prefix}_" for prefix in Prefix)) == (
        "apr_ bat_ cal_ evt_ job_ run_ sch_ ver_ wf_ wfr_ wh_"
    )


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("run_00000000000000000000000000", 0),
        ("run_00000000000000000000000001", 1),
        ("run_0000000000000000000000000g", 16),
        ("run_7zzzzzzzzzzzzzzzzzzzzzzzzz", 2**128 - 1),
        ("run_01h455vb4pex5vsknk084sn02q", UUID("01890a5d-ac96-774b-bcce-b302099a8057").int),
    ],
)
def test_the_spelling_is_that_of_the_typeid_specification(text: str, number: int):
    """Vectors of TypeID 0.3, both ways."""
    assert ids.spell(Prefix.RUN, UUID(int=number)) == text
    assert ids.parse(Prefix.RUN, text) == UUID(int=number)


@given(UUIDS, st.sampled_from(Prefix))
def test_what_is_spelled_is_read_back(number: UUID, prefix: Prefix):
    """Spelling and parsing undo each other, for any 128 bits and any kind."""
    text = ids.spell(prefix, number)
    assert ids.parse(prefix, text) == number
    assert ids.is_id(text)


@given(UUIDS, UUIDS)
def test_spellings_sort_as_their_bits(one: UUID, other: UUID):
    """Order by text, as a shell's `sort` does it, is order by value."""
    assert (one < other) == (ids.spell(Prefix.RUN, one) < ids.spell(Prefix.RUN, other))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "run",
        "run_",
        "_01h455vb4pex5vsknk084sn02q",
        "01h455vb4pex5vsknk084sn02q",
        "job_01h455vb4pex5vsknk084sn02q",
        "wfr_01h455vb4pex5vsknk084sn02q",
        "xrun_01h455vb4pex5vsknk084sn02q",
        "run_run_01h455vb4pex5vsknk084sn02q",
        "RUN_01h455vb4pex5vsknk084sn02q",
        "run_01H455VB4PEX5VSKNK084SN02Q",
        "run_8zzzzzzzzzzzzzzzzzzzzzzzzz",
        "run_01h455vb4pex5vsknk084sn02",
        "run_01h455vb4pex5vsknk084sn02qq",
        "run_01h455vb4pex5vsknk084sn0il",
        "run_01h455vb4pex5vsknk084sn02u",
        "run_01h455vb4pex5vsknk084sn0 q",
        "run_01h455vb4pex5vsknk084sn0-q",
        "run_\u06601h455vb4pex5vsknk084sn02q",
        "01890a5d-ac96-774b-bcce-b302099a8057",
    ],
)
def test_what_is_not_an_id_is_none(text: str):
    """Wrong prefix, case, length, letters or value: not an id, and no exception."""
    assert ids.parse(Prefix.RUN, text) is None


@given(st.text())
def test_any_text_is_an_id_or_not(text: str):
    """No input makes the readers raise, and they agree with each other."""
    parsed = ids.parse(Prefix.RUN, text)
    assert parsed is None or ids.spell(Prefix.RUN, parsed) == text
    assert ids.is_id(text) or parsed is None
    found = ids.prefix_range(Prefix.RUN, text)
    assert found is None or found[0] <= found[1]


@pytest.mark.parametrize(
    "text", ["hello-world", "run_1", "foo_01h455vb4pex5vsknk084sn02q", "run-01h455vb4pex5vsknk084sn02q"]
)
def test_a_slug_that_reads_as_no_id_may_be_one(text: str):
    """Only a known prefix with 26 good characters takes a slug away."""
    assert not ids.is_id(text)


@given(TIMES, st.integers(0, 2**74 - 1))
def test_a_new_id_is_a_version_7_uuid_of_its_millisecond(now: datetime, noise: int):
    """Version and variant bits, the time to the millisecond, and every random bit kept."""
    number = ids.uuid7(now, lambda bits: noise % 2**bits)
    assert (number.version, number.variant) == (7, uuid.RFC_4122)
    assert ids.time_of(number) == now - timedelta(microseconds=now.microsecond % 1000)
    assert ((number.int >> 64 & 0xFFF) << 62 | number.int & 0x3FFF_FFFF_FFFF_FFFF) == noise


@given(TIMES, st.integers(1, 10_000))
def test_ids_sort_by_the_time_they_were_made(now: datetime, later: int):
    """Whatever the random bits, an earlier millisecond sorts first."""
    first, second = made(now, 1), ids.uuid7(now + timedelta(milliseconds=later), lambda _: 0)
    assert first < second


@given(UUIDS)
def test_every_uuid_has_a_time(number: UUID):
    """An id that somebody made up names at the latest the end of year 9999."""
    assert datetime(1970, 1, 1, tzinfo=UTC) <= ids.time_of(number) <= datetime.max.replace(tzinfo=UTC)


@given(UUIDS, st.integers(0, 26), UUIDS)
def test_a_shortened_id_means_exactly_the_ids_that_begin_so(number: UUID, length: int, other: UUID):
    """The range holds every id that begins with the text, and no other."""
    shortened = ids.spell(Prefix.RUN, number)[: len("run_") + length]
    found = ids.prefix_range(Prefix.RUN, shortened)
    assert found is not None
    assert found[0] <= number <= found[1]
    assert (found[0] <= other <= found[1]) == ids.spell(Prefix.RUN, other).startswith(shortened)


def test_the_bare_prefix_means_every_id():
    """`run_` alone is the whole range; a whole id is a range of one."""
    assert ids.prefix_range(Prefix.RUN, "run_") == (LOWEST, HIGHEST)
    one = ids.parse(Prefix.RUN, "run_01h455vb4pex5vsknk084sn02q")
    assert ids.prefix_range(Prefix.RUN, "run_01h455vb4pex5vsknk084sn02q") == (one, one)


@pytest.mark.parametrize(
    "text", ["", "run", "job_01h", "run_8", "run_z", "run_01u", "run_01H", "run_" + "0" * 27, "run_0_1"]
)
def test_a_beginning_that_no_id_has_is_none(text: str):
    """Nothing to look for, so nothing is asked of the database."""
    assert ids.prefix_range(Prefix.RUN, text) is None

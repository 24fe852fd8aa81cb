"""Expressions in plain English: sentences by hand, and that every expression has one."""

from __future__ import annotations

import pytest
from hypothesis import given

from strait_core import cron
from strait_core.explain import explain, notes
from tests.unit.test_cron import EXPRESSIONS


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("* * * * *", "Every minute."),
        ("*/5 * * * *", "Every 5 minutes."),
        ("*/7 * * * *", "Every 7 minutes."),
        ("0 * * * *", "Every hour, on the hour."),
        ("15 * * * *", "Every hour, at minute 15."),
        ("10-20 * * * *", "Every hour, at minutes 10 to 20."),
        ("5,35 * * * *", "Every hour, at minutes 5 and 35."),
        ("@daily", "At 00:00, every day."),
        ("30 2 * * *", "At 02:30, every day."),
        ("0 0,12 * * *", "At 00:00 and 12:00, every day."),
        ("0 9-17 * * 1-5", "Every hour from 09:00 to 17:00, Monday to Friday."),
        ("*/15 9-17 * * mon-fri", "Every 15 minutes from 09:00 to 17:59, Monday to Friday."),
        ("* 22-23,0-5 * * *", "Every minute from 00:00 to 05:59 and from 22:00 to 23:59."),
        ("5 4 * * sun", "At 04:05, on Sunday."),
        ("0 0 * * 6,7", "At 00:00, on Saturday and Sunday."),
        ("0 0 * * fri-sun", "At 00:00, Friday to Sunday."),
        ("0 0 * * 1,3,5", "At 00:00, on Monday, Wednesday and Friday."),
        ("0 */2 * * *", "Every 2 hours."),
        ("0 1-23/2 * * *", "Every 2 hours from 01:00 on."),
        ("0 1,2,3,5,6,7,8 * * *", "At 01:00, 02:00, 03:00, 05:00, 06:00, 07:00 and 08:00."),
        ("23 1-23/2 * * *", "At minute 23 of every 2nd hour from 01:00 on."),
        ("0,10,15 8-10,20 * * *", "At minutes 0, 10 and 15 of hours 08 to 10 and 20, every day."),
        ("0 0 1 * *", "At 00:00, on the 1st of the month."),
        ("0 0 1,15 * *", "At 00:00, on the 1st and the 15th of the month."),
        ("0 0 29 2 *", "At 00:00, on the 29th of February."),
        ("0 0 */2 * *", "At 00:00, on every 2nd day of the month from the 1st on."),
        ("0 0 13 * 5", "At 00:00, on the 13th of the month or on Friday."),
        ("0 0 1 */3 *", "At 00:00, on the 1st of the month, in every 3rd month from January on."),
        ("0 0 * 6-8 *", "At 00:00, every day, in June to August."),
        (
            "0 0 11-13,21-23 5,7 *",
            "At 00:00, on the 11th to the 13th and the 21st to the 23rd of the month, in May and July.",
        ),
        ("0 0 1 * 0-6", "At 00:00, on the 1st of the month or every day of the week."),
    ],
)
def test_a_sentence(text: str, sentence: str):
    """What a person would say."""
    assert explain(cron.parse(text)) == sentence


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0 9 * * *", ["names times of the day: follows dst_gap and dst_overlap where clocks change"]),
        ("0 * * * *", ["follows elapsed time where clocks change: every instant whose local time matches"]),
        ("*/7 * * * *", ["60 is no multiple of 7: the last step of each hour is shorter"]),
        ("0 */5 * * *", ["24 is no multiple of 5: the last step of each day is shorter"]),
        ("*/90 * * * *", ["step 90 is beyond the field: minute 0 alone matches"]),
        ("0 0 13 * 5", ["day of month and day of week are both given: either one is enough"]),
        ("0 0 31 * *", ["months without that day are skipped"]),
        ("0 0 29 2 *", ["only leap years have that day"]),
        ("0 0 1-31 * *", []),
    ],
)
def test_what_may_surprise(text: str, expected: list[str]):
    """Notes beside the sentence."""
    assert notes(cron.parse(text))[: len(expected)] == expected


@given(EXPRESSIONS)
def test_every_expression_has_a_sentence(text: str):
    """One line, beginning with a capital, ending with one full stop."""
    if cron.faults(text, "/cron"):
        return
    sentence = explain(cron.parse(text))
    assert sentence[0].isupper()
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert "  " not in sentence
    assert notes(cron.parse(text))

"""Faults of the database at the start: a message that names the fault and the fix, and no password."""

from __future__ import annotations

import pytest

from strait_core.errors import ConfigError
from strait_daemon import wiring
from tests.support.rig import settings_for


async def test_a_pooled_url_that_does_not_work(migrated: str) -> None:
    """The direct way is fine, the other is not: that is said as clearly, and at once."""
    head, _, rest = migrated.partition("@")
    wrong = f"{head.rpartition(':')[0]}:hunter2-hunter2@{rest}"
    settings = settings_for(wrong, DATABASE_DIRECT_URL=migrated)
    await wiring.prepare_database(settings)
    with pytest.raises(ConfigError) as caught:
        await wiring.build(settings)
    assert "authentication failed" in caught.value.message
    assert "hunter2" not in caught.value.message + (caught.value.hint or "")

"""How property tests run: without a clock on each example, the same examples in CI every time, many more in a soak.

Loaded by `-p tests.support.properties` in pyproject.toml, before any test module is imported.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

from tests.support.sizes import SOAK

# A busy machine makes single examples slow; pytest-timeout bounds the whole test.
settings.register_profile("strait", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.register_profile("ci", settings.get_profile("strait"), derandomize=True, database=None)
settings.register_profile("soak", settings.get_profile("strait"), max_examples=20_000)

if SOAK:
    settings.load_profile("soak")
elif os.environ.get("CI"):
    settings.load_profile("ci")
else:
    settings.load_profile("strait")

"""What every test may ask for; the fixtures themselves live in tests/support."""

from __future__ import annotations

pytest_plugins = [
    "tests.support.postgres",
    "tests.support.endpoint",
    "tests.support.valkey",
    "tests.support.rig",
    "tests.support.figures",
    "tests.support.order",
]

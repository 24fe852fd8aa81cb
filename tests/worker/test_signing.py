"""Signed requests as an endpoint sees them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time

from strait_core import ids
from strait_core.run import Status
from strait_daemon.vault import Vault
from tests.support.endpoint import Call, Endpoint
from tests.support.rig import Rig

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


def verify(call: Call, key: bytes) -> None:
    """What a receiver does with the three headers, by the text of the specification."""
    signed = f"{call.headers['webhook-id']}.{call.headers['webhook-timestamp']}.".encode() + call.body
    wanted = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert call.headers["webhook-signature"] == f"v1,{wanted}"
    assert abs(int(call.headers["webhook-timestamp"]) - time.time()) < 30


async def test_every_attempt_is_signed(rig: Rig, endpoint: Endpoint):
    """The same message id for each attempt of a run, over exactly the bytes that were sent."""
    sealed = rig.parts.vault.seal(SECRET)
    job = await rig.job(endpoint.url("/flaky/1"), signing_secret=sealed, max_attempts=2)
    new = rig.new_run(job, '{"text": "caf\u00e9",   "n": 1.50}')
    assert await rig.parts.intake.add(new)
    await rig.wait(new.id, Status.COMPLETED)
    first, second = endpoint.calls
    for call in (first, second):
        verify(call, bytes(range(32)))
        assert call.body == new.payload.encode()
        assert call.headers["webhook-id"] == ids.spell(ids.Prefix.RUN, new.id)


async def test_a_raw_secret_is_its_own_key(rig: Rig, endpoint: Endpoint):
    """A secret without the prefix signs with its characters."""
    job = await rig.job(endpoint.url(), signing_secret=rig.parts.vault.seal("a-raw-secret-of-our-own-making"))
    (run_id,) = await rig.add(job)
    await rig.wait(run_id, Status.COMPLETED)
    verify(endpoint.calls[0], b"a-raw-secret-of-our-own-making")


async def test_without_a_secret_nothing_is_signed(rig: Rig, endpoint: Endpoint):
    """No webhook headers at all."""
    (run_id,) = await rig.add(await rig.job(endpoint.url()))
    await rig.wait(run_id, Status.COMPLETED)
    assert not any(name.lower().startswith("webhook-") for name in endpoint.calls[0].headers)


async def test_nothing_leaves_unsigned_when_the_key_is_lost(rig: Rig, endpoint: Endpoint):
    """A secret that no key opens is our own fault: the attempts fail, the endpoint sees nothing."""
    sealed = Vault(["another key, of thirty-two characters"]).seal(SECRET)
    (run_id,) = await rig.add(await rig.job(endpoint.url(), signing_secret=sealed, max_attempts=1))
    run = await rig.wait(run_id)
    assert (run["status"], run["error_class"]) == (Status.SYSTEM_FAILED, "system")
    assert "ENCRYPTION_KEY" in run["error"]
    assert SECRET not in json.dumps(run, default=str)
    assert endpoint.calls == []

"""`strait events` and `strait runs lineage` against a real daemon."""

from __future__ import annotations

import httpx

from tests.cli.runner import Shell
from tests.support.endpoint import Call, Endpoint
from tests.support.plain import NO_TLS
from tests.support.waiting import eventually


def at_work(shell: Shell, endpoint: Endpoint, slug: str) -> Call:
    """A new run of the job, in the hands of its endpoint."""
    run = shell.ok("trigger", slug, "-o", "name").out.strip()
    eventually(lambda: any(call.run == run for call in endpoint.calls))
    return next(call for call in endpoint.calls if call.run == run)


def say(shell: Shell, call: Call, path: str, body: dict[str, object]) -> dict[str, str]:
    """What the endpoint says with its token."""
    answer = httpx.post(
        f"{shell.settings['STRAIT_SERVER']}/sdk/v1/runs/{call.run}/{path}",
        headers={"Authorization": f"Bearer {call.headers['X-Run-Token']}"},
        json=body,
        trust_env=False,
        verify=NO_TLS,
    )
    assert answer.status_code == 201
    said: dict[str, str] = answer.json()
    return said


def test_a_run_waits_and_its_events_are_sent(shell: Shell, cli_endpoint: Endpoint):
    """Listed, read, sent, sent to a prefix, canceled; a watch says what is waited for."""
    shell.ok("jobs", "create", "--name", "Hold", "--slug", "slow", "--endpoint", cli_endpoint.url("/slow/3"))
    call = at_work(shell, cli_endpoint, "slow")
    for key in ("order:1", "order:2", "never"):
        say(shell, call, "wait-for-event", {"event_key": key})
    listed = shell.ok("events", "list", "--status", "waiting", "--prefix", "order:", "-o", "json").json
    assert {event["key"] for event in listed} == {"order:1", "order:2"}
    watched = shell.ok("runs", "watch", call.run, "--until", "waiting").out
    assert "event order:1 until" in watched
    sent = shell.ok("events", "send", "order:1", "--payload", '{"paid": true}')
    assert "delivered: 1" in sent.err
    paid = shell.ok("events", "get", "order:1", "-o", "json").json
    assert paid["payload"] == {"paid": True}
    assert shell.ok("events", "get", paid["id"][:-2], "-o", "json").json == paid
    shell.run("events", "get", "evt_7zzz", code=5)
    # The same in another way of saying it: the event stays as it was.
    assert shell.ok("events", "send", "order:1", "--set", "paid=true", "-o", "json").json["id"] == paid["id"]
    shell.run("events", "send", "order:1", "--payload", "2", code=6)
    shell.ok("events", "send", "order:", "--by-prefix")
    assert shell.ok("events", "get", "order:2", "-o", "json").json["status"] == "received"
    assert shell.ok("events", "cancel", "never", "-o", "json").json["status"] == "canceled"
    shell.ok("runs", "watch", call.run)
    shell.run("events", "get", "nothing", code=5)


def test_a_family_is_a_tree(shell: Shell, job: str, cli_endpoint: Endpoint):
    """Each run below the one that made it, from wherever one looks; as JSON it is whole."""
    shell.ok("jobs", "create", "--name", "Hold", "--slug", "slow", "--endpoint", cli_endpoint.url("/slow/3"))
    call = at_work(shell, cli_endpoint, "slow")
    child = say(shell, call, "spawn", {"job": job})["id"]
    later = say(shell, call, "continue", {})["id"]
    lines = shell.ok("runs", "lineage", call.run).out.splitlines()
    assert lines[0].startswith(call.run)
    assert f"├─ {child}" in lines[1]
    assert f"└─ {later}" in lines[2]
    assert "(goes on from it)" in lines[2]
    assert shell.ok("runs", "lineage", child).out.splitlines()[1].startswith(f"└─ {child}")
    family = shell.ok("runs", "lineage", call.run, "-o", "json").json
    assert [run["id"] for run in family["descendants"]] == [child, later]

"""Every verb of the command line with words to run it by, and a place where they make sense."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from tests.cli.runner import Shell
from tests.support.daemon import Daemon
from tests.support.endpoint import Endpoint
from tests.support.waiting import eventually

# Verbs that become the daemon or fill the screen, and the tests that start them as a person does.
ELSEWHERE: Final[Mapping[str, str]] = {
    "dev": "tests/e2e/test_dev.py",
    "dev reset": "tests/e2e/test_dev.py",
    "demo": "tests/e2e/test_demo.py",
    "serve": "tests/e2e/test_serve.py",
    "migrate status": "tests/e2e/test_migrate.py",
    "migrate up": "tests/e2e/test_migrate.py",
    "dashboard": "tests/system/test_views.py",
}
# What stands in braces is made for each run of the line, where it does not last: see `Place`.
LINES: Final[Mapping[str, str]] = {
    "init": "{new}",
    "doctor": "",
    "version": "",
    "jobs list": "",
    "jobs get": "echo",
    "jobs create": "--name N --slug {new} --endpoint http://127.0.0.1:9/",
    "jobs update": "echo --description {new}",
    "jobs edit": "echo",
    "jobs delete": "{job} --yes",
    "jobs clone": "echo {new}",
    "jobs pause": "{job} --reason r",
    "jobs resume": "{job}",
    "jobs versions": "echo",
    "jobs next-runs": "nightly",
    "jobs health": "echo",
    "jobs test": "echo --set a=1",
    "jobs trigger": "echo --set a=1",
    "jobs trigger-bulk": "echo --items [{{}},{{}}]",
    "runs list": "",
    "runs get": "{run}",
    "runs watch": "{run}",
    "runs wait": "{run}",
    "runs attempts": "{run}",
    "runs events": "{run}",
    "runs explain": "{run}",
    "runs cancel": "{delayed} --yes",
    "runs replay": "{dead}",
    "runs reschedule": "{delayed} --in 5m",
    "runs dlq": "",
    "runs bulk-cancel": "{delayed} {delayed} --yes",
    "runs bulk-replay": "{dead} --yes",
    "runs export": "{new}.jsonl",
    "runs logs": "{run}",
    "runs lineage": "{run}",
    "workflows list": "",
    "workflows get": "pipe",
    "workflows create": "--name N --slug {new} --steps @steps.json",
    "workflows update": "pipe --description {new}",
    "workflows delete": "{flow} --yes",
    "workflows clone": "pipe {new}",
    "workflows pause": "{flow} --reason r",
    "workflows resume": "{flow}",
    "workflows runs": "pipe",
    "workflows versions": "pipe",
    "workflows diff": "pipe 1 1",
    "workflows graph": "pipe",
    "workflows plan": "pipe",
    "workflows simulate": "pipe",
    "workflows dry-run": "pipe",
    "workflows validate": "--file flow.yaml",
    "workflows trigger": "pipe --set a=1",
    "schedules list": "",
    "schedules get": "nightly",
    "schedules pause": "nightly --reason r",
    "schedules resume": "nightly",
    "schedules trigger": "nightly",
    "schedules history": "nightly",
    "schedules breaches": "nightly",
    "schedules next": "nightly --count 2",
    "schedules backfill": "nightly --from 2020-01-01 --to 2020-01-03 --dry-run",
    "calendars list": "",
    "calendars get": "days",
    "calendars create": "{new} --days sat,sun",
    "calendars update": "days --days sat,2030-12-24",
    "calendars delete": "{calendar} --yes",
    "trigger": "echo --set a=1 --wait",
    "cron check": "'0 9 * * 1-5'",
    "cron next": "'0 9 * * 1-5' --count 2",
    "cron explain": "'0 9 * * 1-5'",
    "cron simulate": "'0 9 * * *' --from 2030-01-01 --to 2030-01-03",
    "cron backfill": "nightly --from 2020-01-01 --to 2020-01-03 --dry-run",
    "wait": "{run}",
    "workflow-runs list": "",
    "workflow-runs get": "{done}",
    "workflow-runs watch": "{done}",
    "workflow-runs explain": "{done}",
    "workflow-runs timeline": "{done}",
    "workflow-runs graph": "{done}",
    "workflow-runs pause": "{napping}",
    "workflow-runs resume": "{paused}",
    "workflow-runs cancel": "{napping} --yes",
    "workflow-runs retry": "{canceled}",
    "workflow-runs compensate": "{failed} --yes",
    "workflow-runs bulk-cancel": "{napping} --yes",
    "workflow-runs bulk-retry": "{canceled} --yes",
    "workflow-runs steps list": "{done}",
    "workflow-runs steps get": "{done} load",
    "workflow-runs steps retry": "{failed} load",
    "workflow-runs steps replay-subtree": "{failed} extract",
    "workflow-runs steps skip": "{napping} nap --reason r",
    "workflow-runs steps force-complete": "{napping} nap --set-output 1",
    "workflow-runs steps approve": "{asking} ask --comment c",
    "workflow-runs steps reject": "{asking} ask --comment c",
    "approvals list": "",
    "approvals approve": "{approval} --comment c",
    "approvals reject": "{approval} --comment c",
    "validate": "",
    "diff": "",
    "apply": "--file {manifest} --yes",
    "export": "",
    "schema": "",
    "trace": "{run}",
    "top": "--once",
    "listen": "--timeout 0.05 --status crashed",
    "stats": "",
    "changes": "--limit 3",
    "workers list": "",
    "workers drain": "{worker} --yes",
    "events list": "",
    "events get": "{event}",
    "events send": "{event} --payload 1",
    "events cancel": "{event}",
    "budgets get": "{project}",
    "budgets set": "{project} --daily-microusd 5000000",
    "webhooks deliveries": "",
    "webhooks retry": "{delivery}",
    "webhooks test": "hooked",
    "login": "--api-key env:INTERNAL_SECRET",
    "logout": "--context {context}",
    "whoami": "",
    "context list": "",
    "context show": "one",
    "context use": "one",
    "context create": "{new} --api-key env:INTERNAL_SECRET",
    "context rename": "{context} {new}",
    "context delete": "{context} --yes",
    "config show": "",
    "config get": "server",
    "config set": "request_timeout 20",
    "config edit": "",
    "config path": "",
    "config explain": "",
    "config trust": "--yes",
    "alias list": "",
    "alias set": "{new} 'runs list'",
    "alias delete": "{alias}",
    "api": "/v1/stats",
    "completion show": "bash",
    "completion install": "bash",
}
# What says all it has to say on stderr.
SILENT: Final = frozenset(
    {
        "runs export", "login", "logout", "context use", "context create", "context rename", "context delete",
        "config set", "config edit", "config trust", "alias set", "alias delete", "completion install", "listen",
    }
)  # fmt: skip
# Whose tables may be empty: what is gone, what is the same, what there is none of.
EMPTY: Final = frozenset(
    {"jobs delete", "workflows delete", "calendars delete", "diff", "workflows diff", "runs logs", "schedules breaches"}
)
# What shows values of any length, which a terminal wraps.
LONG: Final = frozenset({"jobs test", "runs watch", "trigger", "schema", "completion show", "config path"})
# What is text of its own kind, and the same in every format.
TEXT: Final = frozenset({"schema", "completion show", "config path"})
# Formats that a verb refuses, since there is no such thing.
REFUSED: Final[Mapping[str, frozenset[str]]] = {"export": frozenset({"jsonl", "csv", "name"})}

_STEPS: Final = '[{"step_ref": "extract", "job_id": "echo"}]'
_MANIFEST: Final = "jobs:\n  - {{slug: {slug}, name: Filed, endpoint_url: 'http://127.0.0.1:9/'}}\n"


@dataclass
class Place:
    """A home, a project and a daemon in which each of the lines makes sense; names in braces are made here."""

    shell: Shell
    daemon: Daemon
    endpoint: Endpoint
    lasting: dict[str, str] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def words(self, verb: str) -> list[str]:
        """The words of a verb's line, with new things in the place of what does not last."""
        return [*verb.split(), *shlex.split(LINES[verb].format_map(self))]

    def __getitem__(self, name: str) -> str:
        """What a name in braces stands for."""
        if name in self.lasting:
            return self.lasting[name]
        make: Callable[[], str] = getattr(self, f"make_{name}")
        return make()

    def call(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """One POST in the project of the shell."""
        headers = {"X-Project-Id": self.shell.settings["STRAIT_PROJECT"]}
        answer: dict[str, Any] = self.daemon.call("POST", f"/v1/{path}", dict(body or {}), headers=headers)
        return answer

    def prepare(self) -> None:
        """Everything that lasts."""
        shell, url = self.shell, self.endpoint.url
        project = {"project_id": shell.settings["STRAIT_PROJECT"]}
        self.call("calendars", {**project, "slug": "days", "weekdays": ["sat"]})
        for slug, more in (
            ("echo", {}),
            ("bad", {"endpoint_url": url("/status/500"), "max_attempts": 1, "breaker_threshold": 0}),
            ("nightly", {"cron": "0 0 1 1 *"}),
            ("hooked", {"webhook_url": url("/empty/hook")}),
        ):
            self.call("jobs", {**project, "name": slug, "slug": slug, "endpoint_url": url("/echo"), **more})
        extract = {"step_ref": "extract", "job_id": "echo", "compensation_job": "echo"}
        nap = {"step_ref": "nap", "step_type": "sleep", "sleep_duration": "1h"}
        for slug, steps in (
            ("pipe", [extract, {"step_ref": "load", "job_id": "echo", "depends_on": ["extract"]}]),
            ("fails", [extract, {"step_ref": "load", "job_id": "bad", "depends_on": ["extract"]}]),
            ("naps", [nap]),
            ("asks", [{"step_ref": "ask", "step_type": "approval"}]),
            ("waits", [{"step_ref": "wait", "step_type": "wait_for_event", "event_key": "{{payload.key}}"}]),
        ):
            self.call("workflows", {**project, "name": slug, "slug": slug, "steps": steps})
        self.lasting["project"] = shell.settings["STRAIT_PROJECT"]
        self.lasting["run"] = self.ended("echo")
        self.lasting["done"] = self.make_done()
        self.make_approval()
        self.make_delivery()
        self.make_event()
        self.make_alias()
        shell.ok("context", "create", "one")
        self._files()

    def _files(self) -> None:
        folder = self.shell.folder
        (folder / ".strait.toml").write_text(f'project = "{self.shell.settings["STRAIT_PROJECT"]}"\n')
        (folder / "steps.json").write_text(_STEPS)
        (folder / "flow.yaml").write_text(f"name: F\nslug: flow\nsteps: {_STEPS}\n")
        (folder / "strait.yaml").write_text(_MANIFEST.format(slug="filed"))
        (folder / "edit.sh").write_text('sed -i "s/^description:.*/description: at $(date +%s%N)/" "$1"\n')
        self.shell.settings |= {"VISUAL": f"sh {folder}/edit.sh"}
        self.shell.ok("apply", "--yes")

    def ended(self, slug: str) -> str:
        """A run of a job that is over."""
        return str(self.daemon.wait_for(self.call(f"jobs/{slug}/trigger")["id"])["id"])

    def flow_run(self, slug: str, *states: str, payload: Any = None) -> str:
        """A run of a workflow, in one of these states."""
        run = self.call(f"workflows/{slug}/trigger", {"payload": payload or {}})["id"]
        eventually(lambda: self.daemon.call("GET", f"/v1/workflow-runs/{run}")["status"] in states)
        return str(run)

    def make_new(self) -> str:
        """A name that nothing has."""
        return f"new-{next(self._numbers)}"

    def make_job(self) -> str:
        """A job that nobody needs."""
        slug = self.make_new()
        self.call("jobs/echo/clone", {"slug": slug})
        return slug

    def make_flow(self) -> str:
        """A workflow that nobody needs."""
        slug = self.make_new()
        self.call("workflows/pipe/clone", {"slug": slug})
        return slug

    def make_calendar(self) -> str:
        """A calendar that nobody goes by."""
        slug = self.make_new()
        self.call("calendars", {"project_id": self.shell.settings["STRAIT_PROJECT"], "slug": slug, "weekdays": ["sun"]})
        return slug

    def make_delayed(self) -> str:
        """A run that is due in an hour."""
        later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        return str(self.call("jobs/echo/trigger", {"scheduled_at": later})["id"])

    def make_dead(self) -> str:
        """A dead letter."""
        return self.ended("bad")

    def make_done(self) -> str:
        """A workflow run that completed."""
        return self.flow_run("pipe", "completed")

    def make_failed(self) -> str:
        """A workflow run that failed with a step to undo."""
        return self.flow_run("fails", "failed")

    def make_napping(self) -> str:
        """A workflow run that goes on for an hour."""
        return self.flow_run("naps", "running")

    def make_paused(self) -> str:
        """A workflow run that is paused."""
        run = self.make_napping()
        self.call(f"workflow-runs/{run}/pause")
        return run

    def make_canceled(self) -> str:
        """A workflow run that was canceled."""
        run = self.make_napping()
        self.call(f"workflow-runs/{run}/cancel")
        return run

    def make_asking(self) -> str:
        """A workflow run that asks."""
        return self.flow_run("asks", "running")

    def make_approval(self) -> str:
        """A question."""
        run = self.make_asking()
        listed = eventually(lambda: self._of(run, "approvals"))
        return str(listed[0]["id"])

    def _of(self, run: str, noun: str) -> list[dict[str, Any]]:
        found = self.daemon.call("GET", f"/v1/{noun}")["data"]
        return [one for one in found if one["workflow_run_id"] == run]

    def make_event(self) -> str:
        """The key of an event that somebody waits for."""
        key = self.make_new()
        self.flow_run("waits", "running", payload={"key": key})
        eventually(lambda: self.daemon.call("GET", "/v1/events", params={"prefix": key})["data"])
        return key

    def make_delivery(self) -> str:
        """A webhook that has been delivered."""
        identity = self.call("webhooks/test", {"job_id": "hooked"})["id"]

        def delivered() -> list[str]:
            found = self.daemon.call("GET", "/v1/webhooks/deliveries", params={"status": "delivered"})["data"]
            return [one["id"] for one in found if one["id"] == identity]

        return eventually(delivered)[0]

    def make_manifest(self) -> str:
        """A file with a job that is not there yet."""
        slug = self.make_new()
        (self.shell.folder / f"{slug}.yaml").write_text(f"name: {slug}\n{_MANIFEST.format(slug=slug)}")
        return f"{slug}.yaml"

    def make_context(self) -> str:
        """A context with a key."""
        name = self.make_new()
        self.shell.ok("context", "create", name, "--api-key", "env:INTERNAL_SECRET")
        return name

    def make_alias(self) -> str:
        """An alias."""
        name = self.make_new()
        self.shell.ok("alias", "set", name, "runs list")
        return name

"""Settings: every field over every pair of layers, what a local file may say, and where keys are kept."""

from __future__ import annotations

import itertools
import os
import stat
from pathlib import Path

import pytest

from strait_cli import files, keys, trust
from strait_cli.context import FIELDS, Layers, Source, read_layers
from strait_core.errors import ConfigError, NotFoundError, UsageError
from tests.cli.runner import Shell

# Two values of each field: the stronger layer's, and the weaker's.
VALUES = {
    "server": ("https://a.example.com", "https://b.example.com"),
    "api_key": ("key-a", "key-b"),
    "project": ("pa", "pb"),
    "format": ("json", "csv"),
    "time_format": ("iso", "utc"),
    "color": ("always", "never"),
    "request_timeout": ("5", "6"),
}
LAYERS = (Source.FLAG, Source.ENV, Source.LOCAL, Source.CONTEXT, Source.DEFAULT)
IN_LOCAL = ("server", "api_key", "project", "format")


class World:
    """A home and a folder whose layers can be set one by one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = {"XDG_CONFIG_HOME": str(folder / "config"), "XDG_DATA_HOME": str(folder / "data")}
        self.flags: dict[str, str] = {}

    def set(self, layer: Source, name: str, text: str) -> None:
        """Put a value into a layer."""
        field = FIELDS[name]
        quoted = f'"env:{text}"' if name == "api_key" else f'"{text}"'
        match layer:
            case Source.FLAG:
                self.flags[name] = text
            case Source.ENV:
                self.environ[field.variables[0]] = text
            case Source.LOCAL:
                local = f"{field.in_file} = {quoted}\n"
                (self.folder / files.LOCAL_FILE).write_text(local)
                trust.approve(self.folder / files.LOCAL_FILE, local, self.environ)
            case Source.CONTEXT:
                path = files.config_file(self.environ)
                files.write_private(path, f'current = "c"\n[contexts.c]\n{field.in_file} = {quoted}\n')
            case Source.DEFAULT:
                pass

    def layers(self) -> Layers:
        """The settings as a command would read them."""
        return read_layers(self.flags, environ=self.environ, folder=self.folder)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """An empty home."""
    return World(tmp_path)


PAIRS = [
    (name, stronger, weaker)
    for name in FIELDS
    for stronger, weaker in itertools.combinations(LAYERS, 2)
    if name in IN_LOCAL or Source.LOCAL not in {stronger, weaker}
]


@pytest.mark.parametrize(("name", "stronger", "weaker"), PAIRS)
def test_the_stronger_layer_counts(world: World, name: str, stronger: Source, weaker: Source):
    """Flag before environment before local file before context before default, for every field and pair."""
    a, b = VALUES[name]
    world.set(weaker, name, b)
    world.set(stronger, name, a)
    value = world.layers().value(name)
    assert value.source is stronger
    assert (value.text or "").removeprefix("env:") == a
    assert world.layers().candidates(name)[1].source is weaker


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_has_its_default(world: World, name: str):
    """With nothing set, the default counts."""
    value = world.layers().value(name)
    assert (value.text, value.source) == (FIELDS[name].default, Source.DEFAULT)


@pytest.mark.parametrize("name", sorted(set(FIELDS) - set(IN_LOCAL)))
def test_a_local_file_sets_nothing_else(world: World, name: str):
    """A field that a local file may not have is refused by name."""
    (world.folder / files.LOCAL_FILE).write_text(f'{name} = "x"\n')
    with pytest.raises(ConfigError, match=name):
        world.layers()


def test_a_strangers_file_redirects_nothing(world: World):
    """Server and key of an untrusted local file are ignored, with a warning; project and format count."""
    text = 'server = "https://evil.example.com"\nkey = "env:HOME"\nproject = "p"\nformat = "json"\n'
    (world.folder / files.LOCAL_FILE).write_text(text)
    layers = world.layers()
    assert layers.value("server").source is Source.DEFAULT
    assert layers.value("api_key").source is Source.DEFAULT
    assert layers.value("project").text == "p"
    assert layers.value("format").text == "json"
    assert "server and key" in layers.warnings[0]


def test_what_is_no_small_file_is_not_read(world: World):
    """A pipe in its place would be waited for, an endless file would fill the memory."""
    local = world.folder / ".strait.toml"
    os.mkfifo(local)
    assert world.layers().value("project").source is Source.DEFAULT
    local.unlink()
    local.write_text("#" * 70_000)
    with pytest.raises(ConfigError, match="larger"):
        world.layers()
    local.unlink()
    local.symlink_to("/dev/zero")
    assert world.layers().value("project").source is Source.DEFAULT


def test_a_folder_that_is_gone_has_no_file(world: World, monkeypatch: pytest.MonkeyPatch):
    """Whoever stands in a deleted folder is served all the same."""
    gone = world.folder / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert read_layers({}, environ=world.environ).value("project").source is Source.DEFAULT


def test_trust_ends_when_the_file_changes(world: World):
    """The approval is for one content at one path."""
    world.set(Source.LOCAL, "server", "https://a.example.com")
    assert world.layers().value("server").source is Source.LOCAL
    (world.folder / files.LOCAL_FILE).write_text('server = "https://evil.example.com"\n')
    assert world.layers().value("server").source is Source.DEFAULT
    elsewhere = world.folder / "other"
    elsewhere.mkdir()
    (elsewhere / files.LOCAL_FILE).write_text('server = "https://a.example.com"\n')
    assert not trust.is_trusted(elsewhere / files.LOCAL_FILE, 'server = "https://a.example.com"\n', world.environ)


def test_a_damaged_ledger_trusts_nothing(world: World):
    """Half a ledger is no approval."""
    world.set(Source.LOCAL, "server", "https://a.example.com")
    (world.folder / "data/strait/trusted.json").write_text('{"')
    assert world.layers().value("server").source is Source.DEFAULT


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("this is not toml", "not TOML"),
        ('colour = "x"', "unknown setting `colour`"),
        ("contexts = 3", "must be tables"),
        ('[contexts.a]\nserver = ["x"]', "must be text"),
        ('[contexts.a]\napi_key = "raw"', "unknown setting `api_key`"),
    ],
)
def test_a_wrong_file_is_named(world: World, text: str, complaint: str):
    """A fault in config.toml names the file and the way out."""
    files.write_private(files.config_file(world.environ), text)
    with pytest.raises(ConfigError, match=complaint) as caught:
        world.layers()
    assert "config.toml" in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("server", "127.0.0.1:8080"),
        ("format", "xml"),
        ("color", "sometimes"),
        ("time_format", "swatch"),
        ("request_timeout", "0"),
        ("request_timeout", "inf"),
        ("request_timeout", "soon"),
    ],
)
def test_a_wrong_value_is_refused_where_it_stands(world: World, name: str, text: str):
    """A wrong flag is a usage error, a wrong variable a configuration error that names it."""
    world.set(Source.ENV, name, text)
    with pytest.raises(ConfigError, match=FIELDS[name].variables[0]):
        world.layers().value(name)
    world.set(Source.FLAG, name, text)
    with pytest.raises(UsageError, match=text):
        world.layers().value(name)


def test_a_context_must_exist(world: World):
    """Naming a context that is not there is an error with the nearest name."""
    world.set(Source.CONTEXT, "project", "p")
    world.flags["context"] = "cc"
    with pytest.raises(NotFoundError, match="cc") as caught:
        world.layers()
    assert caught.value.hint == "did you mean `c`?"


def test_the_context_is_chosen_by_flag_then_variable_then_file(world: World):
    """--context outranks STRAIT_CONTEXT, that outranks `current`."""
    text = 'current = "a"\n' + "".join(f'[contexts.{name}]\nproject = "{name}"\n' for name in "abc")
    files.write_private(files.config_file(world.environ), text)
    assert world.layers().value("project").text == "a"
    world.environ["STRAIT_CONTEXT"] = "b"
    assert world.layers().value("project").text == "b"
    world.flags["context"] = "c"
    assert world.layers().value("project").text == "c"


def test_internal_secret_is_the_key_where_no_other_is_named(world: World):
    """INTERNAL_SECRET stands in for STRAIT_API_KEY."""
    world.environ["INTERNAL_SECRET"] = "internal"
    assert keys.find_key(world.layers()) == "internal"
    world.environ["STRAIT_API_KEY"] = "own"
    assert keys.find_key(world.layers()) == "own"


@pytest.mark.parametrize(
    ("server", "sent"), [("https://far.example.com", "the context's"), ("http://127.0.0.1:8080", "internal")]
)
def test_internal_secret_stays_on_this_machine(world: World, server: str, sent: str):
    """The secret of a local daemon is never sent to a far server that a context names with a key of its own."""
    text = f'current = "c"\n[contexts.c]\nserver = "{server}"\nkey = "env:CONTEXT_KEY"\n'
    files.write_private(files.config_file(world.environ), text)
    world.environ |= {"INTERNAL_SECRET": "internal", "CONTEXT_KEY": "the context's"}
    assert keys.find_key(world.layers()) == sent


def test_keys_without_a_key_store_go_into_a_private_file(shell: Shell):
    """Where no keyring answers, the key is kept in a 0600 file in a 0700 folder, and found again."""
    server = shell.settings.pop("STRAIT_SERVER")
    secret = shell.settings.pop("INTERNAL_SECRET")
    shell.ok("context", "create", "here", "--server", server, "--api-key", "-", stdin=secret + "\n")
    path = shell.home / ".local/share/strait/keys/here"
    assert path.read_text().strip() == secret
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(shell.config.stat().st_mode) == 0o600
    assert secret not in shell.config.read_text()
    shell.ok("stats")
    shell.ok("context", "rename", "here", "there")
    assert not path.exists()
    shell.ok("stats")
    shell.ok("context", "delete", "there", "--yes")
    assert not path.with_name("there").exists()


def test_a_key_in_the_keyring_leaves_no_file(shell: Shell, tmp_path: Path):
    """Where a key store answers, the configuration holds the word `keyring` and nothing else."""
    (tmp_path / "store_for_tests.py").write_text(KEYRING)
    env = {
        "PYTHON_KEYRING_BACKEND": "store_for_tests.Store",
        "PYTHONPATH": f"{tmp_path}:{shell.environment()['PYTHONPATH']}",
    }
    server, secret = shell.settings.pop("STRAIT_SERVER"), shell.settings.pop("INTERNAL_SECRET")
    (tmp_path / "key").write_text(secret)
    shell.run(
        "context", "create", "here", "--server", server, "--api-key", f"@{tmp_path}/key", env=env, code=0, fresh=True
    )
    assert 'key = "keyring"' in shell.config.read_text()
    assert (tmp_path / "store").read_text() == f"strait here {secret}"
    assert not (tmp_path / ".local/share/strait/keys").exists()
    shell.run("stats", env=env, code=0, fresh=True)


KEYRING = '''
import os
from keyring.backend import KeyringBackend

class Store(KeyringBackend):
    """A key store for one key."""
    priority = 5
    path = os.path.join(os.environ["HOME"], "store")

    def set_password(self, service, username, password):
        with open(self.path, "w") as file:
            file.write(f"{service} {username} {password}")

    def get_password(self, service, username):
        name, account, key = open(self.path).read().split()
        return key if (name, account) == (service, username) else None
'''


def test_explain_names_the_origin_of_each_value(alone: Shell):
    """`config explain` shows value, layer and variable or file, and what is outranked, and no key."""
    alone.ok("context", "create", "prod", "--server", "https://strait.example.com", "--api-key", "env:PROD_KEY")
    (alone.folder / files.LOCAL_FILE).write_text('project = "web"\n')
    rows = alone.ok("config", "explain", "-o", "json", env={"STRAIT_API_KEY": "sesame"}).json
    found = {row["setting"]: row for row in rows}
    assert found["server"]["origin"] == "STRAIT_SERVER"
    assert found["server"]["outranks"][0]["value"] == "https://strait.example.com"
    assert found["project"]["source"] == "local file"
    assert found["format"]["origin"] == "--output"
    assert found["api_key"]["value"] == "********"
    assert found["api_key"]["outranks"][0]["value"] == "env:PROD_KEY"
    assert found["context"]["value"] == "prod"


def test_comments_survive_a_change(alone: Shell):
    """`config set` changes one line of the user's file."""
    alone.config.parent.mkdir(parents=True)
    alone.config.write_text('# mine\ncurrent = "a"  # work\n\n[contexts.a]\n# ours\nproject = "x"\n')
    alone.ok("config", "set", "format", "json")
    alone.ok("config", "set", "project", "y")
    text = alone.config.read_text()
    assert text == '# mine\ncurrent = "a"  # work\n\n[contexts.a]\n# ours\nproject = "y"\nformat = "json"\n'
    alone.ok("config", "set", "format", "--unset")
    assert "format" not in alone.config.read_text()


def test_trust_is_asked_for_and_then_counts(alone: Shell):
    """`config trust` shows the file, wants a yes, and lets its server count."""
    alone.settings.pop("STRAIT_SERVER")
    (alone.folder / files.LOCAL_FILE).write_text('server = "http://127.0.0.1:9"\n')
    refused = alone.run("config", "get", "server", code=0)
    assert refused.out == "http://127.0.0.1:8080\n"
    assert "strait config trust" in refused.err
    assert alone.run("config", "trust").code == 2
    shown = alone.ok("config", "trust", "--yes")
    assert 'server = "http://127.0.0.1:9"' in shown.err
    assert alone.ok("config", "get", "server").out == "http://127.0.0.1:9\n"


def test_contexts_are_made_used_renamed_and_deleted(alone: Shell):
    """The life of a context; the first one made becomes current."""
    alone.ok("context", "create", "a", "--server", "https://a.example.com", "--project", "web")
    alone.ok("context", "create", "b", "--server", "https://b.example.com", "-o", "wide")
    listed = alone.ok("context", "list", "-o", "json").json
    assert [(one["name"], one["active"]) for one in listed] == [("a", True), ("b", False)]
    alone.ok("context", "use", "b")
    assert alone.ok("context", "show", "-o", "json").json["server"] == "https://b.example.com"
    alone.ok("context", "rename", "b", "c")
    assert alone.ok("context", "show", "-o", "name").out == "c\n"
    assert alone.run("context", "delete", "c").code == 2
    alone.ok("context", "delete", "c", "--yes")
    assert alone.run("context", "show").code == 5
    assert alone.run("context", "use", "c").code == 5
    assert alone.run("context", "create", "a").code == 6
    assert alone.run("context", "create", "../a").code == 2


@pytest.mark.parametrize("variable", ["XDG_CONFIG_HOME", "XDG_DATA_HOME"])
def test_a_relative_xdg_folder_is_ignored(variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """As the specification demands."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for found in (files.config_file, files.data_folder):
        assert str(found({variable: "here"})).startswith(str(tmp_path))

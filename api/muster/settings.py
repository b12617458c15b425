"""Where the controller is and how to talk to it: flag > environment > ./muster.yaml > user config > default."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from muster_protos.errors import MissingExtraError, UnreachableError, UsageError

DEFAULT_URL = "http://127.0.0.1:8470"
PROJECT_FILE = "muster.yaml"
KEYS = ("url", "token", "ca", "data", "output", "timeout_s")
SECRET_KEYS = frozenset({"token"})
ADMIN_TOKEN = Path("identity") / "admin-token"
ENDPOINTS = "endpoints.json"


@dataclass(frozen=True, slots=True)
class Setting:
    """One value and where it came from."""

    key: str
    value: str
    origin: str

    @property
    def shown(self) -> str:
        """The value for people; secrets stay hidden."""
        return "(hidden)" if self.key in SECRET_KEYS and self.value else self.value


Settings = Mapping[str, Setting]


def load_settings(flags: Mapping[str, str | None] | None = None) -> dict[str, Setting]:
    """Every key with its winning value.

    Raises:
        UsageError: a configuration file is not a flat YAML mapping of known keys.
    """
    flags = flags or {}
    user_file = user_config_path()
    layers: list[tuple[str, Mapping[str, str]]] = [
        ("flag", {key: value for key, value in flags.items() if value}),
        ("environment", {key: os.environ[name] for key in KEYS if os.environ.get(name := f"MUSTER_{key.upper()}")}),
        (f"./{PROJECT_FILE}", read_config(Path(PROJECT_FILE))),
        (str(user_file), read_config(user_file)),
        ("default", {"data": str(default_data_path()), "output": "table", "timeout_s": "30"}),
    ]
    settings = {key: _winner(key, layers) for key in KEYS}
    return _with_local_controller(settings)


def default_data_path() -> Path:
    """``$XDG_DATA_HOME/muster`` or ``~/.local/share/muster``."""
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "muster"


def user_config_path() -> Path:
    """``$XDG_CONFIG_HOME/muster/config.yaml`` or ``~/.config/muster/config.yaml``."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "muster" / "config.yaml"


def read_config(path: Path) -> dict[str, str]:
    """A flat mapping of known keys; empty when there is no such file."""
    try:
        text = path.read_text()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise UsageError(f"expected to read {path}, found: {error.strerror}") from error
    return _parse(text, path)


def write_config(path: Path, values: Mapping[str, str]) -> None:
    """Replace the file with ``values``, readable by its owner only."""
    yaml = _yaml()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(yaml.safe_dump(dict(values), sort_keys=True))
    temporary.replace(path)


def _parse(text: str, path: Path) -> dict[str, str]:
    yaml = _yaml()
    try:
        content = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise UsageError(f"expected YAML in {path}, found: {str(error).splitlines()[0]}") from error
    if not isinstance(content, dict):
        raise UsageError(f"expected a mapping in {path}, found {type(content).__name__}")
    unknown = sorted(str(key) for key in content if key not in KEYS)
    if unknown:
        raise UsageError(f"expected keys {', '.join(KEYS)} in {path}, found {', '.join(unknown)}")
    return {str(key): str(value) for key, value in content.items()}


def _yaml() -> ModuleType:
    """Imported only when there is a file to read."""
    try:
        import yaml
    except ImportError as error:
        raise MissingExtraError("reading configuration files needs: pip install 'muster-edge[controller]'") from error
    return yaml


def _winner(key: str, layers: list[tuple[str, Mapping[str, str]]]) -> Setting:
    for origin, values in layers:
        if values.get(key):
            return Setting(key, values[key], origin)
    return Setting(key, "", "unset")


def _with_local_controller(settings: dict[str, Setting]) -> dict[str, Setting]:
    """Fill in the address and the token that a controller on this machine left in its data folder."""
    folder = Path(settings["data"].value).expanduser()
    if not settings["url"].value:
        local = _local_endpoints(folder / ENDPOINTS)
        origin = str(folder / ENDPOINTS) if local else "default"
        settings["url"] = Setting("url", local.get("url", DEFAULT_URL), origin)
        if not settings["ca"].value and local.get("ca"):
            settings["ca"] = Setting("ca", local["ca"], origin)
    if not settings["token"].value:
        path = folder / ADMIN_TOKEN
        try:
            settings["token"] = Setting("token", path.read_text().strip(), str(path))
        except OSError:
            settings["token"] = Setting("token", "", "unset")
    return settings


def _local_endpoints(path: Path) -> dict[str, str]:
    """What a running controller left; empty when none runs here."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) and "url" in content else {}


def check_timeout(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError as error:
        raise UsageError(f"expected timeout_s as seconds, found {text!r}") from error
    if not 0 < seconds < 86_400:
        raise UsageError(f"expected timeout_s between 0 and 86400, found {text}")
    return seconds


def no_controller(url: str, why: str) -> UnreachableError:
    """The one line that everybody sees when nothing listens."""
    return UnreachableError(
        f"no controller at {url} ({why}); start one with: muster up; name one that runs elsewhere "
        "with --url, one of another data folder here with --data"
    )

"""Configurations of today beside those that earlier versions wrote: a setting that came later had its default then."""

from collections.abc import Mapping
from inspect import get_annotations
from typing import Any

NOT_GIVEN = "not given"
Config = Mapping[str, Any]  # as it stands in JSON


def defaults_of(declared: type) -> dict[str, Any]:
    """The default of every setting that a class declares with one, as it stands in JSON.

    The class may be a dataclass or any other whose annotated attributes have values: `purity: float = 0.8`.
    """
    names = [name for base in reversed(declared.__mro__) for name in get_annotations(base)]
    found = {name: getattr(declared, name) for name in names if hasattr(declared, name)}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}


def differences(then: Config, now: Config, defaults: Config) -> dict[str, tuple[Any, Any]]:
    """What differs between two configurations: (then, now) by name, "encoder.block" where it lies deeper.

    A setting that one of them lacks had its default. One that today's classes do not know, since a newer version wrote
    it, is a difference.

    Args:
        defaults: nested as the configurations are.
    """
    found: dict[str, tuple[Any, Any]] = {}
    for name in dict.fromkeys([*then, *now]):
        default = defaults.get(name, NOT_GIVEN)
        before, after = then.get(name, default), now.get(name, default)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            inner = differences(before, after, default if isinstance(default, Mapping) else {})
            found |= {f"{name}.{deeper}": values for deeper, values in inner.items()}
        elif before != after:
            found[name] = (before, after)
    return found


def without_defaults(config: Config, defaults: Config) -> dict[str, Any]:
    """The settings that do not stand at their default: they stay the same when a version adds another setting."""
    return {name: value for name, value in config.items() if name not in defaults or defaults[name] != value}

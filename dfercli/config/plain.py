"""Convert configurations to plain values and back."""

from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import Any, TypeVar, get_type_hints

from dfercli.errors import ConfigError

Config = TypeVar("Config")


def to_dict(config: Any) -> dict[str, Any]:
    """Return a configuration as a dictionary of plain values, ready for JSON."""
    return asdict(config)


def from_dict(cls: type[Config], values: Mapping[str, Any]) -> Config:
    """Return a configuration from the result of `to_dict`, also after a round trip through JSON.

    Missing settings take their defaults. If the class has a method `complete`, it first adapts the
    values of older versions.

    Raises:
        ConfigError: A setting is unknown, or one without a default is missing.
    """
    hints = get_type_hints(cls)
    complete = getattr(cls, "complete", None)
    if complete is not None:
        values = complete(values)
    unknown = sorted(set(values) - {f.name for f in fields(cls)})  # type: ignore[arg-type]
    if unknown:
        raise ConfigError(
            f"unknown {cls.__name__} setting {unknown[0]!r}; written by another version of dfer? "
            f"use that one, or train again"
        )
    arguments = {name: _parse_value(hints[name], value) for name, value in values.items()}
    try:
        return cls(**arguments)
    except TypeError as error:
        raise ConfigError(f"incomplete {cls.__name__}: {error}") from error


def _parse_value(hint: Any, value: Any) -> Any:
    if is_dataclass(hint) and isinstance(value, Mapping):
        return from_dict(hint, value)  # type: ignore[arg-type]
    return _tuples(value) if isinstance(value, list) else value


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value

"""Write docs/commands.md from the commands' own help. Run by `make docs`."""

from pathlib import Path
from typing import Any

import typer

from dfercli.cli import app

PAGE = Path(__file__).with_name("commands.md")


def commands_page() -> str:
    """Give the page as Markdown: a section a command, a line an option."""
    group: Any = typer.main.get_command(app)
    parts = [
        "# Commands",
        "Made by `make docs` from the commands' own help; a test keeps it true. Every command "
        "answers `--help`.",
        "Exit codes: 0 done; 1 an error, in one line; 2 a wrong option; 3 no face in the video; "
        "4 done, but some videos were left out and are listed.",
    ]
    for name, command in group.commands.items():
        parts += [f"## dfer {name}", command.help, _options_table(command)]
    return "\n\n".join(parts) + "\n"


def _options_table(command: Any) -> str:
    lines = ["| option | default | what it is |", "|---|---|---|"]
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            lines.append(f"| `{parameter.name.upper()}` | | {parameter.help} |")
            continue
        names = " / ".join(f"`{name}`" for name in parameter.opts + parameter.secondary_opts)
        lines.append(f"| {names} | {_default(parameter)} | {parameter.help} |")
    return "\n".join(lines)


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    if isinstance(parameter.default, bool):
        return "on" if parameter.default else "off"
    return "" if parameter.default is None else f"`{parameter.default}`"


if __name__ == "__main__":
    PAGE.write_text(commands_page(), encoding="utf-8")

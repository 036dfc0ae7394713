"""The text of `--help`: a command's description, then its flags in groups, wrapped at the terminal's width.

A command's settings are a dataclass: a field is a flag, its type the kind of value, the string below it the meaning.
The flags are those of tyro, which parses them; tests compare the two for every command.
"""

import ast
import inspect
import os
import shutil
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

TEXT_COLUMN = 28
FEW_FLAGS = 8
"""So many flags are one group."""
FILES, OTHER, TRAINING, RUN = "files and folders", "flags", "training", "run"
# Names that commands share; every other flag is the command's own.
GROUPS = {
    **dict.fromkeys(("device", "precision", "seed", "num_workers", "workers", "resume", "limit", "name"), RUN),
    **dict.fromkeys(("save_every_minutes", "checks_per_second"), RUN),
    **dict.fromkeys(("init", "epochs", "batch_size", "grad_accumulation", "loss", "target", "patience"), TRAINING),
    **dict.fromkeys(("grad_clip", "lr_backbone", "lr_head", "weight_decay", "schedule", "unfreeze_every"), TRAINING),
    **dict.fromkeys(("tune", "views_per_epoch", "structures"), TRAINING),
}


@dataclass(frozen=True)
class Flag:
    """A row of the help: how it is given (`--seed INT`), what it means, and the group that it is listed in."""

    given: str
    text: str
    group: str
    is_positional: bool = False


def help_text(config: Any, prog: str, description: str | None, args: list[str]) -> str:
    """What `--help` prints for a dataclass, or for a union of commands of which `args` may name one."""
    width = max(40, shutil.get_terminal_size().columns)
    commands = _commands(config)
    if not commands:
        return _one_command(config, prog, description or "", width)
    chosen = next((word for word in args if word in commands), None)
    if chosen:
        return _one_command(commands[chosen], f"{prog} {chosen}", inspect.getdoc(commands[chosen]) or "", width)
    rows = [Flag(name, _first_line(command), "commands") for name, command in commands.items()]
    rows.append(Flag("COMMAND --help", "What a command's flags are.", "commands"))
    return "\n".join(
        [f"usage: {prog} COMMAND [flags]", "", *wrapped(description or "", width), "", *_table(rows, width)]
    )


def _one_command(config: Any, prog: str, description: str, width: int) -> str:
    flags = list(flags_of(config))
    usage = " ".join([f"usage: {prog}", *(flag.given for flag in flags if flag.is_positional), "[flags]"])
    return "\n".join([usage, "", *wrapped(description, width), "", *_table(_grouped(flags), width)])


def _commands(config: Any) -> dict[str, Any]:
    """Command names and their dataclasses of a union of `Annotated[config, subcommand(name)]`; nothing for others."""
    if get_origin(config) not in (Union, UnionType):
        return {}
    return {get_args(each)[1].name: get_args(each)[0] for each in get_args(config)}


def _first_line(config: Any) -> str:
    return (inspect.getdoc(config) or "").partition("\n\n")[0].replace("\n", " ")


def wrapped(text: str, width: int) -> list[str]:
    """Paragraphs filled to the width; indented lines (commands) as they are, lists item by item."""
    blocks: list[list[str]] = []
    for line in inspect.cleandoc(text).splitlines():
        if (
            not line
            or not blocks
            or not blocks[-1][0]
            or line.startswith(("    ", "- "))
            or blocks[-1][0].startswith("    ")
        ):
            blocks.append([line])
        else:
            blocks[-1].append(line.strip())
    return [line for block in blocks for line in _filled(block, width)]


def _filled(block: list[str], width: int) -> list[str]:
    if block[0].startswith("    "):
        return block
    hanging = "  " if block[0].startswith("- ") else ""
    return textwrap.wrap(" ".join(block), width, subsequent_indent=hanging, break_on_hyphens=False) or [""]


def flags_of(config: type, prefix: str = "", group: str | None = None) -> Iterator[Flag]:
    """The flags of a dataclass, and of the dataclasses inside it (`--graph.rule`), in order."""
    hints, meanings = get_type_hints(config, include_extras=True), field_texts(config)
    for field in fields(config):
        kind, marks = _unannotated(hints[field.name])
        if "Suppress" in map(_mark, marks):
            continue
        name = next((mark.name for mark in marks if getattr(mark, "name", None)), None) or field.name.replace("_", "-")
        if is_dataclass(kind):
            inside = prefix if "OmitArgPrefixes" in map(_mark, marks) else f"{prefix}{name}."
            title = f"--{inside}*: {_first_line(kind)}" if inside != prefix else _first_line(kind)
            yield from flags_of(kind, inside, title.rstrip("."))  # type: ignore[arg-type]  # a class, not an instance
        else:
            positional = "Positional" in map(_mark, marks)
            text = _with_default(meanings.get(field.name, ""), field)
            of = "what" if positional else group or _group(field.name, kind)
            yield Flag(_given(prefix + name, kind, field, positional), text, of, positional)


def _unannotated(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """A type without its marks, and the marks."""
    if get_origin(hint) is Annotated:
        kind, *marks = get_args(hint)
        return kind, tuple(marks)
    return hint, ()


def _mark(mark: Any) -> str:
    return str(getattr(mark, "_name", None) or getattr(mark, "__name__", mark))


def field_texts(config: type) -> dict[str, str]:
    """The string below each field of a dataclass and of its bases."""
    found: dict[str, str] = {}
    for base in reversed(config.__mro__):
        if is_dataclass(base):
            (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
            body = tree.body if isinstance(tree, ast.ClassDef) else []
            for field, text in zip(body, body[1:], strict=False):
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and (said := _string(text)):
                    found[field.target.id] = " ".join(said.split())
    return found


def _string(node: ast.stmt) -> str:
    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    return str(node.value.value) if is_text else ""  # type: ignore[attr-defined]


def _given(name: str, kind: Any, field: "Field[Any]", positional: bool) -> str:
    """How a flag is given: `--seed INT`, `--weighted, --no-weighted`, `FILE ...`."""
    if kind is bool:
        return f"--{name}, --no-{name}"
    value = _value(kind, field.name)
    if positional:
        return name.upper() if kind is str else value
    return f"--{name} {value}"


def _value(kind: Any, name: str) -> str:
    """What stands for a value of the type: INT, FLOAT, STR, FILE, FOLDER, or the choices."""
    origin, parts = get_origin(kind), [part for part in get_args(kind) if part is not NoneType]
    if origin in (Union, UnionType):
        return "|".join(_value(part, name) for part in parts)
    if origin is Literal:
        return "{" + ",".join(map(str, parts)) + "}"
    if origin is tuple:
        return f"{_value(parts[0], name)} ..."
    if kind is Path:
        return "FOLDER" if name.endswith("_dir") else "FILE"
    return str(kind.__name__).upper()


def _group(name: str, kind: Any) -> str:
    is_path = kind is Path or Path in get_args(kind)
    return FILES if is_path else GROUPS.get(name, OTHER)


def _with_default(text: str, field: "Field[Any]") -> str:
    default = field.default_factory() if field.default_factory is not MISSING else field.default
    if default is MISSING:
        return f"{text} (required)"
    if default is None or default == () or (said := _shown(default)) == "":
        return text
    return f"{text} (default: {said})"


def _shown(default: Any) -> str:
    if isinstance(default, bool):
        return "yes" if default else "no"
    if isinstance(default, tuple):
        return " ".join(map(_shown, default))
    if isinstance(default, Path) and default.is_relative_to(Path.cwd()):
        return os.path.relpath(default)
    return str(default)


def _grouped(flags: list[Flag]) -> list[Flag]:
    """Sorted by group, each group where its first flag is; few flags are one group."""
    own = [flag for flag in flags if not flag.is_positional]
    if len(own) <= FEW_FLAGS:
        flags = [flag if flag.is_positional else Flag(flag.given, flag.text, OTHER) for flag in flags]
    order = list(dict.fromkeys(["what", FILES, OTHER, TRAINING, RUN, *(flag.group for flag in flags)]))
    ordered = sorted(flags, key=lambda flag: order.index(flag.group))
    last = ordered[-1].group if len(own) <= FEW_FLAGS and own else "more"
    more = [("-h, --help", "Show this text."), ("--version", "Show the version.")]
    return [*ordered, *(Flag(given, text, last) for given, text in more)]


def _table(flags: list[Flag], width: int) -> Iterator[str]:
    """Two columns under the title of each group."""
    title = ""
    for number, flag in enumerate(flags):
        if flag.group != title:
            title = flag.group
            yield from ([""] if number else []) + textwrap.wrap(f"{title}:", width)
        start = f"  {flag.given}"
        if len(start) > TEXT_COLUMN - 2:
            yield start
            start = ""
        indent = " " * TEXT_COLUMN
        text = textwrap.wrap(flag.text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
        yield f"{start:{TEXT_COLUMN}}" + text[0][TEXT_COLUMN:] if text else start
        yield from text[1:]

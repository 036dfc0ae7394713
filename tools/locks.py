"""Write requirements*.txt, requirements.lock and uv.lock from pyproject.toml, or check that they agree with it.

    python tools/locks.py check     # offline, in seconds: `make lock-check`
    python tools/locks.py write     # needs uv and the package index: `make lock`

The check follows every dependency through uv.lock on each system that the locks are for (Python 3.11 to 3.14 on Linux
x86-64, Linux aarch64 and macOS arm64): each has a wheel there, and requirements.lock lists the same files.
"""

import itertools
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags, mac_platforms
from packaging.utils import canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).resolve().parent.parent
INDEX = "https://pypi.org/simple"
FILES_HOST = "https://files.pythonhosted.org/"
SOURCE_ONLY = {"bibtexparser"}  # published without a wheel, but pure Python: it builds everywhere
PYTHONS = ((3, 11), (3, 12), (3, 13), (3, 14))
Packages = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class RequirementsFile:
    """One requirements file: its first line, the list of pyproject.toml that it holds, the files that it builds on."""

    title: str
    extra: str
    includes: tuple[str, ...] = ()


FILES = {
    "requirements-predict.txt": RequirementsFile("What predict.py needs: `make predict-setup`.", "dependencies"),
    "requirements.txt": RequirementsFile("The whole study: `make setup`.", "study", ("requirements-predict.txt",)),
    "requirements-web.txt": RequirementsFile("The page.", "web", ("requirements-predict.txt",)),
    "requirements-screen.txt": RequirementsFile("Screening large tables.", "screen", ("requirements-predict.txt",)),
    "requirements-dev.txt": RequirementsFile(
        "What `make check` needs: everything, and the tools of the tests.",
        "dev",
        ("requirements.txt", "requirements-web.txt", "requirements-screen.txt"),
    ),
}
NOTE = "# Made from pyproject.toml by `make lock`; change it there."


def requirements_text(file: RequirementsFile, pyproject: str) -> str:
    """A requirements file: the lines of one list of pyproject.toml, with their reasons."""
    found = re.search(rf"(?ms)^{file.extra} = \[\n(.*?)^\]", pyproject)
    assert found, f"pyproject.toml has no list {file.extra}"
    pins = [re.sub(r'^"([^"]+)",', r"\1", line.strip()) for line in found[1].splitlines()]
    includes = [f"-r {name}" for name in file.includes]
    return "\n".join([f"# {file.title}", NOTE, *includes, *pins]) + "\n"


@dataclass(frozen=True)
class System:
    """A Python on an operating system and a processor, as environment markers and wheel tags name them."""

    python: tuple[int, int]
    platform: str
    machine: str

    def __str__(self) -> str:
        return f"Python {self.python[0]}.{self.python[1]} on {self.platform} {self.machine}"

    def fits(self, marker: str | None) -> bool:
        """Whether an environment marker holds here."""
        version = ".".join(map(str, self.python))
        values = {"python_version": version, "python_full_version": f"{version}.9", "sys_platform": self.platform}
        names = {"linux": "Linux", "darwin": "Darwin"}
        values |= {"platform_machine": self.machine, "platform_system": names[self.platform], "os_name": "posix"}
        fixed = {"implementation_name": "cpython", "platform_python_implementation": "CPython", "extra": ""}
        return marker is None or Marker(marker).evaluate({**values, **fixed})

    def tags(self) -> frozenset[Tag]:
        """Every wheel tag that installs here (glibc 2.35, macOS 14)."""
        if self.platform == "darwin":
            platforms = list(mac_platforms((14, 0), self.machine))
        else:
            platforms = [f"manylinux_2_{minor}_{self.machine}" for minor in range(35, 4, -1)]
            platforms += [f"manylinux{year}_{self.machine}" for year in ("2014", "2010", "1")]
        ours = cpython_tags(self.python, platforms=platforms)
        return frozenset([*ours, *compatible_tags(self.python, platforms=platforms)])


SYSTEMS = tuple(
    System(python, platform, machine)
    for (platform, machine), python in itertools.product(
        (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64")), PYTHONS
    )
)


def closure(packages: list[dict[str, Any]], project: str, extras: tuple[str, ...], system: System) -> Packages:
    """Every package of uv.lock that the project with `extras` installs on `system`, by name."""
    found: Packages = {}
    open_ = [(project, extra) for extra in ("", *extras)]
    seen = set(open_)
    while open_:
        name, extra = open_.pop()
        package = _resolved(packages, name, system)
        found[name] = package
        wanted = package.get("optional-dependencies", {}).get(extra, []) if extra else package.get("dependencies", [])
        for dependency in wanted:
            if not system.fits(dependency.get("marker")):
                continue
            new = {(dependency["name"], chosen) for chosen in ("", *dependency.get("extra", []))} - seen
            seen |= new
            open_ += new
    return {name: package for name, package in found.items() if name != project}


def _resolved(packages: list[dict[str, Any]], name: str, system: System) -> dict[str, Any]:
    """The one entry of uv.lock for `name` on `system` (a package may have several versions)."""
    named = [package for package in packages if package["name"] == name]
    if len(named) > 1:
        named = [entry for entry in named if any(map(system.fits, entry.get("resolution-markers", [None])))]
    if len(named) != 1:
        raise ValueError(f"uv.lock has {len(named)} versions of {name} for {system}")
    return named[0]


def has_wheel(package: dict[str, Any], tags: frozenset[Tag]) -> bool:
    """Whether the package installs without a compiler where `tags` do."""
    names = [wheel["url"].rpartition("/")[2] for wheel in package.get("wheels", [])]
    return package["name"] in SOURCE_ONLY or any(parse_wheel_filename(name)[3] & tags for name in names)


def check_requirements(root: Path) -> Iterator[str]:
    """What differs between pyproject.toml and the requirements files."""
    pyproject = (root / "pyproject.toml").read_text("utf-8")
    for name, file in FILES.items():
        path = root / name
        if not path.is_file() or path.read_text("utf-8") != requirements_text(file, pyproject):
            yield f"{name} is not what pyproject.toml says"


def check_uv_lock(root: Path) -> Iterator[str]:
    """What differs between pyproject.toml and uv.lock; a package without a wheel; a foreign index."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    lock = tomllib.loads((root / "uv.lock").read_text("utf-8"))
    (ours,) = (package for package in lock["package"] if package["name"] == project["name"])
    if lock["requires-python"] != project["requires-python"] or ours["version"] != project["version"]:
        yield "uv.lock is for another version of the project or of Python"
    stated = {_stated(entry) for entry in ours["metadata"]["requires-dist"]}
    if different := stated ^ {*_declared(project)}:
        yield f"uv.lock and pyproject.toml differ in {', '.join(sorted(different))}"
    for package in lock["package"]:
        files = [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
        if package is not ours and package["source"] != {"registry": INDEX}:
            yield f"uv.lock takes {package['name']} from {package['source']}"
        if foreign := [file["url"] for file in files if not file["url"].startswith(FILES_HOST)]:
            yield f"uv.lock takes {package['name']} from {foreign[0]}"
    for system in SYSTEMS:
        needed = closure(lock["package"], project["name"], tuple(project["optional-dependencies"]), system)
        tags = system.tags()
        if without := [name for name, package in needed.items() if not has_wheel(package, tags)]:
            yield f"uv.lock has no wheel of {', '.join(without)} for {system}"


def _declared(project: dict[str, Any]) -> Iterator[str]:
    """Every requirement of pyproject.toml as `extra: name==version ; marker`."""
    for extra, pins in {"": project["dependencies"], **project["optional-dependencies"]}.items():
        for pin in map(Requirement, pins):
            yield f"{extra}: {canonicalize_name(pin.name)}{pin.specifier} ; {pin.marker or ''}"


def _stated(entry: dict[str, Any]) -> str:
    """One requirement of uv.lock in the same form."""
    marker = entry.get("marker", "")
    extra = re.search(r"extra == '(\w+)'", marker)
    plain = re.sub(r"(?: and )?extra == '\w+'", "", marker).removeprefix("(").removesuffix(")")
    rest = str(Marker(plain.replace("python_full_version", "python_version"))) if plain else ""
    return f"{extra[1] if extra else ''}: {entry['name']}{entry['specifier']} ; {rest}"


def check_requirements_lock(root: Path) -> Iterator[str]:
    """What differs between uv.lock and requirements.lock, system by system."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    packages = tomllib.loads((root / "uv.lock").read_text("utf-8"))["package"]
    entries = locked_requirements((root / "requirements.lock").read_text("utf-8"))
    for system in SYSTEMS:
        needed = closure(packages, project["name"], ("study",), system)
        expected = {f"{name}=={package['version']}": _hashes(package) for name, package in needed.items()}
        listed = {pin: hashes for pin, marker, hashes in entries if system.fits(marker)}
        if wrong := [pin for pin in {**expected, **listed} if expected.get(pin) != listed.get(pin)]:
            yield f"requirements.lock and uv.lock differ in {', '.join(sorted(wrong))} for {system}"


def _hashes(package: dict[str, Any]) -> frozenset[str]:
    files = [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
    return frozenset(file["hash"] for file in files)


def locked_requirements(text: str) -> list[tuple[str, str | None, frozenset[str]]]:
    """Pin, marker and hashes of every requirement of a hash-pinned file."""
    joined = re.sub(r"(?m)^\s*#.*\n?", "", text).replace("\\\n", " ")
    found = []
    for line in filter(None, map(str.strip, joined.splitlines())):
        pin, _, marker = line.partition(" --hash")[0].partition(" ; ")
        found.append((pin.strip(), marker.strip() or None, frozenset(re.findall(r"--hash=(\S+)", line))))
    return found


def check(root: Path) -> list[str]:
    """Every disagreement, one line each."""
    return [*check_requirements(root), *check_uv_lock(root), *check_requirements_lock(root)]


def write(root: Path) -> None:
    """Make every file again; versions that still fit stay as they are in uv.lock."""
    pyproject = (root / "pyproject.toml").read_text("utf-8")
    for name, file in FILES.items():
        (root / name).write_text(requirements_text(file, pyproject), "utf-8")
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is None:
        raise SystemExit("error: uv is not installed, which makes the locks: pip install uv")
    subprocess.run([uv, "lock", "--default-index", INDEX, "--no-config"], cwd=root, check=True)
    export = [
        uv,
        "export",
        "--frozen",
        "--no-config",
        "--extra",
        "study",
        "--no-emit-project",
        "--no-header",
        "--quiet",
    ]
    made = subprocess.run(export, cwd=root, check=True, capture_output=True, text=True).stdout
    title = (
        "# The whole study with hashes: pip install --require-hashes -r requirements.lock\n# Made by `make lock`.\n"
    )
    (root / "requirements.lock").write_text(title + _without_limits(made, root), "utf-8")


def _without_limits(exported: str, root: Path) -> str:
    """Drop the marker that every line has, so that pip says what has no wheel on another system, not skips all."""
    supported = tomllib.loads((root / "uv.lock").read_text("utf-8"))["supported-markers"]
    pythons = re.sub(r" and .*", "", supported[0])
    platforms = [limit.removeprefix(f"{pythons} and ") for limit in supported]
    every = {
        f"{pythons} and ({' or '.join(f'({one})' for one in order)})" for order in itertools.permutations(platforms)
    }
    return re.sub(r" ; (.*?) \\", lambda found: " \\" if found[1] in every else found[0], exported)


def main(arguments: list[str]) -> int:
    """Check or write; returns the exit status."""
    if arguments not in (["check"], ["write"]):
        print(f"error: python tools/locks.py check or write, not {' '.join(arguments) or 'nothing'}", file=sys.stderr)
        return 2
    if arguments == ["write"]:
        write(ROOT)
    problems = check(ROOT)
    for problem in problems:
        print(f"error: {problem}; after a change of pyproject.toml run make lock", file=sys.stderr)
    if not problems:
        print(f"pyproject.toml, {len(FILES)} requirements files and both locks agree on {len(SYSTEMS)} systems")
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

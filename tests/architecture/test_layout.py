"""The shape of the repository: what stands at its top, how large a thing may grow, what every folder says it is."""

import ast
from importlib.metadata import entry_points, packages_distributions

import pytest

from tests.architecture.repository import PACKAGES, ROOT, files, python

MAX_FILE = 400
MAX_FUNCTION = 50
CODE = (*PACKAGES, "migrations", "tests", "bench", "clients")
HISTORY = "migrations/versions/"
"""Revisions are history: never edited once released, so they are not held to what is."""

TOP = {
    "CHANGELOG.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "SECURITY.md",
    "bench",
    "broker",
    "clients",
    "connectors",
    "deploy",
    "examples",
    "migrations",
    "pyproject.toml",
    "requirements",
    "tests",
    "vault",
    ".ci",
    ".github",
    ".gitignore",
}
NEEDED = TOP - {"clients", "examples"}
"""Those two come with work of their own."""


def test_nothing_unexpected_at_the_top() -> None:
    found = {path.relative_to(ROOT).parts[0] for path in files()}
    assert found - TOP == set()
    assert NEEDED - found == set()


def test_no_file_outgrows_its_meaning() -> None:
    long = {}
    for path in files():
        name = path.relative_to(ROOT).as_posix()
        if path.suffix in {".py", ".sql"} and name.split("/")[0] in CODE and not name.startswith(HISTORY):
            lines = len(path.read_text(encoding="utf-8").splitlines())
            if lines > MAX_FILE:
                long[name] = lines
    assert long == {}


def test_no_function_outgrows_its_meaning() -> None:
    long = {}
    for name, module in python(*CODE):
        if name.startswith(HISTORY):
            continue
        for node in ast.walk(module):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > MAX_FUNCTION:
                    long[f"{name}:{node.name}"] = lines
    assert long == {}


@pytest.mark.parametrize("top", PACKAGES)
def test_every_folder_says_what_it_promises(top: str) -> None:
    silent = []
    folders = {path.parent for path in files() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] == top}
    for folder in sorted(folders):
        opening = folder / "__init__.py"
        told = opening.exists() and ast.get_docstring(ast.parse(opening.read_text(encoding="utf-8")))
        if not told and not (folder / "README.md").exists():
            silent.append(folder.relative_to(ROOT).as_posix())
    assert silent == []


@pytest.mark.parametrize(
    "folder", ["broker", "broker/endpoints", "vault", "connectors", "migrations", "tests", "bench", "deploy"]
)
def test_the_folders_a_newcomer_opens_have_a_readme(folder: str) -> None:
    assert (ROOT / folder / "README.md").read_text(encoding="utf-8").startswith("# ")


def test_every_module_says_what_it_is() -> None:
    silent = [name for name, module in python(*PACKAGES) if ast.get_docstring(module) is None]
    assert silent == []


def test_no_variable_is_named_like_a_package() -> None:
    """`vault` and `broker` are packages; a variable of that name hides one, and says nothing."""
    hiding = []
    for name, module in python(*PACKAGES):
        for node in ast.walk(module):
            if isinstance(node, ast.arg):
                named = node.arg
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                named = node.id
            else:
                continue
            if named in ("vault", "broker"):
                hiding.append(f"{name}:{node.lineno}")
    assert hiding == []


def test_the_vault_re_exports_nothing() -> None:
    """Whoever imports `vault.secret` loads no key, table or SQLAlchemy (vault/__init__.py)."""
    opening = ast.parse((ROOT / "vault/__init__.py").read_text(encoding="utf-8"))
    assert [type(node) for node in opening.body] == [ast.Expr]


@pytest.mark.parametrize("package", PACKAGES)
def test_our_packages_come_from_our_distribution_alone(package: str) -> None:
    """The names are short: another distribution of the same name would shadow or be shadowed."""
    assert set(packages_distributions().get(package, ())) <= {"keyreeve"}


def test_the_one_script_is_keyreeve() -> None:
    scripts = {e.name: e.value for e in entry_points(group="console_scripts") if e.dist and e.dist.name == "keyreeve"}
    assert scripts == {"keyreeve": "broker.cli:main"}

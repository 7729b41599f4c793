"""What setup.cfg says is what lies there: a forgotten package works in the clone and is missing once installed."""

import configparser
import importlib
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]


def packages_here() -> set[str]:
    """Every package of the tree, by the name it is installed under."""
    return {
        ".".join([name, *folder.parent.relative_to(top).parts])
        for name, top in [("reactor", ROOT / "reactor"), ("reactor.handlers", ROOT / "handlers")]
        for folder in top.rglob("__init__.py")
    }


def packages_listed() -> set[str]:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return set(config["options"]["packages"].split())


def test_every_package_is_listed() -> None:
    assert packages_listed() == packages_here()


@pytest.mark.parametrize("name", sorted(packages_listed()))
def test_it_is_installed_under_its_name(name: str) -> None:
    folder = ROOT / "handlers" if name == "reactor.handlers" else ROOT.joinpath(*name.split("."))
    assert importlib.import_module(name).__file__ == str(folder / "__init__.py")


def test_it_is_typed() -> None:
    assert (ROOT / "reactor" / "py.typed").exists()

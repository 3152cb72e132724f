"""What is looked at before a sweep begins; tests/workflow runs them."""

from __future__ import annotations

from pathlib import Path

import pytest

from talon_lib.errors import ConfigError
from talon_lib.sweep import launch


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an empty workflow, and a profile that says nothing."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Snakefile").touch()
    (tmp_path / "profile").mkdir()
    (tmp_path / "profile" / "config.yaml").write_text("cores: 1\n")
    return tmp_path


def check(*options: str) -> None:
    launch.check_place(launch.Options(profile=Path("profile"), snakemake=options))


def refused(name: str, package: str) -> str:
    return (
        f"executor {name}: Snakemake's plugin for it is not installed; `make cluster` installs slurm and "
        f"cluster-generic, `pip install {package}` this one alone"
    )


def test_an_executor_without_its_plugin_is_refused_with_what_to_install(clone: Path) -> None:
    (clone / "profile" / "config.yaml").write_text("executor: far-away\njobs: 3\n")
    with pytest.raises(ConfigError) as error:
        check()
    assert str(error.value) == refused("far-away", "snakemake-executor-plugin-far-away")


@pytest.mark.parametrize("options", [("--executor", "near"), ("--executor=near",), ("--retries=1", "-e", "near")])
def test_an_executor_among_the_options_counts_more_than_the_profile_s(clone: Path, options: tuple[str, ...]) -> None:
    (clone / "profile" / "config.yaml").write_text("executor: local\n")
    check()
    with pytest.raises(ConfigError) as error:
        check(*options)
    assert str(error.value) == refused("near", "snakemake-executor-plugin-near")
    (clone / "profile" / "config.yaml").write_text("executor: near\n")
    check("--executor", "local")


@pytest.mark.parametrize("name", ["a.b", "7", ""])
def test_a_name_that_no_package_can_have_is_refused_too(clone: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"^executor .*Snakemake's plugin for it is not installed"):
        check("--executor", name)


@pytest.mark.parametrize("name", ["local", "dryrun", "touch"])
def test_what_snakemake_brings_itself_needs_no_plugin(clone: Path, name: str) -> None:
    check("--executor", name)


def test_a_plugin_that_is_installed_is_found(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (clone / "packages" / "snakemake_executor_plugin_far_away").mkdir(parents=True)
    (clone / "packages" / "snakemake_executor_plugin_far_away" / "__init__.py").touch()
    monkeypatch.syspath_prepend(clone / "packages")
    check("--executor", "far-away")


@pytest.mark.parametrize("content", [b"executor: [\n", b"\xff\xfe\x00"])
def test_a_profile_that_is_no_yaml_is_one_line(clone: Path, content: bytes) -> None:
    (clone / "profile" / "config.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"^profile/config\.yaml: ") as error:
        check()
    assert "\n" not in str(error.value)

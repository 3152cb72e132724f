"""What is looked at before a sweep begins; tests/workflow runs them."""

from __future__ import annotations

from pathlib import Path

import pytest

from talon_lib.errors import ConfigError
from talon_lib.sweep import chunks, launch


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


OPTIONS = [("--executor", "near"), ("--executor=near",), ("--retries=1", "-e", "near"), ("-enear",), ("--exec", "near")]


@pytest.mark.parametrize("options", OPTIONS)
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


@pytest.mark.parametrize("name", ["dryrun", "touch"])
def test_an_executor_that_runs_nothing_is_refused(clone: Path, name: str) -> None:
    expected = f"executor {name} is not for Snakemake here: talon-dse plan says what would run"
    with pytest.raises(ConfigError, match=f"^{expected}$"):
        check("--executor", name)
    (clone / "profile" / "config.yaml").write_text(f"executor: {name}\n")
    with pytest.raises(ConfigError, match=f"^{expected}$"):
        check()


def test_an_option_without_its_value_is_one_line(clone: Path) -> None:
    with pytest.raises(ConfigError, match=r"^Snakemake's options: argument -e/--executor: expected one argument$"):
        check("-e")


def test_chunks_of_a_cluster_are_not_cut_by_the_cores_of_this_machine(clone: Path) -> None:
    profile = Path("profile")
    assert launch.chunk_seconds(launch.Options(profile=profile)) is None
    assert launch.chunk_seconds(launch.Options(profile=profile, snakemake=("-e", "slurm"))) == chunks.CHUNK_SECONDS
    assert launch.chunk_seconds(launch.Options(profile=profile, snakemake=("-e", "slurm"), chunk_seconds=7.0)) == 7.0


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

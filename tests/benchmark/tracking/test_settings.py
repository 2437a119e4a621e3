"""The addresses of a results folder: a mistake in them is named, and a password in them is not."""

from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url

from benchmark.common.errors import SettingsError
from benchmark.tracking import Settings, read_settings


def written(folder: Path, text: str) -> Settings:
    (folder / "settings.toml").write_text(text, encoding="utf-8")
    return read_settings(folder)


def test_without_a_file_all_lies_in_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "results é"
    settings = read_settings(folder)
    assert settings.database == f"sqlite:///{folder / 'jobs.db'}"
    assert settings.mlflow == f"sqlite:///{folder / 'mlflow.db'}"
    assert (settings.lease, settings.kills, settings.needs_http) == (120.0, 5, False)
    assert not folder.exists()


def test_a_relative_folder_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_settings(Path("results")).database == f"sqlite:///{tmp_path / 'results' / 'jobs.db'}"


def test_a_file_changes_what_it_names(tmp_path: Path) -> None:
    assert written(tmp_path, "") == read_settings(tmp_path / "nothing" / "..")
    settings = written(tmp_path, 'mlflow = "https://host:5000"\nlease = 30\nkills = 2\n')
    assert (settings.mlflow, settings.lease, settings.kills, settings.needs_http) == ("https://host:5000", 30, 2, True)
    assert settings.database.endswith("/jobs.db")
    for address in ("postgresql://u:p@host/n", "postgresql+psycopg2://u@/n?host=/tmp", "sqlite:////x.db", "file:///x"):
        assert written(tmp_path, f'database = "{address}"').database == address


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('datbase = "postgresql://u:secret@h/n"', "no key 'datbase'; did you mean database?"),
        ("lease = 0", "lease is a number of seconds above 0, not 0"),
        ("lease = true", "lease is a number of seconds above 0, not True"),
        ("lease = nan", "lease is a number of seconds above 0, not nan"),
        ("lease = inf", "lease is a number of seconds above 0, not inf"),
        ("kills = 0", "kills is a whole number of at least 1, not 0"),
        ('database = "user:secret@host/name"', "database is a URL like postgresql://user@host/landshift"),
        ('mlflow = ""', "mlflow is a URL like http://host:5000"),
        ('mlflow = "//user:secret@[host"', "mlflow is a URL like http://host:5000"),
    ],
)
def test_a_mistake_is_named_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(SettingsError) as error:
        written(tmp_path, text)
    told = str(error.value)
    assert words in told and str(tmp_path / "settings.toml") in told and "\n" not in told and "secret" not in told


def test_a_folder_in_the_place_of_the_file_is_no_default(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").mkdir()
    with pytest.raises(SettingsError, match=r"settings\.toml cannot be read"):
        read_settings(tmp_path)


@pytest.mark.parametrize("name", ["q?x=1", "c#1", "50%25 done", "plain", "a b"])
def test_the_own_files_lie_in_the_folder_whatever_it_is_called(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    settings = read_settings(folder)
    assert make_url(settings.database).database == str(folder / "jobs.db")
    assert make_url(settings.mlflow).database == str(folder / "mlflow.db")
    with create_engine(settings.database).connect():
        pass
    assert [path.name for path in tmp_path.iterdir()] == [name] and (folder / "jobs.db").exists()

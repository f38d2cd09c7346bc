"""Doctor: one flipped byte anywhere is found, named, refused before use, and mended."""

import hashlib
import json
import re
from pathlib import Path
from types import SimpleNamespace

import clones
import pytest
from projects import flip

from longshort import config, doctor, storage
from longshort.registry import versions

# what is damaged, and the command that would use it next
OUTPUTS = {
    "data/ingestion/goog/table.parquet": ("stage", "validation", "--item", "goog"),
    "data/validation/topics/index.html": ("stage", "windows", "--item", "topics"),
    "data/windows/topics/manifest.json": ("stage", "training", "--item", "topics-gru"),
    "data/training/goog-lstm/seed-1/weights.safetensors": ("stage", "evaluation", "--item", "goog-lstm"),
    "data/evaluation/topics-gru/metrics.json": ("leaderboard",),
}
# whole in the project's folders, damaged in DVC's cache: a file, and the listing of a folder
CACHED = ("data/training/goog-rnn/seed-0/weights.safetensors", "data/windows/goog")


def in_cache(root, name):
    """The object of DVC's cache that holds a file, or a folder's listing."""
    place = root / name
    if place.is_dir():
        stated = re.search(rf"- path: {name}\n +hash: md5\n +md5: (\w+\.dir)", (root / "dvc.lock").read_text())[1]
    else:
        stated = hashlib.md5(place.read_bytes()).hexdigest()
    return root / ".dvc/cache/files/md5" / stated[:2] / stated[2:]


def damage(path):
    """Flip one byte in the middle, and leave the file's mode as it is."""
    mode = path.stat().st_mode
    path.chmod(0o644)
    flip(path, path.stat().st_size // 2)
    path.chmod(mode)


@pytest.fixture(scope="module")
def story(retrained, tmp_path_factory):
    """Damage in every place at once; what each command said; the doctor before and after; and the run that followed."""
    root = clones.copy(retrained, tmp_path_factory.mktemp("doctor") / "project")
    client = clones.mlflow_client(root)
    version = versions.at_alias(client, "forecast-goog", versions.CHALLENGER)
    registered = versions.fetch(client, version) / "weights.safetensors"
    cached = [in_cache(root, name) for name in CACHED]

    def everything():
        return {**clones.outputs(root), **{str(path): path.read_bytes() for path in [*cached, registered]}}

    told = SimpleNamespace(root=root, version=version, registered=registered, cached=cached, before=everything())
    for path in [*(root / name for name in OUTPUTS), *cached, registered]:
        damage(path)
    told.damaged = everything()
    told.refused = {name: clones.main(root, *command, code=3).stderr for name, command in OUTPUTS.items()}
    told.refused[str(registered)] = clones.main(root, "promote", "forecast-goog", code=3).stderr
    told.after_refusals = everything()
    told.looked = json.loads(clones.main(root, "doctor", "--json", code=3).stdout)
    told.after_look = everything()
    told.fixed = clones.main(root, "doctor", "--fix").stdout
    clones.longshort(root, "run")
    told.after = everything()
    return told


@pytest.mark.long
def test_what_is_damaged_is_refused_by_name_before_it_is_used(story):
    for name, said in story.refused.items():
        assert said.startswith("longshort: ") and name in said and "longshort doctor --fix" in said
        assert len(said.splitlines()) == 1


@pytest.mark.long
def test_a_refusal_leaves_everything_as_it_was(story):
    changed = {name for name in story.before if story.after_refusals[name] != story.before[name]}
    assert changed == {*OUTPUTS, *map(str, story.cached), str(story.registered)}
    assert story.after_refusals == story.damaged


@pytest.mark.long
def test_the_doctor_names_every_damaged_thing_and_nothing_else(story):
    folders = {str(story.root / Path(name).parents[-4]) for name in OUTPUTS}
    models = {f"forecast-goog v{story.version.version}"}
    assert {each["path"] for each in story.looked} == folders | models | {*map(str, story.cached)}
    said = json.dumps(story.looked)
    assert all(str(story.root / name) in said for name in OUTPUTS) and str(story.registered) in said
    assert all("longshort doctor --fix" in each["remedy"] for each in story.looked)


@pytest.mark.long
def test_without_fix_the_doctor_changes_nothing(story):
    assert story.after_look == story.damaged


@pytest.mark.long
def test_after_fix_and_a_run_every_byte_is_as_before(story):
    assert story.fixed.count("removed") + story.fixed.count("restored") == len(OUTPUTS) + len(CACHED) + 1
    assert story.after == story.before
    assert clones.main(story.root, "doctor").stdout == "every byte is as it was written\n"


@pytest.mark.long
def test_after_fix_and_a_run_the_cache_holds_everything_again(story):
    for path in story.cached:
        assert hashlib.md5(path.read_bytes()).hexdigest() + path.suffix == path.parent.name + path.name
    assert "not_in_cache" not in json.loads(clones.dvc(story.root, "data", "status", "--json"))
    assert "up to date" in clones.dvc(story.root, "status")


def test_a_project_before_its_first_run_is_whole(tmp_path):
    root = clones.clone(tmp_path / "project")
    assert doctor.examine(root, config.read(root / "params.yaml"), fix=True) == []


@pytest.mark.long
def test_a_registered_model_that_cannot_be_restored_says_how_to_go_on(story, tmp_path):
    root = clones.copy(story.root, tmp_path / "project")
    client = clones.mlflow_client(root)
    folder = versions.fetch(client, story.version)
    source = root / "data/training" / story.version.tags["item"] / f"seed-{story.version.tags['seed']}"
    for path in (folder / "weights.safetensors", source / "model.json"):
        damage(path)
    found = {each.path: each for each in doctor.examine(root, config.read(root / "params.yaml"), fix=True)}
    assert "longshort rollback forecast-goog" in found[f"forecast-goog v{story.version.version}"].remedy


def test_every_folder_of_a_stage_is_vouched_for(retrained):
    folders = [path for stage in doctor.STAGES for path in (retrained / "data" / stage).iterdir()]
    assert len(folders) == 12
    for folder in folders:
        storage.verify(folder)

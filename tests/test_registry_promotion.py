"""Promotion: who serves is one line of history, whoever promotes, goes back, dies or meddles, and in whatever order."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import shelves
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule
from projects import flip

from longshort import config, faults
from longshort.errors import ChampionMoved, CorruptArtefact, PromotionRefused
from longshort.evaluation import contest
from longshort.evaluation.contest import Contender, Contest, Mark
from longshort.registry import card, decision, ledger, promotion, versions
from longshort.registry.versions import CHAMPION, PREVIOUS

MODEL = "forecast-goog"
PROVING = "LONGSHORT_PROVE" in os.environ
ROUNDS = 200 if PROVING else 12


def moves(root, model=MODEL):
    """Every move of the champion, oldest first."""
    return [entry for entry in ledger.history(root) if entry["model"] == model and entry["event"] in ledger.MOVES]


def is_linear(root, model=MODEL):
    """Whether each move says that it replaced what the one before it put there."""
    told = moves(root, model)
    return [entry["old"] for entry in told] == [None, *(entry["version"] for entry in told)][: len(told)]


def at(client, alias, model=MODEL):
    found = versions.at_alias(client, model, alias)
    return found and str(found.version)


@pytest.fixture(scope="module")
def laid(tmp_path_factory):
    """A store with five versions of a model, and no champion."""
    root = tmp_path_factory.mktemp("shelf") / "project"
    client = shelves.shelf(root)
    for seed in range(5):
        shelves.add(client, root, MODEL, shelves.stub(root / f"stubs/{seed}", f"stub-{seed}", seed), f"stub-{seed}")
    return root


@pytest.fixture
def shelf(laid, tmp_path):
    """A copy of its state; the models' files are shared."""
    root = tmp_path / "project"
    shutil.copytree(laid, root)
    return root, shelves.client(root)


def test_a_promotion_replaces_what_it_expects_and_nothing_else(shelf):
    root, client = shelf
    promotion.promote(client, root, MODEL, "1", None, "first")
    with pytest.raises(ChampionMoved, match="the champion is v1 by now, and v3 was judged against none"):
        promotion.promote(client, root, MODEL, "3", None, "late")
    promotion.promote(client, root, MODEL, "2", "1", "second")
    assert (at(client, CHAMPION), at(client, PREVIOUS)) == ("2", "1") and is_linear(root)


def test_going_back_again_goes_back_further_and_forward_is_the_same_way(shelf):
    root, client = shelf
    for old, new in ((None, "1"), ("1", "2"), ("2", "3")):
        promotion.promote(client, root, MODEL, new, old, "better")
    assert [promotion.rollback(client, root, MODEL)[1] for _ in range(2)] == ["2", "1"]
    with pytest.raises(PromotionRefused, match="v1 is the first"):
        promotion.rollback(client, root, MODEL)
    assert (at(client, CHAMPION), at(client, PREVIOUS)) == ("1", None)
    assert [promotion.rollback(client, root, MODEL, forward=True)[1] for _ in range(2)] == ["2", "3"]
    assert (at(client, CHAMPION), at(client, PREVIOUS)) == ("3", "2") and is_linear(root)
    promotion.rollback(client, root, MODEL)
    promotion.promote(client, root, MODEL, "4", "2", "better")  # what was gone back from is behind a new champion no more
    with pytest.raises(PromotionRefused, match="v4 is the newest"):
        promotion.rollback(client, root, MODEL, forward=True)


def test_a_champion_of_a_server_that_is_new_to_a_project_is_taken_over_and_one_set_by_hand_here_is_not(shelf):
    root, client = shelf
    client.set_registered_model_alias(MODEL, CHAMPION, "4")
    params = config.read(root / "params.yaml")
    assert promotion.reconcile(client, root, params, MODEL).champion is None
    assert "points at v4, and the ledger says no champion" in promotion.drift(client, root, MODEL)
    server = params.model_copy(update={"tracking": params.tracking.model_copy(update={"uri": "http://127.0.0.1:1"})})
    for _ in range(2):
        assert promotion.reconcile(client, root, server, MODEL).champion == "4"
    assert [(entry["event"], entry["version"], entry["old"]) for entry in moves(root)] == [(ledger.ADOPTED, "4", None)]


# --- two at once ------------------------------------------------------------------------------

PROMOTERS = """
import os, random, sys, time
from pathlib import Path
import shelves
from longshort.errors import ChampionMoved
from longshort.registry import ledger, promotion

root, rounds = Path(sys.argv[1]), int(sys.argv[2])


def promote(seed):
    client, draw = shelves.client(root), random.Random(seed)
    (root / f"ready-{seed}").touch()
    while len(list(root.glob("ready-*"))) < 2:
        time.sleep(0.01)
    for _ in range(rounds):
        champion = ledger.standing(root, "forecast-goog").champion
        version = draw.choice([v for v in "12345" if v != champion])
        time.sleep(draw.random() / 50)
        try:
            promotion.promote(client, root, "forecast-goog", version, champion, f"process {seed}")
        except ChampionMoved:
            (root / "lost").open("a").write("x")
    os._exit(0)


both = [os.fork() or promote(seed) for seed in (1, 2)]
sys.exit(max(os.waitpid(child, 0)[1] for child in both))
"""


@pytest.mark.long
def test_two_processes_that_promote_at_random_leave_one_line_of_history(shelf):
    root, client = shelf
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])}
    subprocess.run([sys.executable, "-c", PROMOTERS, str(root), str(ROUNDS)], env=env, check=True, timeout=1000)
    lost = len((root / "lost").read_text())
    assert 0 < lost < 2 * ROUNDS and len(moves(root)) == 2 * ROUNDS - lost
    assert is_linear(root) and {entry["reason"] for entry in moves(root)} == {"process 1", "process 2"}
    assert at(client, CHAMPION) == moves(root)[-1]["version"] == ledger.standing(root, MODEL).champion
    assert at(client, PREVIOUS) == moves(root)[-1]["old"]


# --- a machine of everything that may happen --------------------------------------------------


class Crash(BaseException):
    """The process ends here."""


KINDS = ("whole", "not finite", "constant", "older data", "few windows", "learned from the test", "scored elsewhere")
NAIVE = 1.0


def measured(challenger, champion):
    """The contest of two stubs, each (error, kind), as `contest.hold` would tell it."""
    learned, first, end = Mark(10, "day 10"), Mark(11, "day 11"), Mark(20, "day 20")

    def contender(error, kind):
        return Contender(
            error=math.nan if kind == "not finite" else error,
            windows_sha256="other" if kind == "scored elsewhere" else "same",
            variation=0.0 if kind == "constant" else 0.1,
            learned_until=end if kind == "learned from the test" else learned,
            cut_off=Mark(15, "day 15") if kind == "older data" else end,
        )

    count = 3 if challenger[1] == "few windows" else 100
    other = contender(*champion) if champion else None
    return Contest("RMSE", contender(*challenger), other, NAIVE, "last value", count, first, "same", 0.01, other and 0.01)


class Registry(RuleBasedStateMachine):
    """One model's registry, with real files, a real ledger and a real store of MLflow; only what is measured is made up."""

    trained = Bundle("trained")
    base: Path  # of all examples: the store

    @initialize(target=trained)
    def begin(self):
        self.folder = Path(tempfile.mkdtemp(dir=self.base))
        self.root = self.folder / "project"
        (self.root / "mlflow/store").mkdir(parents=True)
        shutil.copytree(self.base / "project/data", self.root / "data")
        self.client, self.params = shelves.client(self.base / "project"), config.read(self.base / "project/params.yaml")
        self.model = f"forecast-{self.folder.name}"
        self.stubs, self.intents, self.damaged, self.seen, self.by_hand = {}, {}, set(), 0, False
        self.patches = pytest.MonkeyPatch()
        identity = lambda model: self.stubs[model.card["origin"]["identity"]]  # noqa: E731
        hold = lambda root, dataset, params, one, other: measured(identity(one), identity(other) if other else None)  # noqa: E731
        self.patches.setattr(contest, "hold", hold)
        self.patches.setattr(card, "write", lambda *_: None)
        self.crash_at = None
        self.patches.setattr(faults, "point", self.point)
        return multiple(*[self.made(error, "whole") for error in (9, 7, 8)])

    def teardown(self):
        if hasattr(self, "patches"):
            self.patches.undo()

    def point(self, name):
        if self.crash_at == name:
            raise Crash(name)

    def survive(self, crash_at, what):
        """Do what may end in a refusal or a crash."""
        self.crash_at = crash_at
        try:
            what()
            return True
        except (Crash, CorruptArtefact, PromotionRefused):
            return False
        finally:
            self.crash_at = None

    @rule(target=trained, error=st.integers(5, 12), kind=st.sampled_from(KINDS))
    def train(self, error, kind):
        return self.made(error, kind)

    def made(self, error, kind):
        """A version of its own weights; its number."""
        name = f"stub-{len(self.stubs)}"
        self.stubs[name] = (error / 10, kind)
        folder = shelves.stub(self.folder / name, name, len(self.stubs))
        return shelves.add(self.client, self.root, self.model, folder, name)

    def promote(self, version, crash_at, forced=None):
        found = self.client.get_model_version(self.model, version)
        self.survive(crash_at, lambda: decision.settle(self.client, self.root, self.params, "goog", found, forced))

    # three times, since every rule comes as often as another, and this is the one that matters
    better = rule(version=trained)(lambda self, version: self.promote(version, None))
    killed = rule(version=trained, crash_at=st.sampled_from(promotion.FAULTS))(promote)
    forced = rule(version=trained, crash_at=st.sampled_from([None, *promotion.FAULTS]), forced=st.just("meant"))(promote)

    @rule(forward=st.booleans(), crash_at=st.sampled_from([None, None, *promotion.FAULTS]))
    def roll(self, forward, crash_at):
        self.survive(crash_at, lambda: promotion.rollback(self.client, self.root, self.model, forward))

    @rule(version=trained, gone=st.booleans())
    def meddle(self, version, gone):
        if not gone:
            self.client.set_registered_model_alias(self.model, CHAMPION, version)
        elif versions.at_alias(self.client, self.model, CHAMPION):
            self.client.delete_registered_model_alias(self.model, CHAMPION)
        self.by_hand = at(self.client, CHAMPION, self.model) != ledger.standing(self.root, self.model).champion

    @rule(version=trained, hits=st.booleans())
    def damage(self, version, hits):
        name = self.client.get_model_version(self.model, version).tags["longshort.identity"]
        if hits and version not in self.damaged:
            flip(self.folder / name / "data/model/weights.safetensors", -1)
            self.damaged.add(version)

    @rule(by_doctor=st.booleans())
    def start(self, by_doctor):
        assert promotion.reconcile(self.client, self.root, self.params, self.model).intent is None
        if by_doctor and promotion.drift(self.client, self.root, self.model):
            promotion.put_back(self.client, self.root, self.model)
            self.by_hand = False

    @invariant()
    def history_is_one_line(self):
        if hasattr(self, "root"):
            assert is_linear(self.root, self.model)

    @invariant()
    def only_a_better_whole_model_was_promoted(self):
        if not hasattr(self, "root"):
            return
        own = [entry for entry in ledger.history(self.root) if entry["model"] == self.model]
        for entry in own:
            if entry["event"] == ledger.INTENDED:
                self.intents.setdefault(entry["id"], (entry["old"], frozenset(self.damaged)))
        told = moves(self.root, self.model)
        for entry in told[self.seen :]:
            old, damaged = self.intents[entry["id"]]
            assert entry["version"] not in damaged, "a model whose files were damaged serves"
            self.by_hand = at(self.client, CHAMPION, self.model) != entry["version"]
            if entry["event"] == ledger.PROMOTED:
                error, kind = self.stubs[entry["identity"]]
                assert kind != "not finite" and entry["against"] == entry["old"] == old
                if not entry.get("forced"):
                    stale = entry["champion"] and entry["champion"]["cut_off"] == "day 15"
                    assert kind == "whole" or (kind == "older data" and (old is None or stale))
                    assert error < NAIVE and (old is None or error < entry["champion"]["error"])
        self.seen = len(told)

    @invariant()
    def where_nobody_meddled_the_alias_is_where_the_ledger_says(self):
        if hasattr(self, "root") and not self.by_hand:
            assert promotion.drift(self.client, self.root, self.model) is None

    @invariant()
    def what_serves_is_what_the_ledger_says(self):
        if hasattr(self, "root") and (champion := ledger.standing(self.root, self.model).champion):
            version, alias = promotion.serving_version(self.client, self.root, self.model)
            assert (str(version.version), alias) == (champion, CHAMPION)


@pytest.mark.long
def test_whatever_happens_in_whatever_order_only_a_better_model_serves(tmp_path):
    shelves.shelf(tmp_path / "project")
    machine = type("Registered", (Registry,), {"base": tmp_path})
    machine.TestCase.settings = settings(
        max_examples=60 if PROVING else 14,
        stateful_step_count=40 if PROVING else 25,
        deadline=None,
        derandomize=not PROVING,
        phases=[Phase.generate],  # to make a failure small takes minutes; its steps are told as they were
        suppress_health_check=list(HealthCheck),
    )
    case = machine.TestCase()
    case.runTest()

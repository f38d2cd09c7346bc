"""Promotion: the champion moves by compare-and-set, one process at a time, and never to a version that was not verified.

MLflow's aliases are last writer wins. So every move holds a lock, says what it expects to replace, and is written down before and
after: a process that dies in between leaves an intent, and the next one finishes it or gives it up. The ledger says who serves;
aliases follow it, and where somebody moved one by hand that is told, and the ledger is kept to.
"""

from __future__ import annotations

import contextlib
import fcntl
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longshort import faults
from longshort.config import Params
from longshort.errors import ChampionMoved, CorruptArtefact, PromotionRefused, UsageError
from longshort.registry import ledger, versions
from longshort.registry.versions import CHALLENGER, CHAMPION, PREVIOUS

if TYPE_CHECKING:
    from longshort.registry.local import Registry, Version

# where a process may die; tests let it
FAULTS = ("promotion-intended", "promotion-previous-moved", "promotion-champion-moved")


@contextlib.contextmanager
def lock(root: Path) -> Iterator[None]:
    """Hold the registry; the kernel lets go of it when the process ends, however it ends."""
    path = root / ".state/registry.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def promote(client: Registry, root: Path, model: str, version: str, expected: str | None, reason: str, **facts: Any) -> None:
    """Make a version the champion, if ``expected`` is still the one that serves; that one becomes `previous`.

    expected  the champion that the verdict was against; None: there was none
    raises    ChampionMoved when another serves by now; CorruptArtefact when the version is not what was registered
    """
    with lock(root):
        standing = _settled(client, root, model)
        if standing.champion != expected:
            said = [f"v{one}" if one else "none" for one in (standing.champion, expected)]
            raise ChampionMoved(f"{model}: the champion is {said[0]} by now, and v{version} was judged against {said[1]}. Judge again.")
        if version != expected:
            _move(client, root, model, ledger.PROMOTED, version, standing, reason, facts)


def rollback(client: Registry, root: Path, model: str, forward: bool = False) -> tuple[str, str]:
    """Put the champion before back, after it was verified; returns (old, new) versions. Doing it again goes back further.

    forward  the other way: to the champion that was last gone back from
    raises   PromotionRefused when there is none to go to; CorruptArtefact when that one is not what was registered
    """
    with lock(root):
        standing = _settled(client, root, model)
        there = standing.later if forward else standing.earlier
        if standing.champion is None or not there:
            had = f"v{standing.champion} is the {'newest' if forward else 'first'}" if standing.champion else "it has none"
            which = "later champion to go forward to" if forward else "earlier champion to go back to"
            raise PromotionRefused(f"{model}: there is no {which} ({had}). See `longshort history`.")
        event = ledger.ROLLED_FORWARD if forward else ledger.ROLLED_BACK
        _move(client, root, model, event, there[-1], standing, "asked for", {})
        return standing.champion, there[-1]


def _move(
    client: Registry, root: Path, model: str, event: str, version: str, now: ledger.Standing, reason: str, facts: dict[str, Any]
) -> None:
    """Write the intent, move the aliases, write that it is done. The lock is held."""
    try:
        verified = versions.verify(client, root, versions.find(client, model, version))
    except UsageError as error:
        raise CorruptArtefact(f"{model} v{version} is not in MLflow any more: {error}") from None
    move = {"move": event, "version": version, "old": now.champion, "reason": reason, "verified": verified, **facts}
    move["id"] = uuid.uuid4().hex[:12]
    ledger.note(root, ledger.INTENDED, model, **move)
    faults.point("promotion-intended")
    _put(client, model, PREVIOUS, _before(now, event))
    faults.point("promotion-previous-moved")
    _put(client, model, CHAMPION, version)
    faults.point("promotion-champion-moved")
    ledger.note(root, event, model, **{name: value for name, value in move.items() if name != "move"})


def _before(now: ledger.Standing, event: str) -> str | None:
    """What a rollback would go to after a move."""
    if event == ledger.ROLLED_BACK:
        return now.earlier[-2] if len(now.earlier) > 1 else None
    return now.champion


def _put(client: Registry, model: str, alias: str, version: str | None) -> None:
    if version is not None:
        client.set_registered_model_alias(model, alias, version)
    elif versions.at_alias(client, model, alias) is not None:
        client.delete_registered_model_alias(model, alias)


# --- what a crash left, and what was moved by hand ----------------------------------------------


def reconcile(client: Registry, root: Path, params: Params, model: str) -> ledger.Standing:
    """Finish or give up a move that a killed process began, and take over the champion of a server that is new to this project.

    A champion of another machine has been judged there. Beside a store of our own the ledger knows of every one, so an alias that it
    does not know of was set by hand, and is not taken over.
    """
    with lock(root):
        standing = _settled(client, root, model)
        if params.tracking.uri != "local" and standing == ledger.Standing():
            found = versions.at_alias(client, model, CHAMPION)
            if found is not None:
                ledger.note(root, ledger.ADOPTED, model, version=str(found.version), old=None, reason=f"found on {params.tracking.uri}")
                return ledger.standing(root, model)
        return standing


def _settled(client: Registry, root: Path, model: str) -> ledger.Standing:
    """How a model stands, after an open intent was settled: done where the alias has moved, else given up. The lock is held."""
    standing = ledger.standing(root, model)
    intent = standing.intent
    if intent is None:
        return standing
    facts = {name: value for name, value in intent.items() if name not in ("event", "move", "model", "time")}
    if _where(client, model, CHAMPION) == intent["version"]:
        ledger.note(root, intent["move"], model, **facts)
    else:
        why = "the process died before the champion moved"
        ledger.note(root, ledger.ABANDONED, model, version=intent["version"], old=intent["old"], id=intent["id"], reason=why)
    standing = ledger.standing(root, model)
    _put(client, model, PREVIOUS, standing.earlier[-1] if standing.earlier else None)
    return standing


def _where(client: Registry, model: str, alias: str) -> str | None:
    found = versions.at_alias(client, model, alias)
    return str(found.version) if found else None


def drift(client: Registry, root: Path, model: str) -> str | None:
    """What somebody did to the champion's alias by hand, as a sentence; None where it is where the ledger says."""
    standing, alias = ledger.standing(root, model), _where(client, model, CHAMPION)
    if standing.intent or alias == standing.champion:
        return None  # an open intent is not drift: the next run settles it
    if _is_servers(client) and standing == ledger.Standing():
        return None  # nor is the champion of another machine
    said = f"points at v{alias}" if alias else "is gone"
    serves = f"v{standing.champion}, which serves" if standing.champion else "no champion"
    put_back = "`longshort doctor --fix` puts it back"
    meant = f"; if it was meant, `longshort promote {model} {alias} --force REASON`" if alias else ""
    return f"{model}: the alias `{CHAMPION}` {said}, and the ledger says {serves}: somebody moved it by hand. {put_back}{meant}."


def put_back(client: Registry, root: Path, model: str) -> None:
    """Point the aliases where the ledger says, and write that down."""
    with lock(root):
        standing = _settled(client, root, model)
        alias = _where(client, model, CHAMPION)
        _put(client, model, CHAMPION, standing.champion)
        _put(client, model, PREVIOUS, standing.earlier[-1] if standing.earlier else None)
        was = f"v{alias}" if alias else "nowhere"
        ledger.note(root, ledger.PUT_BACK, model, version=standing.champion, reason=f"the alias was moved by hand to {was}")


def serving_version(client: Registry, root: Path, model: str) -> tuple[Version, str]:
    """The version to answer with, and what it is: the champion, by the ledger, else the challenger.

    The ledger is kept to where an alias was moved by hand; a project that has never moved a champion takes a server's alias.
    raises  UsageError when the model is not registered; CorruptArtefact when the champion is not in MLflow any more
    """
    standing = ledger.standing(root, model)
    if standing.champion is not None:
        try:
            return versions.find(client, model, standing.champion), CHAMPION
        except UsageError:
            raise CorruptArtefact(
                f"{model} v{standing.champion}: it is the champion, and not in MLflow any more. Run `longshort rollback {model}`."
            ) from None
    if _is_servers(client) and (found := versions.at_alias(client, model, CHAMPION)):
        return found, CHAMPION
    if found := versions.at_alias(client, model, CHALLENGER):
        return found, CHALLENGER
    raise UsageError(f"no model '{model}' is registered. Run `longshort run` first.")


def _is_servers(client: Registry) -> bool:
    """Whether others may write to the store too."""
    return str(client.tracking_uri).startswith("http")

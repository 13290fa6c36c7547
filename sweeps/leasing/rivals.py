"""How a process that wants a lease judges the others who claim it: dead, alive, or as fast."""

from __future__ import annotations

import time

from camsweep.sweeps.leasing.claims import Claim, Claims

#: What this process has seen of others' leases: by store and name, by token, the beat and when.
_seen: dict[tuple[str, str], dict[str, tuple[str, float]]] = {}
#: How often who claims looks again for a rival that is about to step back.
LOOKS = 4


def clock() -> float:
    """Seconds that only go forward, whatever is done to the machine's time of day."""
    return time.monotonic()


def dead_tokens(url: str, claims: Claims, name: str, found: list[Claim]) -> set[str] | None:
    """The tokens of a name's claims, where all of them are dead; else None."""
    key = (url, name)
    before, now, seen, tokens = _seen.pop(key, {}), clock(), {}, set()
    alive = False
    for one in found:
        sight = claims.look(one)
        if sight is None:
            continue
        beat, since = before.get(sight.token, ("", now))
        if beat != sight.beat:
            since = now
        seen[sight.token] = sight.beat, since
        tokens.add(sight.token)
        alive |= now - since < sight.seconds and not sight.process.is_gone()
    if seen:
        _seen[key] = seen
    return None if alive else tokens


def is_alone(claims: Claims, name: str, file: str, token: str, dead: set[str]) -> bool:
    """Whether nobody but the dead claims the name beside one's own claim, just made.

    Whoever made a claim before this look is seen by it; whoever makes one later sees ours. So of
    two that both look after they have made theirs, one at most finds itself alone.

    Args:
        claims: of the store.
        name: what is claimed.
        file: one's own claim.
        token: one's own.
        dead: the tokens of those found dead before.
    """
    for look in range(LOOKS):
        rivals = set()
        for one in claims.all(name):
            sight = None if one.file == file else claims.look(one)
            if sight is not None and sight.token not in dead:
                rivals.add(sight.token)
        if not rivals:
            return True
        # Only the least of them stays to see whether the others step back.
        if token > min(rivals):
            return False
        time.sleep(0.02 * 2**look)
    return False

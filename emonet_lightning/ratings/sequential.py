"""Sequential voting on yes/no questions, as the released set was voted on: a yes goes on, a no ends, three yes confirm.

Pure: a question's state is a function of its votes, so asking again what is due changes nothing.
"""

from collections.abc import Sequence
from typing import Literal

CONFIRMING = 3
"""Yes votes of different raters, and no no, that make a triple positive agreement."""
State = Literal["open", "rejected", "confirmed"]


def state_of(votes: Sequence[bool]) -> State:
    """Return where a question stands after these votes, in order: the first no rejects, three yes confirm."""
    if not all(votes):
        return "rejected"
    return "confirmed" if len(votes) >= CONFIRMING else "open"


def due_rounds(votes: Sequence[bool]) -> int:
    """Return in how many rounds a question is asked: those with a vote, and the next one while it is open."""
    return len(votes) + (state_of(votes) == "open")


def pattern(votes: Sequence[bool]) -> str:
    """Return the votes as the released analysis writes them: `TTF` is two yes, then a no; empty without a vote."""
    return "".join("T" if vote else "F" for vote in votes)

"""Every kind of provider garbage, and every record with something odd in it."""

from tests.kinds import Kind, answers, encodings, framing, slowness, statuses

KINDS: tuple[Kind, ...] = (
    *framing.KINDS, *statuses.KINDS, *encodings.KINDS, *answers.KINDS, *slowness.KINDS,
)  # fmt: skip

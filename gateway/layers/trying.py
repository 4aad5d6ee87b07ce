"""One try of a call, from the circuit to the wire: each layer's question on the way down, and what it learns on the way up.

The order is an argument:

- The circuit is outermost: an open one costs neither a slot nor budget, and it judges each try by itself.
- The budget is inside of the slots: a call that never gets a slot spends nothing.
- `before` is the last question ("may I still send?"): between it and the sending there is nothing to wait for.
- What repeats is outside of all this, so that each try has its slot, is paid for, and counts.
- What answers without a call (a cache) belongs outside of what repeats; what observes stands outermost, and sees what the
  caller saw.

Nearly always no layer has to be waited for: each is asked in a plain function first, and awaited where that cannot say.
"""

from collections.abc import Awaitable, Callable

from gateway.adapter import Adapter, Call, Reply
from gateway.errors import CallFailed, NeverSent
from gateway.failures import wait_told
from gateway.layers.budget import Purse
from gateway.layers.circuit import Circuit
from gateway.layers.trip import Send, Trip
from gateway.loop_time import loop_time
from gateway.slots import Slots


def trying(
    wire: Callable[[Call, float, bool], Awaitable[Reply]], adapter: Callable[[], Adapter],
    learn: Callable[[Call, Reply], None], slots: Slots, purse: Purse, circuit: Circuit | None,
) -> Send:  # fmt: skip
    """The wire behind the layers that bound a single try. `circuit` None: circuits are off."""

    async def once(call: Call, trip: Trip) -> Reply:
        probe = circuit is not None and not circuit.is_calm() and await circuit.enter()
        trip.asked = 0.0
        if probe and trip.whole:
            trip.deadline = trip.whole  # cut short it would say nothing, and the next caller would have to wait as well
        try:
            if not slots.take_at_once():
                await slots.take(trip.caller, trip.deadline)
            try:
                paid = purse.spend_at_once(trip.urgent) or await purse.spend(trip.urgent)
                try:
                    if trip.before is not None:
                        await trip.before()
                    trip.tries += 1
                    trip.asked = loop_time()
                    reply = await wire(call, trip.deadline, trip.fresh)
                except BaseException as failure:
                    if not trip.asked or isinstance(failure, NeverSent):
                        await purse.give_back(paid)
                    raise
                of = adapter()
                told = purse.note(of.budget_left(reply), paid.number)
                if told is not None:
                    await purse.correct(told)
                if reply.status == 429:
                    wait = wait_told(of, reply)
                    if wait:
                        purse.pause(wait)
            finally:
                slots.give()
            if circuit is not None and not circuit.went_well(reply):
                await circuit.judge(reply, trip.asked, probe)
            if reply.status < 300:
                learn(call, reply)
            return reply
        except CallFailed as failure:
            if circuit is not None:
                await circuit.judge(failure, trip.asked, probe)
            raise
        finally:
            if probe and circuit is not None:
                await circuit.leave()

    return once

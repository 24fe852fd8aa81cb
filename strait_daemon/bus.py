"""Live signals between processes: "runs are ready", "these runs moved", "these were taken away".

Every signal is level-triggered: it means "look again", never "this is so". One that is lost costs the time until the
next poll, nothing more. What happens in this process is signalled at once; other processes hear of it through a
transport (PostgreSQL's NOTIFY, or Redis), in messages that gather while the previous one is under way. Nothing is
sent while no other process is there to hear it.
"""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, Protocol
from uuid import UUID, uuid4

import msgspec
import structlog

from strait_daemon.ending import end

# A process says that it is there every so often, and is forgotten after three silences.
HELLO_SECS: Final = 5.0
FORGET_SECS: Final = 16.0
# A message must fit into a NOTIFY (8,000 bytes); an id takes 25 of them, and there are two lists.
IDS_PER_MESSAGE: Final = 140
# Lanes that one message names; of more it says only that there is something.
LANES_PER_MESSAGE: Final = 50
SEND_SECS: Final = 5.0
LISTEN_PAUSE_SECS: Final = 1.0
# How long room that this process takes itself is its own before the others hear of it.
SHARE_SECS: Final = 0.25
STOP_SECS: Final = 3.0
# More runs that moved before anybody looked are left to be found.
MOST_GATHERED: Final = 20_000

log = structlog.get_logger(__name__)


class Message(msgspec.Struct, omit_defaults=True):
    """What travels; ids are the 16 bytes of a UUID in URL-safe base 64."""

    sender: str
    hello: bool = False
    watching: bool = False
    # Somebody there wants to hear of every run that moves, new ones too.
    feeding: bool = False
    wake: bool = False
    breakers: bool = False
    changed: list[str] = []
    taken: list[str] = []
    lanes: list[int] = []


class Bell(asyncio.Event):
    """An event that may also wake who waits for it without any news."""

    def __init__(self) -> None:
        super().__init__()
        self.is_news = False

    def set(self) -> None:
        """There is news."""
        self.is_news = True
        super().set()

    def nudge(self) -> None:
        """Wake who waits."""
        super().set()

    def clear(self) -> None:
        """From here on."""
        self.is_news = False
        super().clear()


class Everything:
    """An ear for all runs: `moved` is set when any has, and `take` tells which, or which of very many."""

    def __init__(self) -> None:
        self.moved = asyncio.Event()
        self._ids: dict[UUID, None] = {}

    def add(self, ids: Iterable[UUID]) -> None:
        """These have moved."""
        if len(self._ids) < MOST_GATHERED:
            self._ids.update(dict.fromkeys(ids))
        self.moved.set()

    def take(self) -> list[UUID]:
        """What has moved since it was last asked."""
        self.moved.clear()
        taken, self._ids = list(self._ids), {}
        return taken


class Transport(Protocol):
    """Carries text from each process to all; may lose any of it."""

    async def send(self, text: str) -> None:
        """Send one message; raises when it cannot."""
        ...

    def listen(self) -> AsyncIterator[str | None]:
        """Messages as they come; None whenever some may have been missed. Reconnects by itself, never ends."""
        ...

    async def close(self) -> None:
        """Let go of the connections."""
        ...


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Message).decode


class Bus:
    """One process's end of the live signals."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._id = uuid4().hex[:12]
        self._watchers: dict[UUID, set[Bell]] = {}
        self._ears: set[Everything] = set()
        self._on_wake: list[Callable[[], None]] = []
        self._on_taken: list[Callable[[list[UUID]], None]] = []
        self._on_breakers: list[Callable[[], None]] = []
        self._on_freed: list[Callable[[list[int]], bool]] = []
        # When each was last heard, whether it watches runs, whether it wants to hear of all.
        self._peers: dict[str, tuple[float, bool, bool]] = {}
        self._outbox = Message(self._id)
        self._kick = asyncio.Event()
        self._sharing: asyncio.TimerHandle | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def on_wake(self, callback: Callable[[], None]) -> None:
        """Call back whenever runs may have become ready, in any process."""
        self._on_wake.append(callback)

    def on_taken(self, callback: Callable[[list[UUID]], None]) -> None:
        """Call back with runs whose live attempt was ended from outside, in any process."""
        self._on_taken.append(callback)

    def on_breakers(self, callback: Callable[[], None]) -> None:
        """Call back whenever another process has changed the state of breakers."""
        self._on_breakers.append(callback)

    def breakers_changed(self) -> None:
        """This process changed the state of breakers: the others look, and who claims runs looks as well."""
        self.wake()
        if self._peers:
            self._outbox.breakers = True
            self._kick.set()

    def on_freed(self, callback: Callable[[list[int]], bool]) -> None:
        """Call back with lanes in which a limit has room again, in any process; a wake-up follows.

        The callback answers whether this process can take what waits there.
        """
        self._on_freed.append(callback)

    def freed(self, lanes: Iterable[int]) -> None:
        """In these lanes a limit has room again.

        If this process can take it, the others hear a little later: were all told at once, each slot that is freed
        would cost a claim in every process, and all but one of these would find it taken.
        """
        listed = sorted(set(lanes))
        takers = [callback(listed) for callback in self._on_freed]
        for callback in self._on_wake:
            callback()
        if self._peers:
            self._outbox.lanes.extend(listed)
            self._outbox.wake = True
            if not any(takers):
                self._kick.set()
            elif self._sharing is None:
                self._sharing = asyncio.get_running_loop().call_later(SHARE_SECS, self._share)

    def _share(self) -> None:
        self._sharing = None
        self._kick.set()

    def wake(self) -> None:
        """Runs became ready."""
        for callback in self._on_wake:
            callback()
        if self._peers:
            self._outbox.wake = True
            self._kick.set()

    def runs_changed(self, ids: Iterable[UUID]) -> None:
        """These runs moved."""
        listed = list(ids)
        self._signal(listed)
        if any(watching or feeding for _, watching, feeding in self._peers.values()):
            self._outbox.changed.extend(map(_short, listed))
            self._kick.set()

    def runs_made(self, ids: Iterable[UUID]) -> None:
        """These runs are new: nobody can have watched them, but some want to hear of all."""
        far = any(feeding for _, _, feeding in self._peers.values())
        if not far and not self._ears:
            return
        listed = list(ids)
        for ear in self._ears:
            ear.add(listed)
        if far:
            self._outbox.changed.extend(map(_short, listed))
            self._kick.set()

    def runs_taken(self, ids: Iterable[UUID]) -> None:
        """The live attempts of these runs were ended from outside: their workers close the requests."""
        listed = list(ids)
        for callback in self._on_taken:
            callback(listed)
        if self._peers:
            self._outbox.taken.extend(map(_short, listed))
            self._kick.set()

    @contextmanager
    def watch(self, run_id: UUID) -> Iterator[Bell]:
        """A bell that is set whenever that run may have moved."""
        event = Bell()
        first = not self._watchers
        self._watchers.setdefault(run_id, set()).add(event)
        if first:
            self._say_hello()
        try:
            yield event
        finally:
            events = self._watchers[run_id]
            events.discard(event)
            if not events:
                del self._watchers[run_id]

    @contextmanager
    def watch_all(self) -> Iterator[Everything]:
        """An ear that hears of every run and workflow run that moves, in any process."""
        ear = Everything()
        self._ears.add(ear)
        self._say_hello()
        try:
            yield ear
        finally:
            self._ears.discard(ear)

    def start(self) -> None:
        """Begin to listen and to send."""
        self._tasks = [
            asyncio.create_task(part(), name=f"bus-{part.__name__}") for part in (self._listen, self._send, self._greet)
        ]
        self._say_hello()

    async def stop(self) -> None:
        """Stop both, and close the transport; who does not let go in time is left behind."""
        if self._sharing is not None:
            self._sharing.cancel()
        for task in await end(*self._tasks, within=STOP_SECS):
            log.warning("signals_left_behind", task=task.get_name())
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECS):
                await self._transport.close()

    def _signal(self, ids: list[UUID]) -> None:
        if self._watchers:
            for run_id in ids:
                for event in self._watchers.get(run_id, ()):
                    event.set()
        for ear in self._ears:
            ear.add(ids)

    def _say_hello(self) -> None:
        self._outbox.hello = True
        self._kick.set()

    async def _greet(self) -> None:
        while True:
            await asyncio.sleep(HELLO_SECS)
            now = asyncio.get_running_loop().time()
            self._peers = {peer: seen for peer, seen in self._peers.items() if now - seen[0] < FORGET_SECS}
            self._say_hello()

    async def _send(self) -> None:
        while True:
            await self._kick.wait()
            self._kick.clear()
            outbox, self._outbox = self._outbox, Message(self._id)
            try:
                async with asyncio.timeout(SEND_SECS):
                    for message in self._cut(outbox):
                        await self._transport.send(_encode(message).decode())
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - a lost signal costs a poll; this loop must outlive its transport
                log.debug("signal_lost", error=type(error).__name__)

    def _cut(self, outbox: Message) -> Iterator[Message]:
        outbox.watching, outbox.feeding = bool(self._watchers), bool(self._ears)
        outbox.hello = outbox.hello or outbox.watching or outbox.feeding
        changed, taken = list(dict.fromkeys(outbox.changed)), outbox.taken
        lanes = sorted(set(outbox.lanes))
        rounds = max(1, -(-len(changed) // IDS_PER_MESSAGE), -(-len(taken) // IDS_PER_MESSAGE))
        for at in range(0, rounds * IDS_PER_MESSAGE, IDS_PER_MESSAGE):
            yield Message(
                self._id,
                hello=outbox.hello,
                watching=outbox.watching,
                feeding=outbox.feeding,
                wake=outbox.wake and at == 0,
                breakers=outbox.breakers and at == 0,
                lanes=lanes if at == 0 and len(lanes) <= LANES_PER_MESSAGE else [],
                changed=changed[at : at + IDS_PER_MESSAGE],
                taken=taken[at : at + IDS_PER_MESSAGE],
            )

    async def _listen(self) -> None:
        while True:
            try:
                await self._listen_once()
            except Exception as error:  # noqa: BLE001 - a process that hears nothing any more would not be noticed
                log.warning("listening_failed", error=f"{type(error).__name__}: {error}")
            await asyncio.sleep(LISTEN_PAUSE_SECS)

    async def _listen_once(self) -> None:
        async for text in self._transport.listen():
            if text is None:
                self._look_everywhere()
                continue
            with suppress(msgspec.DecodeError, ValueError):
                self._hear(_decode(text))

    def _look_everywhere(self) -> None:
        """Signals may have been missed: everybody looks again; ears compare what they heard with the changes anyway."""
        for events in self._watchers.values():
            for event in events:
                event.set()
        for callback in self._on_wake:
            callback()
        self._say_hello()

    def _hear(self, message: Message) -> None:
        if message.sender == self._id:
            return
        if message.hello:
            self._meet(message)
        if message.lanes:
            for freed in self._on_freed:
                freed(message.lanes)
        if message.wake:
            for wake in self._on_wake:
                wake()
        if message.breakers:
            for look in self._on_breakers:
                look()
        if message.changed:
            self._signal(list(map(_long, message.changed)))
        if message.taken:
            ids = list(map(_long, message.taken))
            for taken in self._on_taken:
                taken(ids)

    def _meet(self, message: Message) -> None:
        """Another process is there; one that was not known is greeted."""
        known = message.sender in self._peers
        self._peers[message.sender] = (asyncio.get_running_loop().time(), message.watching, message.feeding)
        if not known:
            self._say_hello()


def _short(run_id: UUID) -> str:
    return urlsafe_b64encode(run_id.bytes)[:22].decode()


def _long(text: str) -> UUID:
    return UUID(bytes=urlsafe_b64decode(text + "=="))

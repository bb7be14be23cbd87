"""A call's recording, for the player on its page: decoded, by ranges, and written down before the first byte."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING

from tornado import web
from tornado.iostream import StreamClosedError

from pipeline.database.access_log import NotLoggedError
from pipeline.flower.calls.reader import CallsHandler
from pipeline.flower.handlers import RefusalError, engine
from pipeline.recordings.decoding import BrokenAudioError, BusyError, Decoder
from pipeline.recordings.fetching import DiffersError, find_recordings
from pipeline.recordings.listening import Wanted, listen
from pipeline.recordings.rules.encrypted import CannotDecryptError
from pipeline.recordings.store_trouble import NoSuchFileError, StoreError
from pipeline.settings import current_settings, recording_store

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from pipeline.recordings.file_store import RecordingStore
    from pipeline.recordings.listening import Answer
    from pipeline.recordings.retention_rows import KeptFile

TIDY_SECONDS = 60


@functools.cache
def decoder() -> Decoder:
    """That of this process; what it keeps is let go from time to time."""
    made = Decoder()
    loop = asyncio.get_running_loop()

    def tidy() -> None:
        made.tidy()
        loop.call_later(TIDY_SECONDS, tidy)

    loop.call_later(TIDY_SECONDS, tidy)
    return made


@functools.cache
def store() -> RecordingStore:
    """Where recordings are."""
    return recording_store(current_settings())


class AudioHandler(CallsHandler):
    """The bytes of a recording."""

    @web.authenticated
    async def get(self, source: str, call_ref: str) -> None:
        """Send it, or the part that is asked for: as PCM, or with ``form=stored`` as it is stored."""
        self._refuse_other_sites()
        if not self.may_listen:
            raise RefusalError(403, "This login may not listen to recordings (PIPELINE_FLOWER_LISTENING).")
        because = self.get_argument_as_typed("because")
        if current_settings().recordings_listening_reason == "required" and not because:
            raise RefusalError(403, "Say why you listen first: it is kept with your name.")
        file = await self.ask(lambda connection: _file_of(connection, source, call_ref))
        if file is None:
            raise RefusalError(404, f"{source} has no stored recording of a call {call_ref}.")
        await self._send(await self._answer(file, because or None))

    def _refuse_other_sites(self) -> None:
        """A page of another site must not have somebody listen in whose browser it is shown."""
        if self.request.headers.get("Sec-Fetch-Site") not in {None, "none", "same-origin"}:
            raise RefusalError(403, "A recording is played on its call's page only.")

    async def _answer(self, file: KeptFile, because: str | None) -> Answer:
        headers, visitor = self.request.headers, self.visitor(because)
        stored = self.get_argument_as_typed("form") == "stored"
        wanted = Wanted(not stored, headers.get("Range"), headers.get("If-Range"))
        kept = decoder()
        try:
            return await self.in_a_thread(lambda: listen(engine(), store(), kept, file, wanted, visitor=visitor))
        except (NoSuchFileError, DiffersError, CannotDecryptError, BrokenAudioError) as error:
            raise RefusalError(502, f"The recording cannot be played: {error}.") from error
        except (NotLoggedError, BusyError, StoreError) as error:
            raise RefusalError(503, f"Not now: {error}.") from error

    async def _send(self, answer: Answer) -> None:
        self.set_status(answer.status)
        for name, value in answer.headers.items():
            self.set_header(name, value)
        try:
            while part := await self.in_a_thread(lambda: next(answer.parts, b"")):
                self.write(part)
                await self.flush()
        except StreamClosedError:
            pass  # whoever listens has enough
        except (RefusalError, DiffersError, CannotDecryptError, StoreError):
            # Fewer bytes than were promised: the player must not take them for all.
            self.request.connection.stream.close()
        finally:
            close = getattr(answer.parts, "close", None)  # a generator, but for an answer without bytes
            if close is not None:
                await self.in_a_thread(close)


def _file_of(connection: Connection, source: str, call_ref: str) -> KeptFile | None:
    if "\0" in source + call_ref:
        return None
    return next((each.file for each in find_recordings(connection, call_ref, source)), None)

"""TensorBoard's curves of a stage, written as they come.

TensorBoard's own writer is a thread: on a full disk it dies with a traceback,
and the training goes on in silence.
"""

import os
import socket
import time
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from kit.core.files import writing


class Curves:
    """One file of events.

    Args:
        folder: Where TensorBoard looks for it.
        first: The first step to come; TensorBoard forgets what a killed process has written of it and of later ones.
    """

    def __init__(self, folder: Path, first: int) -> None:
        self._path = folder / f"events.out.tfevents.{time.time():010.0f}.{socket.gethostname()}.{os.getpid()}.{first}"
        self._write(
            Event(wall_time=time.time(), file_version="brain.Event:2"),
            Event(wall_time=time.time(), step=first, session_log=SessionLog(status=SessionLog.START)),
        )

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Writes a value of a step."""
        scalar = Summary.Value(tag=name, simple_value=value)
        self._write(Event(wall_time=time.time(), step=step, summary=Summary(value=[scalar])))

    def add_image(self, name: str, png: bytes, step: int) -> None:
        """Writes a picture of a step."""
        image = Summary.Image(encoded_image_string=png, colorspace=1)
        self._write(
            Event(wall_time=time.time(), step=step, summary=Summary(value=[Summary.Value(tag=name, image=image)]))
        )

    def _write(self, *events: Event) -> None:
        with writing(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with open(self._path, "ab") as handle:
                writer = RecordWriter(handle)
                for event in events:
                    writer.write(event.SerializeToString())

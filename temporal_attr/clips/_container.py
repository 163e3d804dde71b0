"""A video file opened by FFmpeg, or the error that says why it is not."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from temporal_attr._errors import NotAVideoError, VideoNotFoundError
from temporal_attr.clips._closing import Closing

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.codeccontext import VideoCodecContext
    from av.video.stream import VideoStream

# FFmpeg also takes playlists, scripts and patterns for videos, whatever their name; they make it
# read other files. So the formats are named that hold their pictures themselves.
FORMATS = (
    "apng,asf,av1,avi,cavsvideo,dirac,dv,flv,gif,gxf,h261,h263,h264,hevc,ivf,m4v,matroska,mjpeg,"
    "mov,mpeg,mpegts,mpegvideo,mxf,nsv,nut,obu,ogg,rm,vc1,vvc,webm,wtv,yuv4mpegpipe"
)

# Whole pictures in each packet, with times: FFmpeg need not parse them, which takes as long as
# reading them does.
_WHOLE_PACKETS = ("mov", "matroska", "flv")
_PLAIN_CODECS = ("h264", "hevc", "vp8", "vp9", "av1", "ffv1", "mjpeg", "prores")
# Decoders that keep a palette or a book of colours from frames before a key; with a palette, any
# other too, unless each picture brings its own.
_KEEP_COLOURS = ("8bps", "cinepak", "cscd", "msrle", "msvideo1", "qtrle", "rpza", "smc", "zmbv")
_OWN_PALETTE = ("apng", "gif", "png")


@dataclass
class OpenVideo(Closing):
    """A file that is open, its video, and what decodes it.

    Attributes:
        container: The file.
        stream: Its video.
        decoder: Takes the packets of the stream.
        threads: How many threads decode. With more than one, a fault is reported some packets
            after the one that it is in.
    """

    container: InputContainer
    stream: VideoStream
    decoder: VideoCodecContext
    threads: int = 1
    process: int = field(default_factory=os.getpid)

    @property
    def format_name(self) -> str:
        """FFmpeg's first name of the format."""
        return self.container.format.name.split(",")[0]

    @property
    def rate(self) -> float:
        """Frames a second, by the header."""
        rate, clock = self.stream.average_rate, self.stream.time_base
        if not rate or (clock and rate == 1 / clock):
            # A rate that is the clock's (as of raw DV) may be none that was counted.
            rate = self.stream.guessed_rate or self.stream.base_rate or rate
        return float(rate) if rate else 25.0

    @property
    def can_start_at_keys(self) -> bool:
        """Whether a key frame needs nothing that came before it; a palette comes but once."""
        context = self.stream.codec_context
        if context.name in _KEEP_COLOURS:
            return False
        return context.pix_fmt != "pal8" or context.name in _OWN_PALETTE

    def packets(self) -> Iterator[av.Packet[VideoStream]]:
        """The packets of the video, as long as the file can be read; the last one is empty."""
        import av  # noqa: PLC0415

        packets = self.container.demux(self.stream)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, av.FFmpegError):
                return
            yield packet

    def seek(self, time: int) -> None:
        """Go to the last key that is not after a time, in units of the stream's clock."""
        self.container.seek(time, stream=self.stream)
        self.decoder.flush_buffers()

    def close(self) -> None:
        """Give the file and the decoder back."""
        if self.process == os.getpid():
            self.container.close()
            return
        # The threads of the decoder were left behind by a fork: freeing it would wait for them
        # for ever. So it is never freed.
        for kept in (self.container, self.decoder):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(kept))


def open_video(path: Path, threads: int = 1) -> OpenVideo:
    """Open a file for reading, and choose its video.

    Args:
        path: The file.
        threads: How many threads may decode.

    Raises:
        VideoNotFoundError: If there is no file at `path`.
        NotAVideoError: If it holds no video that can be decoded, or is a list of other files.
    """
    if not path.is_file():
        raise VideoNotFoundError(
            f"a video file at {path}",
            "a folder"
            if path.is_dir()
            else "what is not a regular file"
            if path.exists()
            else "no file there",
            "Check the path; it is read relative to the current folder.",
        )
    video = _video_of(_open(path, {"fflags": "noparse"}), path)
    if not has_whole_packets(video):
        video.close()
        video = _video_of(_open(path, {}), path)
    video.threads = video.decoder.thread_count = threads
    video.decoder.thread_type = "FRAME" if threads > 1 else "NONE"
    return video


def has_whole_packets(video: OpenVideo) -> bool:
    """Whether each packet is one picture with its time, so that FFmpeg need not parse it."""
    codec = video.stream.codec_context.name
    return video.format_name in _WHOLE_PACKETS and codec in _PLAIN_CODECS


def _open(path: Path, options: dict[str, str]) -> InputContainer:
    import av  # noqa: PLC0415 - takes longer to import than all of this package

    settings = {"format_whitelist": FORMATS, "protocol_whitelist": "file", **options}
    try:
        # In full, for FFmpeg takes what stands before a colon for a protocol; and whatever the
        # titles in the file are encoded in, they are not read here.
        return av.open(str(path.absolute()), options=settings, metadata_errors="ignore")
    except av.FFmpegError as error:
        raise _refusal(path, error) from None


def _refusal(path: Path, error: av.FFmpegError) -> NotAVideoError:
    import av  # noqa: PLC0415

    if isinstance(error, av.error.ArgumentError):
        return NotAVideoError(
            f"a file at {path} that holds its own pictures",
            "a playlist, a single picture or another format that is not read",
            "Name the video itself, a folder of pictures, or a pattern such as frame_%04d.png.",
        )
    return NotAVideoError(
        f"a video that FFmpeg can decode at {path}",
        f"a file of {path.stat().st_size} bytes without a readable video stream ({error.strerror})",
        "Check that the file is whole and is a video; re-encode it to H.264 if it is.",
    )


def _video_of(container: InputContainer, path: Path) -> OpenVideo:
    import av  # noqa: PLC0415

    cover = av.stream.Disposition.attached_pic
    films = [film for film in container.streams.video if not film.disposition & cover]
    best = container.streams.best("video")
    for film in [best, *films] if best in films else films:
        context = getattr(film, "codec_context", None)
        if context is not None and film.width and film.height:
            return OpenVideo(container, film, _decoder_of(film))
    found = f"{len(container.streams)} streams, none of them a video that can be decoded"
    container.close()
    raise NotAVideoError(
        f"a video at {path}", found, "Check the file; re-encode it to H.264 if it is a video."
    )


def has_side_alpha(stream: VideoStream) -> bool:
    """Whether the opacity is stored beside the pictures, as VP8 and VP9 do."""
    return stream.metadata.get("alpha_mode") == "1"


def _decoder_of(stream: VideoStream) -> VideoCodecContext:
    import av  # noqa: PLC0415

    if stream.codec_context.name == "mjpeg":
        # Else it makes up the rest of a picture in which it met an error, and says nothing. (Of
        # other codecs too much is an error, and they mark what they make up.)
        stream.codec_context.options = {"err_detect": "explode"}
    name = {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(stream.codec_context.name)
    if name is None or not has_side_alpha(stream):
        return stream.codec_context
    # FFmpeg's own decoders of these read the colours only.
    decoder = av.CodecContext.create(name, "r")
    assert isinstance(decoder, av.VideoCodecContext)
    return decoder

"""Videos made with PyAV for the tests: any codec, pixel format, times of frames and tags."""

from fractions import Fraction

import numpy as np
import pytest

av = pytest.importorskip("av", minversion="17", reason="videos need PyAV (pip install 'av>=17')")


def write_video(path, pictures, rate=10, *, codec="libx264", pixel_format="yuv420p", times_ms=None, options=None, muxer=None, tags=None):
    """Write ``pictures`` (uint8 [H, W, 3] red first, or [H, W] in a grey pixel format); ``times_ms``: variable times, in whole ms."""
    with av.open(str(path), "w", options=muxer or {}) as container:
        container.metadata.update(tags or {})
        try:
            stream = container.add_stream(codec, rate=Fraction(rate).limit_denominator(1001), options=options or {})
        except ValueError:
            pytest.skip(f"this build of FFmpeg has no {codec}")
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pixel_format
        base = Fraction(1, 1000) if times_ms else 1 / Fraction(rate).limit_denominator(1001)
        stream.codec_context.time_base = stream.time_base = base
        for index, picture in enumerate(pictures):
            frame = picture if isinstance(picture, av.VideoFrame) else video_frame(picture, pixel_format)
            frame.pts, frame.time_base = times_ms[index] if times_ms else index, base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def video_frame(picture, pixel_format):
    """Colour through the converter, grey values as they are."""
    if picture.ndim == 3:
        return av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format=pixel_format)
    frame = av.VideoFrame(picture.shape[1], picture.shape[0], pixel_format)
    plane = frame.planes[0]
    rows = np.zeros((picture.shape[0], plane.line_size), np.uint8)
    content = np.ascontiguousarray(picture).view(np.uint8)
    rows[:, : content.shape[1]] = content
    plane.update(rows.tobytes())
    return frame


def levels(seconds, size=(48, 64)):
    """Grey pictures whose level says their time: 20 + 60 a second."""
    return [np.full((*size, 3), round(20 + 60 * time), np.uint8) for time in seconds]


def seconds_of(frame):
    """The time that the picture's level says."""
    return (float(np.median(frame.data)) - 20) / 60

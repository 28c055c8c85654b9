"""How much disk a minute of the recorded fused streams takes: the synthetic rig, fused, as record.launch.py writes it.

    python benchmarks/disk_per_minute.py

Prints one line a stream and preset: MB per minute at 30 Hz. Jpeg and H.264 have the processor time of encoding a picture and the PSNR of
the decoded one too. Only the messages' bytes are counted; mcap adds under 1 % to them.
"""

import argparse
import sys
import time
from collections import defaultdict

import cv2
import numpy as np

from aenet_ros.config import OutputConfig, build
from aenet_ros.core.frames import Frame, FramePair
from aenet_ros.io.video_decoder import PacketDecoder
from aenet_ros.io.video_encoder import VideoEncoder
from aenet_ros.messages.codec import encode_jpeg
from aenet_ros.pipeline import FusionPipeline
from aenet_ros.workbench.simulation.rig import Rig
from aenet_ros.workbench.simulation.rig_config import RigConfig

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

RATE_HZ = 30.0
CHUNK = 768 * 1024  # mcap's default chunk, which holds a 640x512 rgb8 frame and is what zstd sees at a time
LEVELS = {"none, fastwrite": None, "zstd_fast": 1, "zstd_small": 19}


def streams(seconds: float, bitrates: list[int]) -> tuple[dict[str, list[bytes]], dict[str, str]]:
    """By stream, the bytes of each frame (of the raw streams every fifth pair), and of the lossy ones encoding time and PSNR."""
    rig = Rig(RigConfig(scene_s=seconds / 3))
    pipeline = FusionPipeline(
        build({"registration.mode": "homography", "registration.homography": [float(x) for x in rig.homography.ravel()]})
    )
    videos = {f"fused/video, {kbps} kbit/s": (VideoEncoder(hardware=False), kbps, PacketDecoder("h264")) for kbps in bitrates}
    found: dict[str, list[bytes]] = defaultdict(list)
    encoding_ms: dict[str, list[float]] = defaultdict(list)
    psnr: dict[str, list[float]] = defaultdict(list)

    def note(name: str, data: bytes, begin: float) -> None:
        encoding_ms[name].append(1e3 * (time.thread_time() - begin))
        found[name].append(data)

    thermal = Frame(0, np.zeros((1, 1), np.uint16), "mono16")
    for index, shot in enumerate(rig.schedule(seconds=seconds)):
        if shot.stream == "thermal":
            thermal = Frame(shot.at_ns + 1, rig.render(shot).copy(), "mono16")
            continue
        rgb = Frame(shot.at_ns + 1, rig.render(shot).copy(), "rgb8")
        fused = pipeline.process(FramePair(thermal, rgb), want_registered=True)
        if (index // 2) % 5 == 0:
            assert fused.thermal_registered is not None
            raw = {"fused/image": fused.image, "fused/thermal_registered": fused.thermal_registered}
            raw |= {"thermal/image_raw": thermal.data, "rgb/image_raw": rgb.data}
            for name, data in raw.items():
                found[name].append(data.tobytes())
        begin = time.thread_time()
        jpeg = encode_jpeg(fused.image, "rgb8", OutputConfig().jpeg_quality)
        note("fused/image/compressed", jpeg, begin)
        decoded = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        psnr["fused/image/compressed"].append(cv2.PSNR(fused.image, np.ascontiguousarray(decoded[..., ::-1])))
        for name, (encoder, kbps, decoder) in videos.items():
            begin = time.thread_time()
            [packet] = encoder.encode(fused.image, "rgb8", fused.stamp_ns, OutputConfig(video_bitrate_kbps=kbps))
            note(name, packet.data, begin)
            psnr[name].append(cv2.PSNR(fused.image, decoder.decode(packet.data, fused.stamp_ns)[0].data))
    return found, {name: f"{np.median(encoding_ms[name]):>8.1f} ms{np.mean(psnr[name]):>8.1f} dB" for name in psnr}


def stored(frames: list[bytes], level: int | None) -> float:
    """Mean bytes a frame takes in chunks compressed at that zstd level."""
    data = b"".join(frames)
    if level is None:
        return len(data) / len(frames)
    return sum(len(zstd.compress(data[at : at + CHUNK], level)) for at in range(0, len(data), CHUNK)) / len(frames)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=6.0, help="of the rig, over its three scenes (default: %(default)g)")
    parser.add_argument("--kbps", metavar="N", type=int, nargs="+", default=[1000, 2000, 4000], help="bitrates (default: %(default)s)")
    parser.add_argument("--small", action="store_true", help="zstd_small too, which is slow")
    args = parser.parse_args()
    presets = [name for name in LEVELS if args.small or name != "zstd_small"]
    lines = [f"{'640x512 at 30 Hz, MB a minute':<32}" + "".join(f"{name:>18}" for name in presets)]
    found, lossy = streams(args.seconds, args.kbps)
    for name, frames in found.items():
        sizes = [stored(frames, LEVELS[preset]) for preset in presets]
        lines.append(f"{name:<32}" + "".join(f"{size * RATE_HZ * 60 / 1e6:>18.0f}" for size in sizes) + lossy.get(name, ""))
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

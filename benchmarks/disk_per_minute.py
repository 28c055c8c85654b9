"""How much disk a minute of the recorded fused streams takes: the synthetic rig, fused, as record.launch.py writes it.

    python benchmarks/disk_per_minute.py

Prints one line a stream and preset: MB per minute at 30 Hz. Only the messages' bytes are counted; mcap adds under 1 % to them.
"""

import argparse
import sys

import cv2
import numpy as np

from aenet_ros.config import build
from aenet_ros.core.frames import Frame, FramePair
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


def streams(seconds: float) -> dict[str, list[bytes]]:
    """What is recorded, frame by frame."""
    rig = Rig(RigConfig(scene_s=seconds / 3))
    pipeline = FusionPipeline(
        build({"registration.mode": "homography", "registration.homography": [float(x) for x in rig.homography.ravel()]})
    )
    found: dict[str, list[bytes]] = {
        "fused/image": [],
        "fused/image/compressed": [],
        "fused/thermal_registered": [],
        "thermal/image_raw": [],
        "rgb/image_raw": [],
    }
    thermal = Frame(0, np.zeros((1, 1), np.uint16), "mono16")
    for index, shot in enumerate(rig.schedule(seconds=seconds)):
        if (index // 2) % 5:  # every fifth pair tells enough
            continue
        if shot.stream == "thermal":
            thermal = Frame(shot.at_ns + 1, rig.render(shot).copy(), "mono16")
            found["thermal/image_raw"].append(thermal.data.tobytes())
            continue
        rgb = Frame(shot.at_ns + 1, rig.render(shot).copy(), "rgb8")
        found["rgb/image_raw"].append(rgb.data.tobytes())
        fused = pipeline.process(FramePair(thermal, rgb), want_registered=True)
        jpeg = cv2.imencode(".jpg", fused.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, pipeline.config.output.jpeg_quality])[1]
        found["fused/image"].append(fused.image.tobytes())
        found["fused/image/compressed"].append(jpeg.tobytes())
        assert fused.thermal_registered is not None
        found["fused/thermal_registered"].append(fused.thermal_registered.tobytes())
    return found


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
    parser.add_argument("--small", action="store_true", help="zstd_small too, which is slow")
    args = parser.parse_args()
    presets = [name for name in LEVELS if args.small or name != "zstd_small"]
    lines = [f"{'640x512 at 30 Hz, MB a minute':<32}" + "".join(f"{name:>18}" for name in presets)]
    for name, frames in streams(args.seconds).items():
        sizes = [stored(frames, LEVELS[preset]) for preset in presets]
        lines.append(f"{name:<32}" + "".join(f"{size * RATE_HZ * 60 / 1e6:>18.0f}" for size in sizes))
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

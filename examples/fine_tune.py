"""Fine-tune the network on your own pairs, and compare: `python examples/fine_tune.py thermal/ rgb/ run/ --steps 3000`.

The folders hold registered pairs of equal names and sizes. Further options are those of `aenet train`.
"""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

import aenet_ros


def main(thermal: str, rgb: str, out: str, *options: str) -> None:
    """Train from the packaged weights; write out/before_after.png of the first pair."""
    train = [sys.executable, "-m", "aenet_ros", "train", thermal, rgb, "--out", out, "--init", "packaged", *options]
    subprocess.run(train, check=True)

    path = min(Path(thermal).iterdir())
    hot, street = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), cv2.imread(str(Path(rgb) / path.name))
    before = aenet_ros.load_fuser().fuse(hot, street, order="bgr")
    after = aenet_ros.load_fuser(f"{out}/aenet.safetensors").fuse(hot, street, order="bgr")
    picture = Path(out) / "before_after.png"
    cv2.imwrite(str(picture), np.hstack([before, after]))
    print(f"mean change: {np.abs(before.astype(float) - after).mean():.2f} grey levels; see {picture}")


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])

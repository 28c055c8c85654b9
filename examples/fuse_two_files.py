"""Fuse a thermal and an rgb picture that are aligned: `python examples/fuse_two_files.py thermal.png rgb.png fused.png`."""

import sys

import cv2

import aenet_ros


def main(thermal_path: str, rgb_path: str, out_path: str) -> None:
    """Read two pictures of equal size, 8 bit; write the fused one."""
    thermal = cv2.imread(thermal_path, cv2.IMREAD_GRAYSCALE)
    rgb = cv2.imread(rgb_path)
    fuser = aenet_ros.load_fuser()  # uses CUDA if there is a GPU, else the CPU
    cv2.imwrite(out_path, fuser.fuse(thermal, rgb, order="bgr"))


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])

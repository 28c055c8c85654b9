"""Builds and installs the package, for colcon (ament_python) and for pip alike.

Version, summary, maintainer and URLs stand in package.xml, and are read from there.
"""

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from setuptools import find_packages, setup

# `colcon build --symlink-install` runs a link to this script in a folder that has few of the other files.
ROOT = Path(__file__).resolve().parent
PACKAGE = ElementTree.parse(ROOT / "package.xml").getroot()
NAME = PACKAGE.findtext("name")
MAINTAINER = PACKAGE.find("maintainer")
URLS = {url.get("type"): url.text for url in PACKAGE.findall("url")}
PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]


def files(folder: str, pattern: str = "*") -> list[str]:
    """Files in ``folder``, relative to the repository's root."""
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / folder).glob(pattern) if path.is_file())


def readme() -> str:
    """README.md with absolute links, for pages that do not have the repository's files."""
    text = re.sub(r"<!--.*?-->\n", "", (ROOT / "README.md").read_text(encoding="utf-8"))
    base = f"{URLS['repository']}/blob/main/"
    text = re.sub(r"(!\[[^]]*\]\()(?!https?:)([^)]+)", rf"\1{base}\2?raw=true", text)
    return re.sub(r"(?<!!)(\[[^]]*\]\()(?!https?:|#)", rf"\1{base}", text)


setup(
    name=NAME,
    version=PACKAGE.findtext("version"),
    description=" ".join(PACKAGE.findtext("description").split()).partition(":")[0],
    long_description=readme(),
    long_description_content_type="text/markdown",
    maintainer=MAINTAINER.text,
    maintainer_email=MAINTAINER.get("email"),
    url=URLS["website"],
    project_urls={
        "Documentation": f"{URLS['repository']}/blob/main/docs/index.md",
        "Source": URLS["repository"],
        "Issues": URLS["bugtracker"],
        "Changelog": f"{URLS['repository']}/blob/main/CHANGELOG.rst",
    },
    license="Apache-2.0",
    keywords=["ROS 2", "thermal", "infrared", "image fusion"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "License :: OSI Approved :: Apache Software License",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        *(f"Programming Language :: Python :: {version}" for version in PYTHONS),
        "Topic :: Scientific/Engineering :: Image Processing",
        "Typing :: Typed",
    ],
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={NAME: ["py.typed", "fusion/weights/*", "view/page/*", "workbench/evaluation/*.html"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", files("launch", "*.launch.py")),
        (f"share/{NAME}/config", files("config")),
        (f"share/{NAME}/rviz", files("rviz")),
        (f"share/{NAME}/foxglove", files("foxglove")),
    ],
    zip_safe=False,
    python_requires=">=3.10",
    # Only packages that apt installs with Python metadata too. torch and OpenCV are extras: otherwise pip would replace a
    # Jetson's CUDA build of torch or apt's python3-opencv, or mix opencv-python-headless with an installed opencv-python.
    install_requires=["setuptools", "numpy", "PyYAML", "tqdm"],
    extras_require={
        "torch": ["torch>=2.1", "safetensors>=0.4"],
        # OpenCV 5 breaks cv_bridge; headless, since this package opens no window.
        "opencv": ["opencv-python-headless>=4.5,<5"],
        # ROS 2 Kilted without apt. The message packages must be of the same distribution as rclpy.
        "ros": [
            "ros-kilted-rclpy[fastrtps]",
            "ros-sensor-msgs~=5.5.1",
            "ros-std-msgs~=5.5.1",
            "ros-diagnostic-msgs~=5.5.1",
            "ros-std-srvs~=5.5.1",
            "ros-lifecycle-msgs~=2.3.0",
            "ros-rcl-interfaces~=2.3.0",
            "ros-rosgraph-msgs~=2.3.0",
            "ros-visualization-msgs~=5.5.1",
        ],
        # Upper bound: topics of ROS 1 are converted with rosbags.convert.converter, which is not a public interface.
        "bags": ["rosbags>=0.11,<0.12", "mcap>=1.6"],
        # Videos in and out, and video topics of bags. Older ones convert colours without looking at the matrix that a video says.
        "video": ["av>=17"],
        # aenet view; 3.8 is what Ubuntu 22.04 and Debian 12 have.
        "view": ["aiohttp>=3.8"],
        # aenet export to ONNX, and model.backend onnx; with an NVIDIA GPU onnxruntime-gpu in place of onnxruntime.
        "export": ["onnx>=1.15", "onnxruntime>=1.17"],
        "train": ["tensorboard"],
        "study": ["matplotlib"],  # charts of bench --plot
        "completion": ["argcomplete>=2"],
        # The documentation site. Sphinx is what ROS's own documentation is built with; 9 needs Python 3.11, 8.1 does with 3.10.
        "docs": ["sphinx>=7.4,<10", "myst-parser>=3,<6", "furo>=2024.8.6"],
        # colcon test looks for this extra by name; without it, it finds no tests in an ament_python package.
        "test": ["pytest>=7", "pytest-timeout>=2", "hypothesis>=6", "selenium>=4.11", "argcomplete>=2"],
        "dev": ["ruff", "mypy>=1.8", "types-PyYAML", "types-tqdm", "catkin_pkg"],
    },
    entry_points={
        "console_scripts": [
            # pip puts them beside all other programs, so that each name begins with the package's.
            f"aenet = {NAME}.cli.main:main",
            f"aenet_fusion_node = {NAME}.ros.node:main",
            f"aenet_rig_node = {NAME}.ros.tools.rig_node:main",
            f"aenet_replay_node = {NAME}.ros.tools.replay_node:main",
        ],
    },
)

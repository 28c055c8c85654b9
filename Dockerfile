# The fusion node in a container:  docker build -t aenet_ros .
#   CPU     the defaults
#   CUDA    --build-arg TORCH_INDEX=          PyPI's torch, with CUDA in it; run with --gpus all (NVIDIA Container Toolkit)
#   Jetson  --build-arg BASE=IMAGE --build-arg TORCH=    an image for your JetPack that has ROS 2, rosdep and NVIDIA's torch
# Other ROS distributions: --build-arg BASE=ros:humble-ros-base
ARG BASE=ros:jazzy-ros-base
FROM ${BASE}
ARG TORCH=torch
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_BREAK_SYSTEM_PACKAGES=1 PIP_NO_CACHE_DIR=1
# Not -u: the setup files of ROS read variables that are not set.
SHELL ["/bin/bash", "-eo", "pipefail", "-c"]
WORKDIR /ws

RUN apt-get update && apt-get install -y --no-install-recommends python3-pip python3-venv python3-colcon-common-extensions python3-aiohttp \
    && rm -rf /var/lib/apt/lists/*
# None of these needs another numpy than apt's; torch brings a newer setuptools than colcon takes.
RUN if [ -n "${TORCH}" ]; then pip install ${TORCH_INDEX:+--index-url "${TORCH_INDEX}"} "${TORCH}"; fi && pip install safetensors 'setuptools<80' av 'rosbags>=0.11,<0.12' mcap

COPY package.xml src/aenet_ros/package.xml
RUN apt-get update && rosdep update && rosdep install --from-paths src --ignore-src -y -t exec && rm -rf /var/lib/apt/lists/*
COPY . src/aenet_ros
RUN source "/opt/ros/${ROS_DISTRO}/setup.bash" && colcon build --packages-select aenet_ros

ENTRYPOINT ["/bin/bash", "-c", "source /ws/install/setup.bash && exec \"$@\"", "aenet_ros"]
CMD ["ros2", "launch", "aenet_ros", "fusion.launch.py"]

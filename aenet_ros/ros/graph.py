"""What the ROS graph knows of an input topic: publishers, their QoS and type, and other image topics."""

import os

from rclpy.node import Node
from rclpy.qos import QoSCompatibility, QoSProfile, qos_check_compatible

from aenet_ros.health.judge import TopicFacts

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
MOST_ALTERNATIVES = 6


def topic_facts(node: Node, topic: str, wanted_type: str, qos: QoSProfile) -> TopicFacts:
    """Facts on ``topic`` (fully resolved), subscribed to as ``wanted_type`` with ``qos``."""
    facts = TopicFacts(topic, has_dds_profile=any(os.environ.get(name) for name in PROFILE_VARIABLES))
    for publisher in node.get_publishers_info_by_topic(topic):
        if publisher.topic_type != wanted_type:
            facts.other_type = (
                f"{topic} carries {publisher.topic_type}, this node reads {wanted_type}: {_type_remedy(publisher.topic_type)}"
            )
            continue
        facts.publishers += 1
        compatibility, reason = qos_check_compatible(publisher.qos_profile, qos)
        if compatibility == QoSCompatibility.ERROR:
            facts.incompatible.append(
                f"{publisher.node_name} offers {publisher.qos_profile.reliability.name.lower()}, this node asks for "
                f"{qos.reliability.name.lower()} ({reason.strip() or 'incompatible'}); set input.*.qos to best_effort"
            )
    if facts.incompatible and len(facts.incompatible) < facts.publishers:
        facts.incompatible = []  # at least one publisher is compatible
    if not facts.publishers:
        facts.alternatives = _image_topics(node, topic)
    return facts


def _type_remedy(found: str) -> str:
    if found.endswith("CompressedImage"):
        return "set input.*.transport to compressed"
    if found.endswith("msg/Image"):
        return "set input.*.transport to raw"
    return "remap to an image topic"


def _image_topics(node: Node, but: str) -> list[str]:
    own = {name for name, _ in node.get_publisher_names_and_types_by_node(node.get_name(), node.get_namespace())}
    names = [name for name, types in node.get_topic_names_and_types() if any(kind in IMAGE_TYPES for kind in types)]
    published = [name for name in names if name != but and name not in own and node.count_publishers(name)]
    return sorted(published)[:MOST_ALTERNATIVES]

"""Bags made of pictures and videos."""

import cv2
import numpy as np
import pytest

pytest.importorskip("rosbags", reason="bags need the package rosbags (pip install rosbags)")
pytest.importorskip("mcap", reason="bags need the package mcap (pip install mcap)")

from test_bags import PLAIN, aenet, messages, rgb_of, stamp

COUNT = 4


@pytest.fixture
def folders(tmp_path):
    """thermal/ with 16-bit pictures and rgb/ with colour ones, of the same names."""
    for name in ("thermal", "rgb"):
        (tmp_path / name).mkdir()
    for index in range(COUNT):
        counts = np.linspace(29_000 + index, 29_500, 48 * 64).reshape(48, 64).astype(np.uint16)
        cv2.imwrite(str(tmp_path / "thermal" / f"{index}.png"), counts)
        cv2.imwrite(str(tmp_path / "rgb" / f"{index}.png"), rgb_of(index)[:, :, ::-1])
    return tmp_path


def test_folders_become_a_bag_with_the_cameras_frames(folders, capsys):
    arguments = [folders / "thermal", folders / "rgb", "-o", folders / "x.mcap", "--set", PLAIN]
    assert aenet("fuse", *arguments) == 0
    assert "--sequence" in capsys.readouterr().err  # pictures have no times
    found, _ = messages(folders / "x.mcap")
    assert {topic: len(items) for topic, items in found.items()} == dict.fromkeys(
        ("/thermal/image_raw", "/rgb/image_raw", "/fused/image"), COUNT
    )
    for index in range(COUNT):
        thermal, rgb, fused = (found[topic][index][1] for topic in ("/thermal/image_raw", "/rgb/image_raw", "/fused/image"))
        assert stamp(thermal) == stamp(rgb) == stamp(fused) == 1_000_000_000 + index * 100_000_000
        assert (thermal.encoding, rgb.encoding) == ("mono16", "bgr8")
        assert thermal.data.view(np.uint16)[0] == 29_000 + index
        np.testing.assert_array_equal(rgb.data.reshape(48, 64, 3)[:, :, ::-1], rgb_of(index))
    assert aenet("inspect", folders / "x.mcap") == 0
    assert f"pairs: {COUNT} of {COUNT}" in capsys.readouterr().out
    assert aenet("fuse", folders / "x.mcap", "-o", folders / "again") == 0
    assert aenet("fuse", *arguments) == 1  # it exists


def test_a_sequence_has_its_rate_and_a_folder_is_a_bag_too(folders):
    assert (
        aenet("fuse", folders / "thermal", folders / "rgb", "-o", folders / "bag", "--to", "bag", "--sequence", "25", "--keep", "none") == 0
    )
    found, _ = messages(folders / "bag")
    assert [stamp(message) for _, message in found["/fused/image"]] == [1_000_000_000 + index * 40_000_000 for index in range(COUNT)]
    assert set(found) == {"/fused/image"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-o", "x.bag"], "written as mcap"),
        (["-o", "x.mp4", "--to", "bag"], "a video's name"),
        (["-o", "x.mcap", "--to", "pictures"], "a bag's name"),
        (["-o", "x.mcap", "--keep", "/none"], "no such topic"),
        (["-o", "x.mcap", "--labels"], "--panels and --labels"),
    ],
)
def test_what_does_not_fit_is_refused(folders, capsys, monkeypatch, arguments, words):
    monkeypatch.chdir(folders)
    assert aenet("fuse", "thermal", "rgb", *arguments) == 1
    assert words in capsys.readouterr().err
    assert sorted(path.name for path in folders.iterdir()) == ["rgb", "thermal"]


def test_a_video_becomes_a_bag(folders):
    pytest.importorskip("av", reason="videos need PyAV (pip install av)")
    assert (
        aenet("fuse", folders / "thermal", folders / "rgb", "-o", folders / "both.mp4", "--sequence", "10", "--panels", "thermal", "rgb")
        == 0
    )
    assert aenet("fuse", folders / "both.mp4", "-o", folders / "x.mcap", "--thermal-side", "left") == 0
    assert len(messages(folders / "x.mcap")[0]["/fused/image"]) == COUNT

"""``aenet fuse`` from files to files; what it fuses to is checked where that is known without the network."""

import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec

import cv2
import numpy as np
import pytest
from conftest import shared_dir

from aenet_ros.cli import main as cli

needs_av = pytest.mark.skipif(find_spec("av") is None, reason="videos need PyAV (pip install 'av>=17')")

RNG = np.random.default_rng(5)
RGB = RNG.integers(0, 256, (48, 64, 3), np.uint8)
COUNTS = np.linspace(29_000, 31_000, 48 * 64).reshape(48, 64).astype(np.uint16)
PLAIN = "output.thermal_weight=0"  # the fused picture is then the rgb one, exactly


def save(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), data)
    return path


def aenet(*arguments):
    return cli.main([*map(str, arguments)])


def load(path):
    data = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert data is not None, path
    return data


@pytest.fixture
def pairs(tmp_path):
    for index in range(4):
        save(tmp_path / "t" / f"{index}.tiff", COUNTS + np.uint16(1_000 * index))
        save(tmp_path / "v" / f"{index}.png", np.roll(RGB, index, axis=0))
    return tmp_path


def test_one_pair(pairs, capsys):
    assert aenet("fuse", pairs / "t/0.tiff", pairs / "v/0.png", "-o", pairs / "out.png", "--set", PLAIN) == 0
    np.testing.assert_array_equal(load(pairs / "out.png"), RGB)
    assert f"1 fused into {pairs / 'out.png'}" in capsys.readouterr().out


def test_hot_things_show(tmp_path):
    hot = np.zeros((96, 128), np.uint8)
    hot[30:60, 40:80] = 255
    save(tmp_path / "t.png", hot)
    save(tmp_path / "v.png", np.full((96, 128, 3), 60, np.uint8))
    assert aenet("fuse", tmp_path / "t.png", tmp_path / "v.png", "-o", tmp_path / "o.png") == 0
    fused = load(tmp_path / "o.png").mean(axis=2)
    assert fused[35:55, 45:75].mean() > fused[70:, :].mean() + 40


def test_folders_and_json(pairs, capsys):
    (pairs / "t/3.tiff").unlink()
    assert aenet("fuse", pairs / "t", pairs / "v", "-o", pairs / "out", "--json", "--set", PLAIN) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["fused"], report["lost"], report["out"]) == (3, [], str(pairs / "out"))
    assert "1 of" in report["remarks"][0]
    assert sorted(path.name for path in (pairs / "out").iterdir()) == ["0.png", "1.png", "2.png"]
    np.testing.assert_array_equal(load(pairs / "out/2.png"), np.roll(RGB, 2, axis=0))


def test_pictures_of_a_folder_do_not_depend_on_each_other_and_repeat_to_the_byte(pairs):
    assert aenet("fuse", pairs / "t", pairs / "v", "-o", pairs / "all") == 0
    assert aenet("fuse", pairs / "t", pairs / "v", "-o", pairs / "again") == 0
    assert aenet("fuse", pairs / "t/3.tiff", pairs / "v/3.png", "-o", pairs / "alone.png") == 0
    for index in range(4):
        assert (pairs / f"all/{index}.png").read_bytes() == (pairs / f"again/{index}.png").read_bytes()
    assert (pairs / "all/3.png").read_bytes() == (pairs / "alone.png").read_bytes()


def test_a_still_without_contrast_is_not_taken_for_a_closed_shutter(tmp_path):
    """After ten pictures of good contrast a nearly uniform one: it is fused itself, not the picture before it in its place."""
    for index in range(11):
        counts = np.full((48, 64), 29_000, np.uint16)
        counts[10:30, 5 * index : 5 * index + 10] = 31_000
        if index == 10:
            counts = np.full((48, 64), 29_000, np.uint16)
            counts[:, ::2] += 1
        save(tmp_path / "t" / f"{index:02d}.png", counts)
        save(tmp_path / "v" / f"{index:02d}.png", np.full((48, 64, 3), 100, np.uint8))
    fixed = ("--set", "agc.mode=fixed", "agc.fixed_low=28900", "agc.fixed_high=31100")
    assert aenet("fuse", tmp_path / "t", tmp_path / "v", "-o", tmp_path / "all", *fixed) == 0
    fused = load(tmp_path / "all/10.png").astype(int)
    assert fused.max() - fused.min() < 30  # no trace of the bright block of the picture before
    assert load(tmp_path / "all/09.png").max() - fused.max() > 30
    (tmp_path / "all/10.png").unlink()
    assert aenet("fuse", tmp_path / "t", tmp_path / "v", "-o", tmp_path / "all", "--resume", *fixed) == 0
    np.testing.assert_array_equal(load(tmp_path / "all/10.png"), fused)


def test_dead_pixels_are_not_learnt_from_unrelated_stills(tmp_path):
    """A pixel that sticks out in 70 moving pictures: the last one is the same fused with the others and alone."""
    rng = np.random.default_rng(2)
    scene = cv2.GaussianBlur(rng.normal(0, 1, (140, 400)).astype(np.float32), (0, 0), 6)
    for index in range(70):
        counts = (29_000 + 20_000 * scene[:96, 4 * index : 4 * index + 96] + rng.normal(0, 3, (96, 96))).astype(np.uint16)
        counts[40, 40] = 60_000
        save(tmp_path / "t" / f"{index:02d}.png", counts)
        save(tmp_path / "v" / f"{index:02d}.png", np.full((96, 96, 3), 100, np.uint8))
    assert aenet("fuse", tmp_path / "t", tmp_path / "v", "-o", tmp_path / "all") == 0
    assert aenet("fuse", tmp_path / "t/69.png", tmp_path / "v/69.png", "-o", tmp_path / "alone.png") == 0
    np.testing.assert_array_equal(load(tmp_path / "all/69.png"), load(tmp_path / "alone.png"))


def test_what_cannot_be_read_is_told_and_the_rest_is_fused(pairs, capsys):
    (pairs / "v/1.png").write_bytes(b"broken")
    assert aenet("fuse", pairs / "t", pairs / "v", "-o", pairs / "out") == 1
    captured = capsys.readouterr()
    assert "3 fused" in captured.out
    assert "not fused: 1: " in captured.err
    assert not (pairs / "out/1.png").exists()


def test_nothing_is_overwritten_unasked(pairs, capsys):
    out = pairs / "out"
    assert aenet("fuse", pairs / "t", pairs / "v", "-o", out, "--set", PLAIN) == 0
    before = (out / "0.png").read_bytes()
    assert aenet("fuse", pairs / "t", pairs / "v", "-o", out) == 1
    assert "--force" in capsys.readouterr().err
    assert (out / "0.png").read_bytes() == before
    assert aenet("fuse", pairs / "t", pairs / "v", "-o", out, "--force") == 0
    assert (out / "0.png").read_bytes() != before


@needs_av
def test_a_sequence_makes_a_video(pairs, capsys):
    assert aenet("fuse", pairs / "t", pairs / "v", "-o", pairs / "out.mp4") == 1
    assert "--sequence" in capsys.readouterr().err
    assert aenet("fuse", pairs / "t", pairs / "v", "-o", pairs / "out.mp4", "--sequence", "5") == 0
    capture = cv2.VideoCapture(str(pairs / "out.mp4"))
    assert (capture.get(cv2.CAP_PROP_FPS), int(capture.get(cv2.CAP_PROP_FRAME_COUNT))) == (5.0, 4)
    capture.release()


@pytest.mark.parametrize("rate", ["0", "-1", "inf", "nan", "fast"])
def test_rates_that_are_none(pairs, rate):
    with pytest.raises(SystemExit) as stop:
        aenet("fuse", pairs / "t", pairs / "v", "-o", pairs / "out", "--sequence", rate)
    assert stop.value.code == 2


def test_ctrl_c_leaves_whole_files_only(tmp_path):
    for index in range(400):
        save(tmp_path / "t" / f"{index:03d}.png", np.full((240, 320), index % 256, np.uint8))
        save(tmp_path / "v" / f"{index:03d}.png", np.full((240, 320, 3), index % 256, np.uint8))
    out = tmp_path / "out"
    command = [sys.executable, "-m", "aenet_ros", "fuse", str(tmp_path / "t"), str(tmp_path / "v"), "-o", str(out)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    try:
        give_up = time.monotonic() + 60
        while not (out.is_dir() and len(list(out.glob("[0-9]*.png"))) >= 3):
            assert process.poll() is None
            assert time.monotonic() < give_up
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130, stderr
    assert stderr.strip().endswith("aenet fuse: stopped")
    assert "--resume goes on" in stderr
    assert [path.name for path in (out / ".aenet-fuse").iterdir()] == ["run.json"]  # with what settings to go on
    files = [path for path in out.iterdir() if path.name != ".aenet-fuse"]
    assert 3 <= len(files) < 400
    for path in files:
        assert load(path).shape == (240, 320, 3)
    assert f"{len(files)} of 400 pairs are complete and stay; the same command with --resume goes on" in stderr


def test_real_smoke_clip(tmp_path):
    clip = shared_dir() / "data" / "m3svd_video" / "0117_1605"
    names = sorted(path.name for path in (clip / "thermal").iterdir())[::20]
    for name in names:
        for stream in ("thermal", "rgb"):
            (tmp_path / stream).mkdir(exist_ok=True)
            (tmp_path / stream / name).symlink_to(clip / stream / name)
    assert aenet("fuse", tmp_path / "thermal", tmp_path / "rgb", "-o", tmp_path / "fused", "--sequence", "25") == 0
    for name in names:
        thermal = load(clip / "thermal" / name)
        thermal = thermal if thermal.ndim == 2 else thermal[..., 0]
        rgb, fused = (load(path).mean(axis=2) for path in (clip / "rgb" / name, tmp_path / "fused" / name))
        hot = (thermal > 200) & (rgb < 120)  # bright in thermal, dim in rgb
        assert hot.sum() > 50
        assert fused[hot].mean() > rgb[hot].mean() + 20

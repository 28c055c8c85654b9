"""Dead pixels and column noise, against the rig's truth and against things in view that only look like them."""

import time
from dataclasses import replace

import cv2
import numpy as np
import pytest
from configured import Agc, Correction

from aenet_ros.config import Config, SensorConfig, build
from aenet_ros.core.frames import Frame, FramePair, render_brightness
from aenet_ros.pipeline import FusionPipeline
from aenet_ros.thermal.sensor_correction import EVERY, SMOOTHING_COLUMNS
from aenet_ros.workbench.simulation.rig import Rig
from aenet_ros.workbench.simulation.rig_config import RigConfig

pytestmark = pytest.mark.usefixtures("one_opencv_thread")

SIZE = (128, 160)
RNG = np.random.default_rng(3)
RIG = RigConfig(thermal_width=320, thermal_height=256, rgb_hz=0.1, thermal_hz=30 / EVERY, scene_s=6.0, dead_pixels=60, weak_pixels=60)


def show(repair, frame, times=EVERY):
    for _ in range(times):
        repair.observe(frame)
        repair.update()


@pytest.fixture(scope="module")
def watched():
    """A rig that was seen for 24 s, every eighth frame of 30 Hz, and what was found of it."""
    rig, repair = Rig(RIG), Correction()
    frames = [event.frame for event in rig.events(24.0) if event.stream == "thermal"]
    for frame in frames:
        show(repair, frame)
    return rig, repair, frames


def columns_of(rig):
    """The rig's pattern from column to column, less what varies slowly."""
    columns = rig.sensor_marks()[1].mean(axis=0)[None]
    return (columns - cv2.GaussianBlur(columns, (0, 0), SMOOTHING_COLUMNS, borderType=cv2.BORDER_REFLECT))[0]


def test_the_rig_s_dead_and_weak_pixels_are_found_and_no_others(watched, record_property):
    rig, repair, _ = watched
    truth = set(np.flatnonzero(rig.sensor_marks()[0]).tolist())
    found = set(repair.bad_pixels.pixels.tolist())
    record_property("dead pixels", f"{len(found & truth)} of {len(truth)} found, {len(found - truth)} false, of {256 * 320}")
    assert len(truth) == 120
    assert not found - truth
    assert len(found) >= 0.97 * len(truth)
    assert repair.marks.dead_pixels == len(found)


def test_the_rig_s_column_noise_is_taken_off(watched, record_property):
    rig, repair, _ = watched
    truth = columns_of(rig)
    left = truth - repair.columns
    record_property("column noise, counts", f"{truth.std():.1f} before, {left.std():.1f} after")
    assert left.std() < truth.std() / 3
    assert repair.marks.column_counts == pytest.approx(truth.std(), rel=0.2)


def test_the_picture_is_nearer_to_a_picture_without_marks(watched, record_property):
    rig, repair, frames = watched
    frame = frames[-1]
    dead, _ = rig.sensor_marks()
    clean = rig.celsius(round((len(frames) - 1) * 1e9 * EVERY / 30))
    counts = Frame(frame.stamp_ns, ((clean + 273.15) / 0.01).astype(np.uint16), "mono16")
    agc = Agc(build({"agc.mode": "fixed", "agc.fixed_low": 28_000.0, "agc.fixed_high": 31_000.0}).agc)
    ideal = agc.apply(counts).copy()
    before = agc.apply(frame) - ideal
    after = repair.replace(agc.apply(frame, repair.columns)) - ideal
    record_property("error at dead pixels", f"{np.abs(before[dead]).mean():.3f} before, {np.abs(after[dead]).mean():.3f} after, of 1")
    assert np.abs(after[dead]).mean() < 0.1 * np.abs(before[dead]).mean()
    # Column by column, where the scene's own vertical edges are.
    columns = [float(np.median(error, axis=0).std()) for error in (before, after)]
    assert columns[1] < 0.5 * columns[0]


def test_after_a_shutter_event_the_columns_are_learned_anew_and_the_dead_pixels_kept(watched):
    _, _, frames = watched
    repair = Correction()
    for frame in frames:
        show(repair, frame)
    dead = repair.marks.dead_pixels
    repair.observe(frames[-1], shutter_closed=True)
    repair.update()
    assert repair.columns is None
    assert repair.marks.dead_pixels == dead > 100


def test_off_means_off(watched):
    _, _, frames = watched
    repair = Correction(SensorConfig(dead_pixels="off", column_noise="off"))
    for frame in frames[:40]:
        show(repair, frame)
    assert repair.marks == (0, 0.0)
    plane = np.full((256, 320), 0.5, np.float32)
    assert repair.replace(plane) is plane
    assert (plane == 0.5).all()


def noisy(counts, sigma=5.0):
    return Frame(0, np.rint(counts + RNG.normal(0, sigma, counts.shape)).astype(np.uint16), "mono16")


def world(height=SIZE[0] + 40, width=SIZE[1] + 400):
    """Something to pan over, without edges."""
    return 8000 + 400 * cv2.GaussianBlur(RNG.standard_normal((height, width)), (0, 0), 4) * 8


def test_a_still_camera_takes_neither_lamps_nor_a_wall_s_edge_for_its_own_marks():
    scene = world()[: SIZE[0], : SIZE[1]]
    scene[:, 80:] += 60  # an edge from top to bottom, no steeper than column noise
    scene[::13, ::17] += 900  # lamps, one pixel each
    repair = Correction()
    for _ in range(40):
        show(repair, noisy(scene))
    assert repair.marks == (0, 0.0)


def test_a_still_camera_still_finds_the_pixels_that_no_noise_touches():
    repair = Correction()
    scene = world()[: SIZE[0], : SIZE[1]]
    for _ in range(12):
        frame = noisy(scene)
        frame.data[10, 20], frame.data[90, 100] = 0, 16_383
        show(repair, frame)
    assert repair.bad_pixels.pixels.tolist() == [10 * SIZE[1] + 20, 90 * SIZE[1] + 100]


def pan(overlay, frames=60, backdrop=None):
    """A camera that turns over a world; ``overlay`` writes what stays in its view."""
    backdrop = world() if backdrop is None else backdrop
    repair = Correction()
    for index in range(frames):
        right = int(200 + 180 * np.sin(index / 4))
        down = int(20 + 18 * np.sin(index / 3))
        view = backdrop[down : down + SIZE[0], right : right + SIZE[1]].copy()
        overlay(view)
        show(repair, noisy(view))
    return repair


def test_a_wire_on_the_robot_itself_is_no_row_of_dead_pixels():
    def wire(view):
        view[:, 70] += 1500

    assert pan(wire).marks == (0, 0.0)


def test_a_moving_camera_is_not_fooled_by_edges_and_lamps_of_the_scene():
    backdrop = world()
    backdrop[:, ::60] += 700  # poles
    backdrop[::9, ::11] += 900  # lamps
    repair = pan(lambda view: None, backdrop=backdrop)
    assert repair.marks.dead_pixels == 0
    assert repair.columns is None or np.abs(repair.columns).max() < 3


def test_pixels_that_recover_are_forgotten():
    def bad(view):
        view[33, 44] += 1500

    backdrop = world()
    repair = pan(bad, backdrop=backdrop)
    assert repair.bad_pixels.pixels.tolist() == [33 * SIZE[1] + 44]
    for index in range(40):
        right = int(200 + 180 * np.sin(index / 4))
        show(repair, noisy(backdrop[: SIZE[0], right : right + SIZE[1]]))
    assert repair.marks.dead_pixels == 0


def test_a_dead_pixel_in_the_corner_and_beside_another_takes_its_healthy_neighbours():
    repair = Correction()
    scene = world()[: SIZE[0], : SIZE[1]]
    for _ in range(12):
        frame = noisy(scene)
        frame.data[0, 0], frame.data[50, 60], frame.data[50, 61] = 0, 0, 0
        show(repair, frame)
    plane = np.add.outer(np.zeros(SIZE[0]), np.arange(SIZE[1])).astype(np.float32)
    plane[0, 0] = plane[50, 60] = plane[50, 61] = -999
    repair.replace(plane)
    # (0, 1), (1, 0) and (1, 1); of (50, 60) the column 59 three times, 60 twice, 61 twice, and the same turned round.
    assert plane[0, 0] == pytest.approx(2 / 3)
    assert plane[50, 60] == pytest.approx((3 * 59 + 2 * 60 + 2 * 61) / 7)
    assert plane[50, 61] == pytest.approx((2 * 60 + 2 * 61 + 3 * 62) / 7)


STRIPES = np.random.default_rng(8).normal(0, 1, SIZE[1])


def fast_part(columns):
    """Columns less what varies slowly, which belongs to the scene."""
    columns = np.asarray(columns, np.float32)[None]
    return (columns - cv2.GaussianBlur(columns, (0, 0), SMOOTHING_COLUMNS, borderType=cv2.BORDER_REFLECT))[0]


@pytest.mark.parametrize("sigma", [3.0, 5.0, 10.0])
def test_stripes_of_an_8_bit_camera_at_rest_are_found_in_the_first_frame(sigma):
    scene = world()[: SIZE[0], : SIZE[1]] / 80
    repair, left = Correction(), []
    for _ in range(60):  # two seconds
        repair.observe(Frame(0, np.clip(noisy(scene + sigma * STRIPES, 1.5).data, 0, 255).astype(np.uint8), "mono8"))
        left.append(float((fast_part(sigma * STRIPES) - repair.columns).std()))
        repair.update()
    assert left[0] < 1.0  # the scene's own columns differ by 0.9
    assert left[-1] < 0.9
    assert repair.marks.column_counts == pytest.approx(fast_part(sigma * STRIPES).std(), rel=0.1)


def pole(view):
    view[:, 70:74] += 60


def fence(view):
    view[50:, ::7] += 40


def houses(view):
    for left, top in ((0, 60), (50, 20), (90, 75)):
        view[top:, left : left + 40] += 30
        view[top + 5 :: 12, left + 4 : left + 38 : 9] += 50


@pytest.mark.parametrize("build_scene", [pole, fence, houses])
def test_what_stands_in_front_of_a_camera_at_rest_stays(build_scene):
    scene = world()[: SIZE[0], : SIZE[1]] / 80
    build_scene(scene)
    repair = Correction()
    for _ in range(60):
        repair.observe(noisy(scene, 1.5))
        assert repair.columns is None
        repair.update()


def test_a_pole_stays_where_there_are_stripes_too():
    scene = world()[: SIZE[0], : SIZE[1]] / 80 + 3 * STRIPES
    pole(scene)
    repair = Correction()
    repair.observe(noisy(scene, 1.5))
    taken = fast_part(3 * STRIPES) - repair.columns
    assert np.abs(taken[60:84]).max() < 7  # of the 60 counts that the pole is warmer
    assert taken.std() < 1.5


def test_after_a_shutter_event_the_first_frame_shows_the_new_columns():
    scene = world()[: SIZE[0], : SIZE[1]] / 80
    repair = Correction()
    repair.observe(noisy(scene + 8 * STRIPES, 1.5))
    repair.observe(noisy(scene, 1.5), shutter_closed=True)
    assert repair.columns is None
    repair.observe(noisy(scene - 8 * STRIPES, 1.5))
    assert (fast_part(-8 * STRIPES) - repair.columns).std() < 1.0


def real_pictures(data):
    for path in sorted(data.glob("*/thermal/*.png"))[::9] + sorted(data.glob("varied/*/thermal/*.png"))[::2]:
        picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if picture.ndim == 2 and picture.dtype == np.uint8 and path.name != "Dark.png":  # that one has stripes
            yield path.name, picture


def test_real_pictures_without_stripes_are_not_touched(shared_data):
    changed = []
    for name, picture in real_pictures(shared_data):
        repair = Correction()
        repair.observe(Frame(0, picture, "mono8"))
        if repair.columns is not None:
            changed.append((name, float(repair.columns.std())))
    assert changed == []


def test_stripes_on_real_pictures_are_taken_off(shared_data, record_property):
    random, before, after = np.random.default_rng(9), [], []
    for _, picture in list(real_pictures(shared_data))[::4]:
        stripes = random.normal(0, 5, picture.shape[1])
        repair = Correction()
        repair.observe(Frame(0, np.clip(noisy(picture + stripes, 1.5).data, 0, 255).astype(np.uint8), "mono8"))
        truth = fast_part(stripes)
        before.append(truth.std())
        after.append((truth if repair.columns is None else truth - repair.columns).std())
    record_property("column noise, grey levels", f"{np.median(before):.1f} before, {np.median(after):.1f} after one frame")
    assert np.median(after) < 0.35 * np.median(before)
    assert np.percentile(after, 90) < 0.8 * np.median(before)


def test_the_first_pair_of_a_pipeline_is_corrected():
    pytest.importorskip("torch", reason="torch is not installed: the pipeline needs it")
    scene = world()[: SIZE[0], : SIZE[1]] / 80
    pipeline = FusionPipeline(Config())
    frame = Frame(0, noisy(scene + 8 * STRIPES, 1.5).data.astype(np.uint8), "mono8")
    for _ in range(2):  # each still by itself
        pipeline.reset_temporal()
        brightness = render_brightness(pipeline.thermal_source(frame).brightness)
        error = (brightness * 255 - scene).mean(axis=0)
        assert fast_part(error).std() < 1.0
        assert pipeline.status().sensor.column_counts == pytest.approx(fast_part(8 * STRIPES).std(), rel=0.1)


def test_floats_with_nan_and_pictures_of_8_bits_are_looked_at_too():
    def warm(index):
        right = int(200 + 180 * np.sin(index / 4))
        return backdrop[: SIZE[0], right : right + SIZE[1]] / 100

    backdrop = world()
    floats, bytes_ = Correction(), Correction()
    for index in range(60):
        celsius = (warm(index) + RNG.normal(0, 0.05, SIZE)).astype(np.float32)
        celsius[20, 30], celsius[25, 35] = np.nan, 90.0  # the first holds no value, and is interpolated without being looked for
        show(floats, Frame(0, celsius, "32FC1"))
        grey = np.clip(warm(index) * 3 - 110, 0, 254).astype(np.uint8)
        grey[40, 50] = 255
        show(bytes_, Frame(0, grey, "mono8"))
    assert floats.bad_pixels.pixels.tolist() == [25 * SIZE[1] + 35]
    assert bytes_.bad_pixels.pixels.tolist() == [40 * SIZE[1] + 50]
    assert floats.columns is None or np.isfinite(floats.columns).all()


def test_what_it_costs(watched, record_property):
    """Told, not judged: clocks of a shared machine."""
    big = Rig(RigConfig(rgb_hz=0.1, thermal_hz=3.75, dead_pixels=200))
    repair, looks = Correction(), []
    for frame in (event.frame for event in big.events(6.0) if event.stream == "thermal"):
        begun = time.perf_counter()
        show(repair, frame)
        looks.append((time.perf_counter() - begun) / EVERY)
    plane, mends = np.zeros(RigConfig().thermal_size, np.float32), []
    for _ in range(50):
        begun = time.perf_counter()
        repair.replace(plane)
        mends.append(time.perf_counter() - begun)
    record_property("ms a frame of 640x512", f"{1e3 * (np.median(looks) + np.median(mends)):.2f}")
    assert repair.marks.dead_pixels > 150


def test_the_pipeline_s_picture_is_mended_and_the_registered_counts_are_not(watched):
    _, _, frames = watched
    torch = pytest.importorskip("torch", reason="torch is not installed: the pipeline needs it")
    torch.set_num_threads(1)
    pipeline = FusionPipeline(Config())
    rgb = Frame(0, np.full((256, 320, 3), 90, np.uint8), "rgb8")
    for frame in frames[:40]:
        for _ in range(EVERY):
            pipeline.process(FramePair(frame, rgb))
    dead = pipeline._sensor.bad_pixels.pixels[0]
    result = pipeline.process(FramePair(frames[40], rgb), want_registered=True)
    assert (result.thermal_registered == frames[40].data).all()
    around = render_brightness(pipeline.thermal_source(frames[40]).brightness)
    row, column = divmod(int(dead), 320)
    near = around[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
    assert near.min() - 1e-6 <= around[row, column] <= near.max() + 1e-6
    assert abs(float(around[row, column]) - float(np.median(near))) < 0.2


@pytest.mark.parametrize("columns", ["auto", "off"])
def test_what_is_learnt_late_is_the_same(columns):
    """A machine under pressure learns some frames later; only a closed shutter takes away what was to be learnt from."""
    frames = [replace(event.frame, data=event.frame.data.copy()) for event in Rig(RIG).events(18.0) if event.stream == "thermal"]
    prompt, late = (Correction(SensorConfig(column_noise=columns)) for _ in range(2))
    for number, frame in enumerate(frame for frame in frames for _ in range(EVERY)):
        for repair in (prompt, late):
            repair.observe(frame)
        prompt.update()
        if number % EVERY == 3:
            late.update()
    late.update()
    assert prompt.marks.dead_pixels > 50
    assert prompt.marks == late.marks
    late.observe(frames[0], shutter_closed=True)
    assert late.columns is None

"""The widgets without a browser: their contents, their stored output, bad input."""

import base64
import io
import itertools
import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

import lfmkit
from lfmkit import data, methods, nets, oracles, plots, schedules, widgets
from lfmkit.widgets import chi2, points, trajectory

SMALL = {"steps": 30, "batch": 32, "targets": "pairs"}


def small_flow():
    return methods.lfm(dim=2, schedule=(0.1,), net=nets.MLP(width=16, depth=1, fourier=4))


def record(blocks=2, records=5, n=40, seed=0):
    start = torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))
    share = torch.linspace(1, 0, records)
    block = (share * blocks).ceil().long().clamp(1, blocks) - 1
    states = torch.stack([start * (0.5 + s / 2) for s in share])
    return lfmkit.Trajectory(share * blocks - block, states, block, (3,) * blocks)


def cells(n=20):
    return {("euler", 2): torch.randn(n, 2), ("euler", 8): torch.randn(n, 2), ("heun", 4): torch.randn(n, 2)}


def distances():
    return {"LFM": {("euler", 2): 0.5, ("euler", 8): 0.1, ("heun", 4): 0.2}}


MAKERS = {
    "schedule": lambda: widgets.schedule_explorer(data.picture("two_gaussians"), points=50),
    "trajectory": lambda: widgets.trajectory_explorer({"LFM": record(4, 41), "FM": record(1, 7)}),
    "few steps": lambda: widgets.few_step_explorer({"LFM": cells()}, distances(), data=torch.randn(9, 2)),
    "drawing": lambda: widgets.draw_target(size=16, train=SMALL, flow=small_flow),
}
TEXTS = {
    "schedule": "<schedule explorer: 50 points, geometric(c = 0.025, rho = 1.25, n = 8): T = 0.496, "
    "signal left 0.609, chi2 left 0.21>",
    "trajectory": "<trajectory explorer: 2 methods, 41 frames, 40 points>",
    "few steps": "<few-step explorer: 1 method, 3 combinations of solver and NFE>",
    "drawing": "<drawing pad: 16 x 16, idle>",
}


@pytest.mark.parametrize("name", MAKERS)
def test_what_is_stored(name):
    """A live view, a PNG with an alt text, and one line that never changes."""
    stored, metadata = MAKERS[name]()._repr_mimebundle_()
    again, _ = MAKERS[name]()._repr_mimebundle_()
    assert stored["text/plain"] == again["text/plain"] == TEXTS[name]
    assert "application/vnd.jupyter.widget-view+json" in stored
    assert Image.open(io.BytesIO(base64.b64decode(stored["image/png"]))).size[0] == 800
    assert len(metadata["image/png"]["alt"]) > 20
    if name != "few steps":
        assert stored["image/png"] == again["image/png"]


@pytest.mark.parametrize("name", MAKERS)
def test_all_state_is_plain(name):
    widget = MAKERS[name]()
    for trait in ("about", "answer", "progress"):
        if widget.has_trait(trait):
            json.dumps(getattr(widget, trait), allow_nan=False)


def test_packed_points_come_back():
    x = torch.tensor([[-1.25, 4.5], [8.9, -8.9], [100.0, -100.0]])
    packed = np.frombuffer(points.quantised(x), "<u2").reshape(3, 2) / 65535 * 2 * points.REACH - points.REACH
    assert np.allclose(packed, x.clamp(-points.REACH, points.REACH), atol=2e-4)


def test_colours_follow_the_angle():
    turn = torch.arange(24) / 24 * 2 * math.pi
    assert points.hues(torch.stack([turn.cos(), turn.sin()], 1)).tolist() == list(range(24))
    assert len(set(points.WHEEL)) == 24


def test_every_frame_is_a_record_and_ends_are_ends():
    long, short = record(4, 41), record(1, 7)
    shown = widgets.trajectory_explorer({"LFM": long, "FM": short}, frames=13)
    packed = (
        np.frombuffer(shown.points, "<u2").reshape(13, 2, 40, 2) / 65535 * 2 * points.REACH - points.REACH
    )
    order = points.hues(long.x[0]).argsort(stable=True)
    for k in range(13):
        for panel, states in enumerate((long.x, short.x)):
            place = k / 12 * (len(states) - 1)
            near = {math.floor(place + 0.499), math.ceil(place - 0.499)}
            assert any(np.allclose(packed[k, panel], states[i][order], atol=2e-4) for i in near)
    readouts = [panel["readouts"] for panel in shown.about["panels"]]
    assert readouts[0][0] == "block 4 of 4, t = 1.00"
    assert readouts[0][-1] == "block 1 of 4, t = 0.00"
    assert readouts[1][6] == "block 1 of 1, t = 0.50"
    assert shown.about["panels"][0]["nfe"] == "NFE 12 (3 + 3 + 3 + 3)"
    assert shown.about["ends"][-1] == 40


def test_a_flow_s_own_record(tiny_flow):
    noise = tiny_flow.noise(30)
    shown = widgets.trajectory_explorer({"LFM": tiny_flow.trajectory(noise, points=4)})
    assert shown.about["frames"] == 10
    assert trajectory.common_frames(10, 10) == list(range(10))


def test_few_steps_hold_what_was_given():
    given = {"LFM": cells(), "FM": {("heun", 4): torch.randn(5, 2)}}
    far = distances() | {"FM": {("heun", 4): math.nan}}
    shown = widgets.few_step_explorer(given, far, distance_name="MMD")
    assert shown.combinations == [("euler", 2), ("euler", 8), ("heun", 4)]
    lfm, fm = shown.about["panels"]
    assert [cell["distance"] for cell in lfm["cells"]] == [0.5, 0.1, 0.2]
    assert fm["cells"][:2] == [None, None]
    assert fm["cells"][2] == {"from": 60, "to": 65, "distance": None}
    assert len(shown.points) == 4 * 65
    shown.frame = 0
    assert "FM: " in shown.still().alt
    assert any(text.get_text() == "not available" for text in shown.still().axes[1].texts)


def test_the_kernel_s_schedules_are_the_truth():
    shown = widgets.schedule_explorer(data.picture("two_gaussians"), family="log_snr", n=4, points=20)
    assert shown.schedule == schedules.log_snr(4)
    values = {**shown.answer["values"], "n": 3, "c": 0.1, "rho": 1.5}
    shown._on_request(shown, {"id": 7, "family": "geometric", "values": values}, [])
    assert shown.schedule == schedules.geometric(0.1, 1.5, 3)
    assert shown.answer["id"] == 7
    assert shown.answer["T"] == list(schedules.times(shown.schedule))
    assert shown.answer["signal"][-1] == pytest.approx(schedules.signal_left(shown.schedule))
    assert shown.answer["clouds"][0]["b"] == 0
    shown._on_request(shown, {"id": 8, "family": "log_snr", "values": {**values, "first": -1}}, [])
    assert shown.answer["id"] == 8
    assert "0 < first <= last" in shown.answer["error"]
    assert shown.schedule == schedules.geometric(0.1, 1.5, 3)


def test_families_are_those_of_the_library():
    import inspect

    from lfmkit.widgets.schedule import FAMILIES, RANGES

    for name, parameters in FAMILIES.items():
        assert set(inspect.signature(getattr(schedules, name)).parameters) == set(parameters)
        assert set(parameters) <= set(RANGES)


def test_chi2_by_quadrature_is_chi2(mixture):
    x = mixture.sample(20_000, seed=1)
    for T in (0.01, 0.1, 1.0):
        assert chi2.chi2(mixture, T, x) == pytest.approx(mixture.ou(T).chi2(), rel=1e-6)


def test_chi2_of_a_picture():
    """The short road for pictures agrees with the general one, and never rises with time."""

    class Plain:
        def __init__(self, inner):
            self.ou = lambda T: Plain(inner.ou(T))
            self.log_prob, self.sample = inner.log_prob, inner.sample

    board = data.picture("checkerboard")
    x = board.sample(20_000, seed=0)
    assert chi2.chi2(Plain(board), 0.3, x) == pytest.approx(chi2.chi2(board, 0.3, x), rel=1e-9)
    times, values = chi2.measured(board)
    assert all(a > b > 0 for a, b in itertools.pairwise(values))
    for T in (0.02, 0.5):
        assert chi2.read(T, times, values) == pytest.approx(chi2.chi2(board, T, x), rel=0.02)


def test_chi2_that_does_not_exist():
    wide = oracles.GaussianMixture([[0.0, 0.0]], 3.0)
    shown = widgets.schedule_explorer(wide, family="constant", n=16, points=10)
    assert shown.answer["chi2"][0] is None
    assert shown.answer["chi2"][-1] > 0
    shown.still()


def test_plain_points_show_the_bound():
    shown = widgets.schedule_explorer(torch.randn(30, 2), n=2, points=10)
    assert shown.about["chi2"] is None
    assert shown.answer["chi2"] == [math.exp(-2 * T) for T in schedules.times(shown.schedule)]


def test_drawing_is_a_density():
    ink = np.zeros((16, 16))
    ink[2, 3] = 1  # near the top, left of the middle
    pad = widgets.draw_target(size=16, drawing=ink)
    mean = pad.target.sample(500).mean(0)
    assert torch.allclose(mean, torch.tensor([-4 + 3 * 8 / 15, 4 - 2 * 8 / 15]).float(), atol=0.1)
    assert pad.grey[2, 3] == 0
    assert pad.flow is None


def test_training_a_drawing():
    pad = widgets.draw_target(size=16, train=SMALL, flow=small_flow, samples=70)
    pad.train()
    assert pad.wait(120)
    assert pad.progress["state"] == "done", pad.progress
    assert pad.progress["share"] == 1
    assert len(pad.points) == 4 * 70
    assert pad.flow.sample(5).shape == (5, 2)
    assert "70 samples of the flow" in pad.still().alt
    assert repr(pad) == "<drawing pad: 16 x 16, done>"


def test_stopping_keeps_the_flow_before():
    pad = widgets.draw_target(size=16, train={**SMALL, "steps": 20_000}, flow=small_flow)
    pad.train()
    with pytest.raises(RuntimeError, match="under way"):
        pad.train()
    pad.stop()
    assert pad.wait(120)
    assert pad.progress["state"] == "stopped"
    assert pad.flow is None


@pytest.mark.parametrize(
    ("ink", "train", "message"),
    [
        (np.zeros((16, 16)), SMALL, "nothing is drawn yet"),
        (np.ones((16, 16)), SMALL, "leave some paper"),
        (None, {"steps": 0}, "steps must be a whole number"),
        (None, {"colour": "red"}, "colour"),
        (None, {**SMALL, "lr": 1e6, "steps": 200}, "RuntimeError: "),
    ],
)
def test_what_goes_wrong_is_shown(ink, train, message):
    pad = widgets.draw_target(size=16, train=train, flow=small_flow, drawing=ink)
    pad._on_message(pad, {"do": "train", "ink": pad.ink}, [])
    assert pad.wait(120)
    assert pad.progress["state"] == "failed", pad.progress
    assert message in pad.progress["message"]


NAN = torch.full((4, 2), math.nan)
ROSE = torch.randn(8, 2)
BAD = [
    (lambda: widgets.schedule_explorer(ROSE, family="cubic"), "unknown family 'cubic': choose one of geo"),
    (lambda: widgets.schedule_explorer(ROSE, n=0), "n must be a whole number >= 1"),
    (lambda: widgets.schedule_explorer(ROSE, c=-1.0), r"c must lie in \[0.005, 0.5\]"),
    (lambda: widgets.schedule_explorer(ROSE, points=0), "points must be a whole number >= 1"),
    (lambda: widgets.schedule_explorer("rose"), "a target has .sample, .ou and .log_prob or is a tensor"),
    (lambda: widgets.schedule_explorer(NAN), "4 of 4 rows with NaN"),
    (lambda: widgets.schedule_explorer(torch.randn(4, 3)), r"the shape \(n, 2\)"),
    (lambda: widgets.trajectory_explorer({}), "nothing to show"),
    (lambda: widgets.trajectory_explorer([record()]), "must be a mapping"),
    (lambda: widgets.trajectory_explorer({"a": ROSE}), "'a' must be a Trajectory"),
    (lambda: widgets.trajectory_explorer({"a": record(), "b": record(n=41)}), "40 points in 'a', 41 in 'b'"),
    (lambda: widgets.trajectory_explorer({"a": record(), "b": record(seed=1)}), "need the same start"),
    (lambda: widgets.trajectory_explorer({"a": record()}, frames=1), "frames must be a whole number >= 2"),
    (
        lambda: widgets.trajectory_explorer({"a": lfmkit.Trajectory(*(torch.zeros(1),) * 3, (1,))}),
        r"'a' need the shape \(records, n, 2\)",
    ),
    (
        lambda: widgets.trajectory_explorer(
            {"a": lfmkit.Trajectory(torch.ones(2), NAN.expand(2, 4, 2), torch.ones(2), (1,))}
        ),
        "states of 'a' hold NaN",
    ),
    (lambda: widgets.few_step_explorer({}, {}), "nothing to show"),
    (lambda: widgets.few_step_explorer({"a": ROSE}, {}), "samples must map methods"),
    (lambda: widgets.few_step_explorer({"a": {("e", 1): NAN}}, {"a": {("e", 1): 1.0}}), "NaN"),
    (lambda: widgets.few_step_explorer({"a": {("e", 1): ROSE}}, {"b": {}}), r"samples are of \['a'\]"),
    (lambda: widgets.few_step_explorer({"a": {("e", 1): ROSE}}, {"a": {}}), "need the same keys"),
    (lambda: widgets.few_step_explorer({"a": {"e": ROSE}}, {"a": {"e": 1.0}}), "is a pair"),
    (lambda: widgets.few_step_explorer({"a": {("e", 0): ROSE}}, {"a": {("e", 0): 1.0}}), "NFE must be >= 1"),
    (lambda: widgets.draw_target(size=4), "size must be a whole number from 8 to 256"),
    (lambda: widgets.draw_target(samples=0), "samples must be a whole number >= 1"),
    (lambda: widgets.draw_target(train=[1]), "train must be a mapping"),
    (lambda: widgets.draw_target(flow=3), "flow must be a function"),
    (lambda: widgets.draw_target(drawing=np.zeros((3, 3))), r"needs the shape \(64, 64\)"),
    (lambda: widgets.draw_target(size=8, drawing=np.full((8, 8), 2.0)), r"lie in \[0, 1\]"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_gets_one_clear_line(call, message):
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_the_page_is_whole_and_safe(tmp_path):
    hostile = "</script><script>alert(1)</script> {{style}}"
    shown = widgets.trajectory_explorer({"LFM": record()}, label=hostile)
    shown.save_html(tmp_path / "deep" / "page.html")
    page = (tmp_path / "deep" / "page.html").read_text(encoding="utf-8")
    assert page.count("</script>") == 1
    assert "http" not in page.replace("http-equiv", "")
    assert "<noscript><img alt=" in page
    with pytest.raises(OSError, match="cannot write"):
        shown.save_html(tmp_path)


def test_the_still_of_a_schedule_describes_it():
    """Every picture has the common type and an alt text; `test_what_is_stored` compares two of each."""
    shown = widgets.schedule_explorer(torch.randn(20, 2), family="constant", n=3, points=20)
    assert isinstance(shown.still(), plots.Picture)
    assert "3 steps, T = 0.300" in shown.still().alt

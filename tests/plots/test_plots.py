import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from lfmkit import plots

HAND = np.array([[0.0, 0.0], [1.0, 0.5], [2.0, -1.0]])


def pixels(figure):
    """The PNG that a notebook stores."""
    bundle, metadata = figure._repr_mimebundle_()
    assert metadata["image/png"]["alt"] == figure.alt != ""
    assert bundle["text/plain"] == f"<picture: {figure.alt}>"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(bundle["image/png"]))).convert("L"), float)


@pytest.fixture
def points():
    return torch.randn(3000, 2, generator=torch.Generator().manual_seed(0)) * 0.3 + torch.tensor([2.0, 2.0])


def test_density_puts_ink_where_the_points_are(points):
    image = pixels(plots.density({"one": points}))
    height, width = image.shape
    assert image[: height // 2, width // 2 :].mean() < image[height // 2 :, : width // 2].mean() - 2


def test_density_has_one_panel_a_title(points):
    figure = plots.density({"a": points, "b": points[:0], "c": points})
    assert [axis.get_title() for axis in figure.axes] == ["a", "b", "c"]
    assert {axis.get_xlim() for axis in figure.axes} == {(-plots.LIMIT, plots.LIMIT)}
    assert figure.get_size_inches()[0] <= 10


def test_log_density_is_dark_where_it_is_likely():
    image = pixels(plots.log_density({"top": lambda x: 4 * x[:, 1]}, points=20))
    assert image[: len(image) // 2].mean() < image[len(image) // 2 :].mean()


def test_paths_are_drawn(points):
    states = torch.stack([points, points * 0, -points])
    figure = plots.paths({"there and back": states}, lines=7)
    assert len([line for line in figure.axes[0].lines if len(line.get_xdata()) == 3]) == 7


def test_losses_are_relative():
    figure = plots.losses({"block 1": [(1, 4.0), (2, 2.0)], "block 2": [(1, 0.1), (3, 0.1)]})
    assert [list(line.get_ydata()) for line in figure.axes[0].lines] == [[1.0, 0.5], [1.0, 1.0]]


def test_bars_say_their_values():
    figure = plots.bars({"LFM": 0.5, "FM, small": 0.25, "other": 1.0}, "nats", "title")
    written = {text.get_text() for text in figure.axes[0].texts}
    assert written == {"0.5", "0.25", "1"}
    assert "LFM 0.5" in figure.alt
    colours = [tuple(bar.get_facecolor()) for bar in figure.axes[0].patches]
    assert len(set(colours)) == 3
    pixels(figure)


def test_curves_have_a_panel_a_measure_and_one_look_a_series():
    panels = {
        "length": {"LFM": ([1, 2, 4], [3.0, 2.0, 1.0]), "LFM, shuffled": ([1, 2], [5.0, 6.0])},
        "NFE": {"LFM": ([1, 2, 4], [30.0, 20.0, 10.0]), "other": ([1, 4], [1.0, 2.0])},
    }
    figure = plots.curves(panels, "blocks", "title", log="xy")
    assert [axis.get_ylabel() for axis in figure.axes] == ["length", "NFE"]
    assert {axis.get_xlabel() for axis in figure.axes} == {"blocks"}
    assert (
        {axis.get_yscale() for axis in figure.axes} == {axis.get_xscale() for axis in figure.axes} == {"log"}
    )
    looks = [[(line.get_color(), line.get_marker()) for line in axis.lines] for axis in figure.axes]
    assert looks[0][0] == looks[1][0] != looks[0][1]
    assert looks[0][0][0] == looks[0][1][0] == plots.PALETTE["LFM"] != looks[1][1][0]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["LFM", "LFM, shuffled", "other"]
    assert "LFM, shuffled" in figure.alt
    assert figure.get_size_inches()[0] <= 10
    pixels(figure)


def test_curves_take_named_places_and_single_points():
    figure = plots.curves({"y": {"a": (["left", "right"], [1.0, 2.0])}}, "place", "title", joined=False)
    (line,) = figure.axes[0].lines
    assert line.get_linestyle() == "None"
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["left", "right"]
    with pytest.raises(ValueError, match="one or more series"):
        plots.curves({}, "x", "title")


def test_a_timeline_is_as_long_as_its_steps():
    figure = plots.timeline({"three": (0.1, 0.2, 0.5), "none": ()})
    in_time, in_noise, left = figure.axes
    widths = [bar.get_width() for bar in in_time.patches]
    assert widths[:3] == pytest.approx([0.1, 0.2, 0.5])
    ends = {round(bar.get_x() + bar.get_width(), 9) for bar in in_time.patches}
    assert max(ends) == pytest.approx(in_time.get_xlim()[1])  # the free block fills the row
    third = in_noise.patches[2]
    assert third.get_x() + third.get_width() == pytest.approx(np.sqrt(np.expm1(1.6)))
    assert [bar.get_width() for bar in left.patches] == pytest.approx([np.exp(-0.8), 1.0])
    assert [text.get_text() for text in in_time.get_yticklabels()] == ["three", "none"]
    pixels(figure)
    with pytest.raises(ValueError, match="one or more schedules"):
        plots.timeline({})


def test_a_sweep_has_a_point_a_run_and_means_with_their_standard_errors():
    runs = {"lfm": [(300, 0.2), (300, 0.4), (300, 0.6), (10_000, 0.1)], "ot_cfm": [(10_000, 0.3), (300, 0.9)]}
    figure = plots.sweep(runs, "steps", "excess", "title")
    (axis,) = figure.axes
    faint, mean, *_ = axis.lines
    assert sorted(faint.get_ydata()) == [0.1, 0.2, 0.4, 0.6]
    assert list(mean.get_xdata()) == [300, 10_000]
    assert list(mean.get_ydata()) == pytest.approx([0.4, 0.1])
    (bars,) = axis.containers[0].lines[2]
    lower, upper = bars.get_segments()[0][:, 1]
    assert (upper - lower) / 2 == pytest.approx(0.2 / np.sqrt(3))  # standard deviation 0.2, three runs
    assert np.ptp(bars.get_segments()[1][:, 1]) == 0  # one run has none
    assert (axis.get_xscale(), axis.get_yscale()) == ("log", "linear")
    assert [text.get_text() for text in axis.get_xticklabels()] == ["300", "10000"]
    drawn = [container.lines[0].get_color() for container in axis.containers]
    assert drawn == [plots.PALETTE["LFM"], plots.PALETTE["OT-CFM"]]
    assert "lfm 0.4 at 300, 0.1 at 10000" in figure.alt
    pixels(figure)


def test_a_sweep_over_names_sets_the_groups_side_by_side():
    runs = {"lfm": [("log_snr", 0.001), ((0.1, 0.2), 0.5)], "fm": [("log_snr", 0.1)], "none": []}
    (axis,) = plots.sweep(runs, "schedule", "excess", "title").axes
    assert [text.get_text() for text in axis.get_xticklabels()] == ["log_snr", "(0.1, 0.2)"]
    lfm, fm = (container.lines[0] for container in axis.containers)
    assert lfm.get_linestyle() == "None"
    assert lfm.get_xdata()[0] < 0 < fm.get_xdata()[0]
    assert lfm.get_xdata()[1] - lfm.get_xdata()[0] == pytest.approx(1)
    assert (axis.get_xscale(), axis.get_yscale()) == ("linear", "log")


@pytest.mark.parametrize(
    ("values", "scale"), [([1, 2, 4, 8], "linear"), ([0, 1, 1000], "linear"), ([1, 100], "log")]
)
def test_a_sweep_is_logarithmic_where_values_span_decades(values, scale):
    (axis,) = plots.sweep({"a": [(x, 1.0) for x in values]}, "x", "y", "title").axes
    assert axis.get_xscale() == scale
    assert axis.get_yscale() == "linear"


def test_a_sweep_of_nothing():
    with pytest.raises(ValueError, match="one or more runs"):
        plots.sweep({"a": []}, "x", "y", "title")


def test_the_same_values_give_the_same_picture(points):
    first, second = (pixels(plots.density({"x": points})) for _ in range(2))
    assert np.array_equal(first, second)


def test_no_panel():
    with pytest.raises(ValueError, match="one or more panels"):
        plots.density({})


def test_trajectories_are_drawn_with_their_ends():
    picture = plots.ways(
        {"from above": {"expert": [HAND, HAND + 1], "LFM": [HAND]}, "from the side": {"LFM, NFE 2": [-HAND]}},
        [("x", "y"), ("y", "z")],
        "Hands",
        disc=0.5,
    )
    above, side = picture.axes
    lines = [line for line in above.lines if len(line.get_xdata()) == 3]
    for line, path in zip(lines, [HAND, HAND + 1, HAND], strict=True):
        np.testing.assert_array_equal(line.get_xydata(), path)
    ends = [line.get_xydata()[0].tolist() for line in above.lines if len(line.get_xdata()) == 1]
    assert ends == [[2, -1], [3, 0], [2, -1]]
    assert lines[0].get_color() == plots.PALETTE["data"]
    assert lines[2].get_color() == side.lines[0].get_color() == plots.PALETTE["LFM"]
    assert above.patches[0].radius == 0.5
    assert (side.get_xlabel(), side.get_ylabel(), above.get_title()) == ("y", "z", "from above")
    assert "LFM, NFE 2" in picture.alt
    assert above.get_aspect() == 1


@pytest.mark.parametrize(
    ("panels", "axes", "text"),
    [
        ({}, [], "one or more trajectories"),
        ({"a": {"expert": []}}, [("x", "y")], "one or more trajectories"),
        ({"a": {"expert": [HAND.T]}}, [("x", "y")], r"\(steps, 2\)"),
        ({"a": {"expert": [HAND[:0]]}}, [("x", "y")], r"\(steps, 2\)"),
        ({"a": {"expert": [HAND]}}, [], "1 panels need as many pairs of axes"),
    ],
)
def test_trajectories_that_cannot_be_drawn(panels, axes, text):
    with pytest.raises(ValueError, match=text):
        plots.ways(panels, axes, "title")


def test_rates_stand_in_their_intervals():
    picture = plots.rates(
        {
            "push": {"LFM": (0.9, (0.8, 0.95)), "expert": (1.0, (0.96, 1.0))},
            "reach": {"LFM": (0.5, (0.4, 0.6))},
        },
        "Rates",
    )
    axis = picture.axes[0]
    spans = [line.get_xdata().tolist() for line in axis.lines if len(line.get_xdata()) == 2]
    dots = [line.get_xdata().tolist() for line in axis.lines if len(line.get_xdata()) == 1]
    assert spans == [[0.8, 0.95], [0.96, 1.0], [0.4, 0.6]]
    assert dots == [[0.9], [1.0], [0.5]]
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["push", "reach"]
    assert [text.get_text() for text in picture.legends[0].get_texts()] == ["LFM", "expert"]
    assert "push: LFM 0.90, expert 1.00; reach: LFM 0.50" in picture.alt


@pytest.mark.parametrize(
    ("groups", "text"),
    [
        ({}, "one or more rates"),
        ({"push": {}}, "one or more rates"),
        ({"push": {"LFM": (0.9, (0.95, 1.0))}}, "push, LFM: 0.9 is not a rate"),
        ({"push": {"LFM": (1.1, (1.0, 1.2))}}, "is not a rate"),
    ],
)
def test_rates_that_cannot_be_drawn(groups, text):
    with pytest.raises(ValueError, match=text):
        plots.rates(groups, "title")

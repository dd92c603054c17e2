"""Pictures of robots: trajectories and rates are drawn as given, and nonsense is refused."""

import numpy as np
import pytest

from lfmkit import plots

PATH = np.array([[0.0, 0.0], [1.0, 0.5], [2.0, -1.0]])


def test_trajectories_are_drawn_with_their_ends():
    picture = plots.ways(
        {"from above": {"expert": [PATH, PATH + 1], "LFM": [PATH]}, "from the side": {"LFM, NFE 2": [-PATH]}},
        [("x", "y"), ("y", "z")],
        "Hands",
        disc=0.5,
    )
    above, side = picture.axes
    lines = [line for line in above.lines if len(line.get_xdata()) == 3]
    for line, path in zip(lines, [PATH, PATH + 1, PATH], strict=True):
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
        ({"a": {"expert": [PATH.T]}}, [("x", "y")], r"\(steps, 2\)"),
        ({"a": {"expert": [PATH[:0]]}}, [("x", "y")], r"\(steps, 2\)"),
        ({"a": {"expert": [PATH]}}, [], "1 panels need as many pairs of axes"),
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

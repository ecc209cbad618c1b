"""plan.draw: pictures that hold what the plan holds, that parse, and that stay readable."""

import shutil
import subprocess
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import replace
from itertools import combinations, pairwise

import pytest

from inspected import DOCUMENT, access, arena, held
from lazyflow.runtime import schema
from lazyflow.runtime.errors import ArgumentError, ArgumentTypeError
from lazyflow.runtime.inspect.crossings import ordered
from lazyflow.runtime.inspect.dot import to_dot
from lazyflow.runtime.inspect.drawing import draw
from lazyflow.runtime.inspect.layout import arrange
from lazyflow.runtime.inspect.picture import KINDS, Arrow, Box, Picture, readable
from lazyflow.runtime.inspect.svg import to_svg

NASTY = 'a"b\\c<d>&e\nf\0g\u2028{h}|]]>'


def texts(svg):
    return [element.text for element in ET.fromstring(svg).iter() if element.tag.endswith("}text")]


def chain(length, scope=lambda number: ()):
    boxes = tuple(Box(str(n), "kernel", f"op {n}", scope=scope(n)) for n in range(length))
    arrows = tuple(Arrow(a.key, b.key, "float32[4]") for a, b in pairwise(boxes))
    return Picture("chain", boxes, arrows)


def test_draw_svg_shows_names_types_and_programs(tmp_path):
    draw(DOCUMENT, tmp_path / "plan.svg")
    shown = texts((tmp_path / "plan.svg").read_text())
    wanted = [
        "plan line",
        "program train",
        "program predict",
        "layer.weight",
        "layer/matmul",
        "sub, square, sum",
    ]
    assert [text for text in wanted if text not in shown] == []
    assert {"float32[batch, 3]", "float32[batch, 3], float32[]", "kernel_batch 1 parameter"} <= set(shown)


def test_draw_follows_memory_that_is_written_in_place(tmp_path):
    draw(DOCUMENT, tmp_path / "plan.dot")
    text = (tmp_path / "plan.dot").read_text()
    made = '"0 1" -> "0 2" [label="float32[batch, 3]"]'
    assert made in text  # what the kernel leaves in the product's memory
    assert '"0 0" -> "0 2"' not in text


def test_draw_gives_all_makers_of_memory_that_is_written_in_parts(tmp_path):
    copies = [schema.Copy(space=(2,), source=access(0, 1), to=access(1, 1, offset=2 * n)) for n in range(2)]
    use = schema.Copy(space=(4,), source=access(1, 1), to=access(2, 1))
    program = schema.Program(
        name="main", buffers=(held("feed", "x", 2), arena(4), arena(4)), instructions=(*copies, use)
    )
    draw(schema.Document(name="parts", programs=(program,)), tmp_path / "parts.dot")
    text = (tmp_path / "parts.dot").read_text()
    assert '"0" -> "2"' in text
    assert '"1" -> "2"' in text


def test_draw_shows_a_condition_as_a_dashed_arrow(tmp_path):
    test = schema.Kernel(
        space=(4,),
        inner=1,
        reads=(access(0, 1),),
        body=(schema.Call(op="reduce_max", args=(0,), dtype="bool"),),
        writes=(schema.Write(value=1, to=access(1, 0)),),
    )
    guarded = schema.Copy(space=(4,), source=access(0, 1), to=access(2, 1), when=1)
    buffers = (held("feed", "x", 4, "bool"), arena(1, dtype="bool"), arena(4, dtype="bool"))
    program = schema.Program(name="main", buffers=buffers, instructions=(test, guarded))
    draw(schema.Document(name="when", programs=(program,)), tmp_path / "when.dot")
    assert '"0" -> "1" [label="bool[]", style=dashed];' in (tmp_path / "when.dot").read_text()


@pytest.mark.parametrize("path", ["plan.png", "plan", ".svg/plan.txt"])
def test_draw_refuses_other_suffixes(path):
    with pytest.raises(ArgumentError, match=r"ends in \.dot or \.svg"):
        draw(DOCUMENT, path)


def test_draw_refuses_what_is_no_path():
    with pytest.raises(ArgumentTypeError, match="3 is no path"):
        draw(DOCUMENT, 3)


def test_svg_escapes_names():
    boxes = (Box("a", "kernel", NASTY, (NASTY,), NASTY), Box("b", "fetch", "b"))
    shown = texts(to_svg(NASTY, [Picture(NASTY, boxes, (Arrow("a", "b", f"of {NASTY}"),))]))
    assert sum('a"b\\c<d>&e' in text for text in shown) == 5


@pytest.mark.skipif(shutil.which("dot") is None, reason="graphviz is not installed")
def test_dot_is_accepted_by_graphviz(tmp_path):
    boxes = (Box(NASTY, "kernel", NASTY, (NASTY,), NASTY), Box("b\\", "fetch", "b\\"))
    picture = Picture(NASTY, boxes, (Arrow(NASTY, "b\\", NASTY),))
    for pictures in ([picture], [picture, picture]):
        result = subprocess.run(
            ["dot", "-Tplain"], input=to_dot(NASTY, pictures).encode(), capture_output=True
        )
        assert result.returncode == 0, result.stderr
        assert result.stdout.count(b"\nedge ") == len(pictures)


def test_dot_quotes_names():
    text = to_dot('say "hi"', [Picture("p", (Box("a\\", "kernel", 'x"\ny'),), ())])
    assert text.startswith('digraph "say \\"hi\\"" {')
    assert '"a\\\\" [label="x\\"\\ny"' in text


def test_boxes_do_not_overlap_and_arrows_point_down():
    boxes = tuple(Box(str(n), "kernel", "x" * (n % 7 + 1), ("note",) * (n % 3)) for n in range(60))
    arrows = tuple(Arrow(str(a), str(b)) for a, b in combinations(range(60), 2) if (a * 7 + b * 5) % 23 == 0)
    arranged = arrange(Picture("many", boxes, arrows))
    for one, other in combinations(arranged.places.values(), 2):
        apart_x = one.x + one.width <= other.x or other.x + other.width <= one.x
        apart_y = one.y + one.height <= other.y or other.y + other.height <= one.y
        assert apart_x or apart_y
    places = arranged.places
    assert all(
        places[a.source].y + places[a.source].height < places[a.target].y for a in arranged.picture.arrows
    )
    assert min(place.x for place in places.values()) >= 0
    assert max(place.x + place.width for place in places.values()) <= arranged.width


def test_every_arrow_arrives_at_its_box():
    picture = Picture(
        "fan",
        tuple(Box(str(n), "kernel", str(n)) for n in range(9)),
        tuple(Arrow("0", str(n)) for n in range(1, 9)),
    )
    arranged = arrange(picture)
    (line,) = arranged.lines
    tops = {(place.middle, place.y) for key, place in arranged.places.items() if key != "0"}
    assert set(line.heads) == tops


def test_an_arrow_to_an_earlier_box_points_up():
    boxes = (Box("a", "scope", "a"), Box("b", "scope", "b"))
    arranged = arrange(Picture("loop", boxes, (Arrow("a", "b"), Arrow("b", "a"))))
    assert sorted(line.up for line in arranged.lines) == [False, True]
    assert arranged.places["a"].y < arranged.places["b"].y


def test_many_boxes_beside_each_other_become_several_rows():
    boxes = tuple(Box(str(n), "kernel", str(n)) for n in range(41))
    arranged = arrange(Picture("wide", boxes, tuple(Arrow(str(n), "40") for n in range(40))))
    rows = Counter(place.y for place in arranged.places.values())
    assert max(rows.values()) == 10
    assert arranged.places["40"].y == max(rows)


def test_draw_joins_scalar_variables_that_one_instruction_takes(tmp_path):
    buffers = (
        *(held("variable", f"opt/{name}", 1) for name in "abc"),
        arena(1),
        held("variable", "other", 1),
    )
    add = schema.Kernel(
        space=(),
        reads=(access(0), access(1), access(2)),
        body=(
            schema.Call(op="add", args=(0, 1), dtype="float32"),
            schema.Call(op="add", args=(3, 2), dtype="float32"),
        ),
        writes=(schema.Write(value=4, to=access(3)),),
    )
    use = schema.Copy(space=(), source=access(4), to=access(3))
    program = schema.Program(name="main", buffers=buffers, instructions=(add, use))
    draw(schema.Document(name="scalars", programs=(program,)), tmp_path / "plan.svg")
    shown = texts((tmp_path / "plan.svg").read_text())
    assert {"3 scalars", "opt/a, opt/b, opt/c", "other"} <= set(shown)
    assert "opt/a" not in shown


def test_an_arrow_past_many_layers_becomes_a_note():
    picture = chain(100)
    far = replace(picture, arrows=(*picture.arrows, Arrow("0", "99")))
    arranged = arrange(far)
    assert arranged.picture.boxes[99].notes == ("takes op 0",)
    assert Arrow("0", "99") not in arranged.picture.arrows


def test_ordering_undoes_crossings():
    layers = [["a", "b", "c"], ["z", "y", "x"]]
    found = ordered(layers, [("a", "x"), ("b", "y"), ("c", "z")])
    assert list(zip(*found, strict=True)) in (
        [("a", "x"), ("b", "y"), ("c", "z")],
        [("c", "z"), ("b", "y"), ("a", "x")],
    )


def test_a_large_picture_is_joined_by_scope_and_says_so():
    picture = readable(chain(1000, lambda n: (f"layer{n // 10}", f"part{n // 5}")), largest=150)
    assert len(picture.boxes) == 100
    assert picture.note == "1,000 boxes, joined by scope into 100"
    assert picture.boxes[3].title == "layer3"
    assert picture.boxes[3].notes[0] == "10 ops"
    assert len(picture.arrows) == 99


def test_a_large_picture_without_scopes_loses_its_middle_and_says_so():
    picture = readable(chain(1000), largest=21)
    assert len(picture.boxes) == 21
    assert "the first and the last 10 are shown" in picture.note
    assert any(box.title == "… 980 boxes are not shown …" for box in picture.boxes)
    svg = to_svg("deep", [replace(chain(1000), title="deep")])
    assert svg.count("<rect") < 420


def test_joined_arrows_count_their_values():
    boxes = tuple(Box(str(n), "kernel", str(n), scope=("a" if n < 2 else "b",)) for n in range(4))
    arrows = tuple(Arrow(a, b, "float32[4]") for a in "01" for b in "23")
    assert readable(Picture("p", boxes, arrows), largest=3).arrows[0].label == "4 values"


def test_every_kind_has_colours_that_differ_from_the_page():
    assert all(stroke not in ("#ffffff", fill) for _, fill, stroke in KINDS.values())


def test_pictures_of_nothing():
    assert "<svg" in to_svg("empty", [Picture("none", (), ())])
    assert "<svg" in to_svg("empty", [])

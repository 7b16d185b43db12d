"""Links and attention matrices: formats there and back, count bases, pieces and words."""

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt.errors import InputError
from nmt.links import (
    Links,
    argmax_links,
    check_matrix,
    format_links,
    links_above,
    links_of_lines,
    matrix_of_links,
    parse_links,
    read_links,
    read_matrices,
    write_links,
    write_matrices,
    write_naacl,
)
from nmt.words import pieces_to_words, words_of_pieces

PAIR = st.tuples(st.integers(0, 30), st.integers(0, 30))
LINKS = st.builds(Links, st.frozensets(PAIR, max_size=8), st.frozensets(PAIR, max_size=8))


def test_possible_links_hold_the_sure_ones():
    links = Links([(0, 0)], [(1, 2)])
    assert links.sure == {(0, 0)}
    assert links.possible == {(0, 0), (1, 2)}
    assert links.sources() == {0, 1}


def test_a_pharaoh_line_is_read_and_written():
    links = parse_links("0-0 3p2  1-2")
    assert links == Links([(0, 0), (1, 2)], [(3, 2)])
    assert format_links(links) == "0-0 1-2 3p2"
    assert format_links(links, base=1) == "1-1 2-3 4p3"


@given(LINKS, st.integers(0, 1))
def test_a_pharaoh_line_comes_back(links, base):
    assert parse_links(format_links(links, base), base=base) == links


@given(LINKS)
def test_links_as_a_matrix_and_back(links):
    matrix = matrix_of_links(links, target_words=31, source_words=32)
    assert matrix.shape == (31, 32)
    assert links_above(matrix, 0.5) == Links(links.possible)


@settings(max_examples=25)
@given(st.lists(LINKS, max_size=5))
def test_pharaoh_and_naacl_files_come_back(tmp_path_factory, sentences):
    folder = tmp_path_factory.mktemp("links")
    write_links(folder / "a", sentences)
    assert read_links(folder / "a", base=0).links == sentences
    write_links(folder / "a.talp", sentences, base=1)
    assert read_links(folder / "a.talp").links == sentences
    write_naacl(folder / "a.naacl", sentences)
    if any(sentence.possible for sentence in sentences):
        lengths = [(31, 31)] * len(sentences)
        found = read_links(folder / "a.naacl", lengths=lengths)
        assert found.links == sentences
        assert found.base == 1


def test_naacl_lines_with_and_without_class_and_confidence():
    found = links_of_lines(["1 1 1 S", "1 2 3 P 0.5", "3 1 2"], "gold")
    assert found.links == [Links([(0, 0)], [(1, 2)]), Links(), Links([(0, 1)])]
    with pytest.raises(InputError, match=r"gold, line 2: .* is no NAACL link"):
        links_of_lines(["1 1 1", f"1 1 {'9' * 5000}"], "gold")


@pytest.mark.parametrize("text", ["0:0", "a-b", "0--1", "-1-0", "0-1-2", "０-１", "1.0-2", f"0-{'9' * 5000}"])
def test_what_is_no_link_is_told_with_its_line(text):
    with pytest.raises(InputError, match=r"gold, line 2: .* is no link"):
        links_of_lines(["0-0", text], "gold", base=0)


def test_the_base_shows_itself():
    assert links_of_lines(["1-1", "0-1"], "a").base == 0
    assert links_of_lines(["1-1 2-3"], "a", lengths=[(2, 3)]).base == 1
    assert links_of_lines(["", ""], "a").base == 0


def test_a_base_that_nothing_shows_has_to_be_stated():
    with pytest.raises(InputError, match="state which"):
        links_of_lines(["1-1"], "a", lengths=[(5, 5)])
    assert links_of_lines(["1-1"], "a", base=1).links == [Links([(0, 0)])]


def test_a_file_counting_from_1_read_as_counting_from_0_is_an_error_with_that_hint():
    """Complaint 7 of other toolkits' users."""
    with pytest.raises(InputError, match=r"gold\.txt, line 2: link 2-3 is out of range.*counts from 1"):
        links_of_lines(["1-1", "1-1 2-3"], "gold.txt", base=0, lengths=[(2, 2), (2, 3)])


def test_a_file_counting_from_0_read_as_counting_from_1_is_an_error_with_that_hint():
    with pytest.raises(InputError, match=r"gold\.txt, line 1: index 0 .* counts from 0"):
        links_of_lines(["0-0"], "gold.txt", base=1)


@pytest.mark.parametrize(
    ("line", "cause"),
    [("0-0 1-3", "target first"), ("0-0 9-9", "another text")],
)
def test_other_causes_of_links_out_of_range(line, cause):
    with pytest.raises(InputError, match=rf"a, line 1: .* out of range.*{cause}"):
        links_of_lines([line], "a", lengths=[(4, 2)])


def test_line_counts_are_checked():
    with pytest.raises(InputError, match="links of 1 sentences but the text has 2"):
        links_of_lines(["0-0"], "a", lengths=[(1, 1), (1, 1)])


@pytest.mark.parametrize("name", ["m.npz", "m.json", "m.json.gz"])
def test_matrices_come_back(tmp_path, name):
    matrices = [np.array([[0.25, 0.5], [1.0, 0.0], [0.0, 0.0]]), np.zeros((0, 0)), np.ones((1, 3)) / 4]
    write_matrices(tmp_path / name, matrices)
    found = read_matrices(tmp_path / name)
    assert len(found) == 3
    for one, other in zip(found, matrices, strict=True):
        np.testing.assert_array_equal(one, other)
    write_matrices(tmp_path / name, [])
    assert read_matrices(tmp_path / name) == []
    assert ((tmp_path / name).read_bytes()[:2] == b"\x1f\x8b") == name.endswith(".gz")


def test_numpy_itself_reads_what_is_written(tmp_path):
    write_matrices(tmp_path / "m.npz", [np.eye(2), np.ones((1, 2), dtype=np.float32)])
    with np.load(tmp_path / "m.npz", allow_pickle=False) as archive:
        assert sorted(archive.files) == ["0", "1"]
        np.testing.assert_array_equal(archive["0"], np.eye(2))


def test_bad_matrix_files_are_told(tmp_path):
    np.savez(tmp_path / "hole.npz", **{"0": np.eye(2), "2": np.eye(2)})
    with pytest.raises(InputError, match="no array named 1"):
        read_matrices(tmp_path / "hole.npz")
    np.savez(tmp_path / "pickle.npz", **{"0": np.array([{}], dtype=object)})
    with pytest.raises(InputError, match=r"not an \.npz file of plain arrays"):
        read_matrices(tmp_path / "pickle.npz")
    (tmp_path / "text.npz").write_text("no zip")
    with pytest.raises(InputError, match=r"text\.npz: not an"):
        read_matrices(tmp_path / "text.npz")
    np.save(tmp_path / "one.npy", np.eye(2))
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    with pytest.raises(InputError, match=r"one\.npz: not an"):
        read_matrices(tmp_path / "one.npz")
    with pytest.raises(InputError, match="no such file"):
        read_matrices(tmp_path / "absent.npz")
    (tmp_path / "m.json").write_text(json.dumps({"0": [[1]]}))
    with pytest.raises(InputError, match="expected a list of matrices"):
        read_matrices(tmp_path / "m.json")
    (tmp_path / "m.json").write_text(f"[[[{'9' * 5000}]]]")
    with pytest.raises(InputError, match=r"m\.json: not JSON"):
        read_matrices(tmp_path / "m.json")
    (tmp_path / "m.json").write_text("[[[0.5], [0.5, 0.1]]]")
    with pytest.raises(InputError, match=r"m\.json, sentence 0: not a matrix"):
        read_matrices(tmp_path / "m.json")


@pytest.mark.parametrize(
    "bad", [[[np.nan]], [[-0.1]], [[1.5]], [[np.inf]], [1.0, 2.0], [[[1.0]]], "text", None, [[10**400]]]
)
def test_what_is_no_matrix_of_weights_is_refused(bad):
    with pytest.raises(InputError, match="here"):
        check_matrix(bad, "here")


def test_rounding_of_half_precision_is_no_error():
    assert check_matrix(np.array([[1.0009]], dtype=np.float16), "here").max() == 1.0


def test_argmax_takes_the_source_word_with_the_highest_weight_for_each_target_word():
    weight_TS = np.array([[0.1, 0.7, 0.2], [0.4, 0.4, 0.2], [0.0, 0.0, 0.0]])
    assert argmax_links(weight_TS) == Links([(1, 0), (0, 1)])
    assert argmax_links(np.zeros((2, 0))) == Links()
    assert argmax_links(np.zeros((0, 2))) == Links()


def test_pieces_to_words_sums_over_source_pieces_and_means_over_target_pieces():
    weight_TS = np.array([[0.1, 0.2, 0.7], [0.3, 0.3, 0.4], [0.5, 0.5, 0.0]])
    found = pieces_to_words(weight_TS, [0, 0, 1], [0, 0, 1])
    np.testing.assert_allclose(found, [[(0.3 + 0.6) / 2, (0.7 + 0.4) / 2], [1.0, 0.0]])


@given(st.data())
def test_pieces_to_words_equals_the_loops(data):
    targets = sorted(data.draw(st.lists(st.integers(0, 4), max_size=6)))
    sources = sorted(data.draw(st.lists(st.integers(0, 4), max_size=6)))
    size = len(targets) * len(sources)
    flat = data.draw(st.lists(st.floats(0, 1), min_size=size, max_size=size))
    weight_TS = np.array(flat).reshape(len(targets), len(sources))
    found = pieces_to_words(weight_TS, targets, sources)
    assert found.shape == (max(targets, default=-1) + 1, max(sources, default=-1) + 1)
    for word_t in range(found.shape[0]):
        for word_s in range(found.shape[1]):
            rows = [
                sum(weight_TS[t, s] for s in range(len(sources)) if sources[s] == word_s)
                for t in range(len(targets))
                if targets[t] == word_t
            ]
            assert found[word_t, word_s] == pytest.approx(sum(rows) / len(rows) if rows else 0.0)


def test_words_without_a_piece_have_no_weight():
    found = pieces_to_words(np.array([[0.25, 0.75]]), [1], [0, 0], words=(3, 2))
    np.testing.assert_array_equal(found, [[0, 0], [1, 0], [0, 0]])
    np.testing.assert_array_equal(pieces_to_words(np.zeros((0, 1)), [], [1], words=(2, 1)), np.zeros((2, 2)))


def test_pieces_to_words_refuses_another_number_of_pieces():
    with pytest.raises(ValueError, match="2 target"):
        pieces_to_words(np.ones((3, 2)), [0, 1], [0, 1])


def split(words: list[str], cuts: list[list[int]]) -> list[list[str]]:
    """Each word in pieces, cut at the places given."""
    found = []
    for word, places in zip(words, cuts, strict=True):
        edges = sorted({0, len(word), *(place % len(word) for place in places)})
        found.append([word[a:b] for a, b in pairwise(edges)])
    return found


WORDS = st.lists(st.text("abz中文，.é", min_size=1, max_size=6), max_size=6)
MARKERS = {
    "sentencepiece": lambda parts: ["▁" + parts[0], *parts[1:]],
    "@@": lambda parts: [part + "@@" for part in parts[:-1]] + parts[-1:],
    "##": lambda parts: [parts[0], *("##" + part for part in parts[1:])],
}


@pytest.mark.parametrize("style", MARKERS)
@given(words=WORDS, data=st.data())
def test_words_of_pieces_come_back(style, words, data):
    """Complaint 6 of other toolkits' users: every style, Chinese characters, indices within the words."""
    cuts = [data.draw(st.lists(st.integers(0, 9), max_size=3)) for _ in words]
    parts = split(words, cuts)
    pieces = [piece for word in parts for piece in MARKERS[style](word)]
    expected = [number for number, word in enumerate(parts) for _ in word]
    assert words_of_pieces(pieces, style) == expected


def test_sentencepiece_pieces_of_white_space_alone_and_a_text_without_a_first_mark():
    assert words_of_pieces(["▁", "你", "好"], "sentencepiece") == [0, 0, 0]
    assert words_of_pieces(["你", "好", "▁吗"], "sentencepiece") == [0, 0, 1]
    assert words_of_pieces(["▁", "▁the", "▁", "▁cat", "▁"], "sentencepiece") == [0, 0, 1, 1, 1]
    assert words_of_pieces(["▁of▁the", "▁cat"], "sentencepiece") == [0, 2]
    assert words_of_pieces(["▁"], "sentencepiece") == [0]
    assert words_of_pieces([], "sentencepiece") == []


@given(st.lists(st.text("▁a中", max_size=4), max_size=8))
def test_sentencepiece_indices_are_always_within_the_words(pieces):
    count = max(1, len("".join(pieces).replace("▁", " ").split()))
    assert all(0 <= number < count for number in words_of_pieces(pieces, "sentencepiece"))


def test_an_unknown_style_of_pieces_is_refused():
    with pytest.raises(ValueError, match="unknown style"):
        words_of_pieces(["a"], "bpe")


@given(st.lists(st.text(max_size=12), max_size=4))
def test_any_text_is_links_or_an_input_error(lines):
    try:
        found = links_of_lines(lines, "fuzz")
    except InputError:
        return
    assert all(min(link) >= 0 for sentence in found.links for link in sentence.possible)

"""Videos: the middle frame, and the two datasets on small trees of the true layout."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pytest
from PIL import Image

from hume_turtle.datasets.registry import load_dataset
from hume_turtle.datasets.video import VideoFrames, middle_frame, sought_middle

LEVELS = 4  # grey levels between one frame and the next


def grey(i):
    return np.full((48, 64, 3), 8 + LEVELS * i, np.uint8)


def noise(i):
    return np.random.default_rng(i).integers(0, 256, (48, 64, 3), np.uint8)


def write_video(path, n_frames, codec="mpeg4", pixels=grey):
    """Frame i has `pixels(i)`; a key frame every twelve, with B-frames if the codec has any."""
    av = pytest.importorskip("av")
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.bit_rate, stream.gop_size = 4_000_000, 12
        if codec != "libvpx-vp9":
            stream.codec_context.max_b_frames = 2
        for i in range(n_frames):
            frame = av.VideoFrame.from_ndarray(pixels(i), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def number(image):
    """Which grey frame of `write_video` an image is."""
    return round((np.asarray(image.convert("L"), float).mean() - 8) / LEVELS)


KINDS = [("avi", "mpeg4"), ("mp4", "libx264"), ("mp4", "mpeg4"), ("mkv", "libx264")]
KINDS += [("webm", "libvpx-vp9")]


@pytest.mark.parametrize(("suffix", "codec"), KINDS)
@pytest.mark.parametrize("n_frames", [3, 4, 31, 60])
def test_the_frame_is_the_published_one(tmp_path, suffix, codec, n_frames):
    path = write_video(tmp_path / f"clip.{suffix}", n_frames, codec)
    image = middle_frame(path)
    assert (image.mode, image.size) == ("RGB", (64, 48))
    assert number(image) == n_frames // 2 + 1
    assert middle_frame(path).tobytes() == image.tobytes()


@pytest.mark.parametrize(("suffix", "codec"), KINDS)
@pytest.mark.parametrize("n_frames", [1, 2])
def test_a_video_too_short_for_the_published_frame_is_named(tmp_path, suffix, codec, n_frames):
    path = write_video(tmp_path / f"clip.{suffix}", n_frames, codec)
    with pytest.raises(OSError, match=rf"clip.{suffix}: .* of {n_frames} frames has no frame"):
        middle_frame(path)


def test_the_stated_number_of_frames_counts_where_a_file_was_cut_short(tmp_path):
    """TURTLE's program asks the file; an AVI file says so at its beginning."""
    path = write_video(tmp_path / "clip.avi", 60, pixels=noise)  # frames of nearly equal size
    whole, frame = path.read_bytes(), middle_frame(path)
    path.write_bytes(whole[: len(whole) * 3 // 4])
    assert middle_frame(path).tobytes() == frame.tobytes()
    path.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(OSError, match=r"clip.avi: the video of 60 frames has no frame 31"):
        middle_frame(path)


def test_frames_are_seen_as_their_jpeg_files(tmp_path):
    path = write_video(tmp_path / "clip.mp4", 5, pixels=noise)
    decoded = middle_frame(path)
    decoded.save(tmp_path / "frame.jpg")
    with Image.open(tmp_path / "frame.jpg") as file:
        expected = np.asarray(file.convert("RGB"))
    assert (expected != np.asarray(decoded)).any()
    image = VideoFrames([path])[0]
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), expected)


@pytest.mark.parametrize(("suffix", "codec"), KINDS[1:])
def test_only_the_frames_after_the_last_key_frame_are_decoded(tmp_path, suffix, codec):
    av = pytest.importorskip("av")
    path = write_video(tmp_path / f"clip.{suffix}", 58, codec)
    with av.open(str(path)) as container:
        stated = container.streams.video[0].frames
        assert stated == (58 if suffix == "mp4" else 0)  # mkv and webm do not state it
        assert number(sought_middle(container).to_image()) == 30


def test_what_is_not_a_video_is_named(tmp_path):
    pytest.importorskip("av")
    path = tmp_path / "broken.mp4"
    whole = write_video(tmp_path / "whole.mp4", 60).read_bytes()
    for content in (b"", b"no video at all" * 100, whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(OSError, match=r"broken.mp4"):
            middle_frame(path)
    with pytest.raises(OSError, match=r"none.mp4"):
        middle_frame(tmp_path / "none.mp4")


def test_without_the_decoder_the_extra_is_named(ucf101, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    dataset = load_dataset("ucf101", "test", ucf101.parent)  # labels need no decoder
    with pytest.raises(ImportError, match=r"hume-turtle\[video\]"):
        dataset[0]


def test_sound_alone_is_not_a_video(tmp_path):
    av = pytest.importorskip("av")
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(OSError, match=r"sound.wav"):
        middle_frame(path)


def test_frames_are_a_sequence_for_dataloader_workers(tmp_path):
    paths = [str(write_video(tmp_path / f"{n}.mp4", n)) for n in (3, 9)]
    frames = pickle.loads(pickle.dumps(VideoFrames(paths)))
    assert [number(image) for image in frames] == [2, 5]
    assert frames.source(1) == paths[1]


@pytest.fixture
def ucf101(tmp_path):
    """Two classes whose numbers in classInd.txt are not in the order of their names."""
    lists = tmp_path / "ucf101/ucfTrainTestlist"
    lists.mkdir(parents=True)
    (lists / "classInd.txt").write_text("1 JumpingJack\r\n2 JumpRope\r\n")
    train = ["JumpingJack/v_JumpingJack_g08_c01.avi 1", "JumpRope/v_JumpRope_g08_c02.avi 2"]
    test = ["JumpRope/v_JumpRope_g01_c01.avi", "JumpingJack/v_JumpingJack_g01_c01.avi"]
    for part, lines in (("train", train), ("test", test)):
        (lists / f"{part}list01.txt").write_text("".join(f"{line}\r\n" for line in lines))
        for line in lines:
            path = tmp_path / "ucf101/UCF-101" / line.split()[0]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return tmp_path / "ucf101"


def test_ucf101_is_its_split_01_with_sorted_classes(ucf101):
    train, test = (load_dataset("ucf101", split, ucf101.parent) for split in ("train", "test"))
    assert train.class_names == test.class_names == ("JumpRope", "JumpingJack")
    np.testing.assert_array_equal(train.labels, [1, 0])
    np.testing.assert_array_equal(test.labels, [0, 1])
    assert train.labels.dtype == np.int64
    assert train.source(1) == str(ucf101 / "UCF-101/JumpRope/v_JumpRope_g08_c02.avi")
    again = load_dataset("ucf101", "train", ucf101.parent)
    assert again.images.paths == train.images.paths


def test_ucf101_shows_frames(ucf101):
    write_video(ucf101 / "UCF-101/JumpRope/v_JumpRope_g01_c01.avi", 7)
    assert number(load_dataset("ucf101", "test", ucf101.parent)[0]) == 4


def test_ucf101_names_what_is_missing_or_unknown(ucf101):
    (ucf101 / "UCF-101/JumpRope/v_JumpRope_g01_c01.avi").unlink()
    with pytest.raises(FileNotFoundError, match=r"v_JumpRope_g01_c01.avi is missing"):
        load_dataset("ucf101", "test", ucf101.parent)
    (ucf101 / "ucfTrainTestlist/classInd.txt").write_text("1 JumpingJack\n")
    with pytest.raises(ValueError, match=r"JumpRope_g08_c02.avi is of no class"):
        load_dataset("ucf101", "train", ucf101.parent)


def test_kinetics_is_train_and_val_whichever_way_its_folders_are_named(tmp_path):
    clips = {"train": ["a", "b"], "val": ["c"]}
    raw = ["massaging person's head", "massaging legs", "using remote controller (not gaming)"]
    renamed = ["massaging_persons_head", "massaging_legs", "using_remote_controller_not_gaming"]
    read = []
    for kind, classes in (("raw", raw), ("renamed", renamed)):
        for part, names in clips.items():
            for folder in classes:
                for name in reversed(names):
                    path = tmp_path / kind / "kinetics700" / part / folder / f"{name}.mp4"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.touch()
        read.append([load_dataset("kinetics700", s, tmp_path / kind) for s in ("train", "test")])
    for train, test in read:
        np.testing.assert_array_equal(train.labels, [0, 0, 1, 1, 2, 2])
        np.testing.assert_array_equal(test.labels, [0, 1, 2])
        assert [path.stem for path in train.images.paths] == list("ababab")
        assert "massaging" in train.source(0)
    (train, _), (again, _) = read
    assert train.class_names == ("massaging legs", raw[0], raw[2])
    assert again.class_names[1] == "massaging persons head"


def test_kinetics_keeps_the_labels_of_classes_that_a_split_lacks(tmp_path):
    for file in ("train/archery/a.mp4", "train/yoga/b.mp4", "val/yoga/c.mp4"):
        path = tmp_path / "kinetics700" / file
        path.parent.mkdir(parents=True)
        path.touch()
    np.testing.assert_array_equal(load_dataset("kinetics700", "test", tmp_path).labels, [1])

"""Datasets of videos, of which each clip gives one frame: UCF101 and Kinetics-700.

As in TURTLE's program the frame is number n // 2 + 1 of n, counted from 0 as shown, after JPEG at
Pillow's default quality: the program writes its frames to such files before it reads them.

Decoding needs PyAV: `pip install "hume-turtle[video]"`. Labels do not.
"""

from __future__ import annotations

from io import BytesIO
from itertools import islice
from pathlib import Path

import numpy as np

from hume_turtle.datasets.folder import class_files, labelled, listing, reading
from hume_turtle.datasets.images import Builder, FileImages, ImageDataset
from hume_turtle.datasets.manual import Manual

VIDEO_SUFFIXES = (".avi", ".mkv", ".mp4", ".webm")

UCF101 = Manual(
    "ucf101",
    "www.crcv.ucf.edu/data/UCF101.php, archives UCF101.rar and "
    "UCF101TrainTestSplits-RecognitionTask.zip",
    "UCF-101/<class>/*.avi and, in ucfTrainTestlist/, classInd.txt, trainlist01.txt and "
    "testlist01.txt",
    "9537 train and 3783 test clips of 101 classes",
    ("UCF-101", *(f"ucfTrainTestlist/{n}.txt" for n in ("classInd", "trainlist01", "testlist01"))),
)
KINETICS700 = Manual(
    "kinetics700",
    "github.com/cvdfoundation/kinetics-dataset, version 700-2020: the archives that "
    "s3.amazonaws.com/kinetics/700_2020/train/k700_2020_train_path.txt and "
    ".../val/k700_2020_val_path.txt list, unpacked",
    "train/<class>/*.mp4 and val/<class>/*.mp4",
    "700 classes; TURTLE had 536485 train and 33966 test clips, but clips vanish and some do not "
    "decode, so the number of clips is reported, not required",
    ("train", "val"),
)

MANUAL = {"ucf101": UCF101, "kinetics700": KINETICS700}


class VideoFrames(FileImages):
    """PIL images: the middle frames of videos, decoded on access."""

    def __getitem__(self, index: int):
        return through_jpeg(middle_frame(self.source(index)))


def middle(n_frames: int) -> int:
    """Which frame TURTLE's program takes, counted from 0; a video of two frames has none."""
    return n_frames // 2 + 1


def middle_frame(path: str | Path):
    """Frame `middle(n)` of a video as a PIL image; n as the file states it, else as counted.

    Raises OSError, with the path, for what is missing, has no video, has no such frame (as where
    the file was cut short) or cannot be decoded; ImportError without PyAV.
    """
    try:
        import av
    except ImportError as error:
        raise ImportError('videos need PyAV: pip install "hume-turtle[video]"') from error

    try:
        with av.open(str(path)) as container:
            n_frames = container.streams.video[0].frames
            frame = sought_middle(container)
        if frame is None and not n_frames:
            with av.open(str(path)) as container:
                n_frames = sum(1 for _ in container.decode(video=0))
        if frame is None:
            with av.open(str(path)) as container:
                frame = next(islice(container.decode(video=0), middle(n_frames), None), None)
    except (av.FFmpegError, IndexError) as error:  # IndexError: there is no stream of video
        raise OSError(f"{path}: the video cannot be decoded ({error})") from error
    if frame is None:
        raise OSError(f"{path}: the video of {n_frames} frames has no frame {middle(n_frames)}")
    return frame.to_image()


def sought_middle(container):
    """The middle frame of an open PyAV container, or None where only decoding it all tells.

    The packets' times give the order of the frames without decoding, and their number where the
    file states none. From the key frame before the middle a few frames are decoded.
    """
    stream = container.streams.video[0]
    packets = (packet for packet in container.demux(stream) if packet.size)
    times = [packet.pts for packet in packets if not packet.is_discard]
    if None in times or len(set(times)) < len(times):  # old AVI files have no times
        return None
    number = middle(stream.frames or len(times))
    if number >= len(times):
        return None
    time = sorted(times)[number]
    container.seek(time, stream=stream)
    for frame in container.decode(stream):
        if frame.pts is None or frame.pts >= time:
            return frame if frame.pts == time and not frame.is_corrupt else None
    return None


def through_jpeg(image):
    """The PIL image as a JPEG file of Pillow's default quality keeps it."""
    from PIL import Image

    file = BytesIO()
    image.save(file, "JPEG")
    image = Image.open(file)
    image.load()
    return image


def ucf101(split: str, root: Path | None, download: bool) -> ImageDataset:
    """UCF101's split 01, in the order of its lists; the classes sorted by name."""
    folder = UCF101.under(root)
    lists = [f"ucfTrainTestlist/{name}" for name in ("classInd.txt", f"{split}list01.txt")]
    classes, clips = (Path(path).read_text().splitlines() for path in UCF101.require(folder, lists))
    with reading("ucf101", folder / lists[0]):
        classes = sorted(line.split()[1] for line in classes if line.strip())  # "1 ApplyEyeMakeup"
    clips = [line.split()[0] for line in clips if line.strip()]  # trainlist01 has numbers as well
    label = {name: number for number, name in enumerate(classes)}
    unknown = next((clip for clip in clips if clip.split("/")[0] not in label), None)
    if unknown is not None:
        raise ValueError(f"{folder / lists[1]}: {unknown} is of no class in classInd.txt")
    labels = np.array([label[clip.split("/")[0]] for clip in clips], np.int64)
    paths = UCF101.require(folder, [f"UCF-101/{clip}" for clip in clips])
    return ImageDataset("ucf101", split, VideoFrames(paths), labels, tuple(classes))


def kinetics700(split: str, root: Path | None, download: bool) -> ImageDataset:
    """Kinetics-700 (2020): train to train, val to test; every clip found.

    Class folders may be named as in the archives or as torchvision renames them; their order is
    the same. TURTLE's rows may be fewer: its program left out the clips without a middle frame,
    on which extraction stops unless told to skip them.
    """
    folder = KINETICS700.under(root)
    parts = [name for name in ("train", "val") if (folder / name).is_dir()]
    classes = {plain(name): name for part in parts for name in listing(folder / part)[0]}
    part = Path(KINETICS700.require(folder, [{"train": "train", "test": "val"}[split]])[0])
    own = {plain(name): name for name in listing(part)[0]}
    files = dict(zip(own, class_files(part, list(own.values()), VIDEO_SUFFIXES)))
    paths, labels = labelled([files.get(name, []) for name in sorted(classes)])
    if not paths:
        raise KINETICS700.missing(part, "has no clips in class folders")
    class_names = tuple(classes[name].replace("_", " ") for name in sorted(classes))
    return ImageDataset("kinetics700", split, VideoFrames(paths), labels, class_names)


def plain(folder: str) -> str:
    """A class folder's name without what torchvision takes out of it."""
    return folder.translate(str.maketrans(" ", "_", "()'"))


BUILDERS: dict[str, Builder] = {"ucf101": ucf101, "kinetics700": kinetics700}

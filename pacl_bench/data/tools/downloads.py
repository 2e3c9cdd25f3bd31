"""Which sets are fetched from where: the files that owners offer to everybody, with sizes and checksums as published.

Checksums: COCO's and ADE20K's as GluonCV and others have used them for years, those of the classification sets and VOC
as torchvision holds them (a test compares). No checksum stands where no one publishes one.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Download:
    """A file at an owner's address, and what it becomes below the data root."""

    url: str
    makes: tuple[str, ...]  # what is below the data root once it is fetched; all there: nothing to do
    into: str = "."  # where it is unpacked, or put if it is no archive
    inside: str = ""  # the archive within the archive that is wanted, where there is one
    checksum: str = ""  # "md5:...", "sha1:..." or "sha256:..."
    size: int | None = None  # bytes, where its owners say

    @property
    def filename(self) -> str:
        return self.url.rpartition("/")[2]


VGG = "https://www.robots.ox.ac.uk/~vgg/data"
COCO_SERVER = "http://images.cocodataset.org"
MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist"
GTSRB = "https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370"
PCAM = "https://zenodo.org/records/2546921/files"
FLICKR8K = "https://github.com/jbrownlee/Datasets/releases/download/Flickr8k"  # a mirror: its authors' links are dead
HENDRYCKS = "https://people.eecs.berkeley.edu/~hendrycks"

VOC2012 = Download(
    "https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
    makes=("VOCdevkit/VOC2012",),
    checksum="md5:6cd6e144f989b92b3379bac3b3de84fd",
    size=1_999_639_040,
)
COCO_VAL = Download(
    f"{COCO_SERVER}/zips/val2017.zip", makes=("coco/val2017",), into="coco",
    checksum="md5:442b8da7639aecaf257c1dceb8ba8c80",
    size=815_585_330,
)  # fmt: skip
COCO_TRAIN = Download(
    f"{COCO_SERVER}/zips/train2017.zip", makes=("coco/train2017",), into="coco",
    checksum="md5:cced6f7f71b7629ddf16f17bbcfab6b2", size=19_336_861_798,
)  # fmt: skip
COCO_ANNOTATIONS = Download(
    f"{COCO_SERVER}/annotations/annotations_trainval2017.zip",
    makes=("coco/annotations/captions_train2017.json", "coco/annotations/captions_val2017.json"),
    into="coco",
    checksum="md5:f4bbac642086de4f52a3fdda2de5fa2c",
    size=252_907_541,
)
COCO_STUFF = Download(
    "http://calvin.inf.ed.ac.uk/wp-content/uploads/data/cocostuffdataset/stuffthingmaps_trainval2017.zip",
    makes=("coco/stuffthingmaps/val2017", "coco/stuffthingmaps/train2017"),
    into="coco/stuffthingmaps",
)

DOWNLOADS: dict[str, tuple[Download, ...]] = {
    "voc20": (VOC2012,),
    "voc21": (VOC2012,),
    "coco_stuff171": (COCO_VAL, COCO_STUFF),
    "coco_object": (COCO_VAL, COCO_STUFF),
    "ade150": (
        Download(
            "http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip", makes=("ADEChallengeData2016",),
            checksum="sha1:219e1696abb36c8ba3a3afe7fb2f4b4606a897c7",
        ),
    ),
    "coco-train2017": (COCO_ANNOTATIONS, COCO_TRAIN),
    "coco-val2017": (COCO_ANNOTATIONS, COCO_VAL),
    "flickr8k": (
        Download(
            f"{FLICKR8K}/Flickr8k_text.zip", makes=("flickr8k/Flickr8k_text/Flickr8k.token.txt",),
            into="flickr8k/Flickr8k_text", checksum="md5:bf6c1abcb8e4a833b7f922104de18627",
        ),
        Download(
            f"{FLICKR8K}/Flickr8k_Dataset.zip", makes=("flickr8k/Flicker8k_Dataset",), into="flickr8k",
            checksum="md5:f18a1e2920de5bd84dae7cf08ec78978",
        ),
    ),
    "cifar10": (
        Download(
            "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz", makes=("cifar-10-batches-py",),
            checksum="md5:c58f30108f718f92721af3b95e74349a",
        ),
    ),
    "cifar100": (
        Download(
            "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz", makes=("cifar-100-python",),
            checksum="md5:eb9058c3a382ffc7106e4002c42a8d85",
        ),
    ),
    "stl10": (
        Download(
            "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz", makes=("stl10_binary",),
            checksum="md5:91f7769df0f17e558f3565bffb0c7dfb",
        ),
    ),
    "caltech101": (
        Download(
            "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip",
            makes=("caltech101/101_ObjectCategories",), into="caltech101",
            inside="caltech-101/101_ObjectCategories.tar.gz", checksum="md5:3138e1922a9193bfa496528edbbc45d0",
        ),
    ),
    "food101": (
        Download(
            "http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz", makes=("food-101",),
            checksum="md5:85eeb15f3717b99a5da872d97d918f87",
        ),
    ),
    "oxford-pets": (
        Download(
            f"{VGG}/pets/data/images.tar.gz", makes=("oxford-iiit-pet/images",), into="oxford-iiit-pet",
            checksum="md5:5c4f3ee8e5d25df40f4fd59a7f44e54c",
        ),
        Download(
            f"{VGG}/pets/data/annotations.tar.gz", makes=("oxford-iiit-pet/annotations",), into="oxford-iiit-pet",
            checksum="md5:95a8c909bbe2e81eed6a22bccdf3f68f",
        ),
    ),
    "flowers102": (
        Download(
            f"{VGG}/flowers/102/102flowers.tgz", makes=("flowers-102/jpg",), into="flowers-102",
            checksum="md5:52808999861908f626f3c1f4e79d11fa",
        ),
        Download(
            f"{VGG}/flowers/102/imagelabels.mat", makes=("flowers-102/imagelabels.mat",), into="flowers-102",
            checksum="md5:e0620be6f572b9609742df49c70aed4d",
        ),
        Download(
            f"{VGG}/flowers/102/setid.mat", makes=("flowers-102/setid.mat",), into="flowers-102",
            checksum="md5:a5357ecc9cb78c4bef273ce3793fc85c",
        ),
    ),
    "dtd": (
        Download(
            f"{VGG}/dtd/download/dtd-r1.0.1.tar.gz", makes=("dtd/images", "dtd/labels"),
            checksum="md5:fff73e5086ae6bdbea199a49dfb8a4c1",
        ),
    ),
    "eurosat": (
        Download(
            "https://huggingface.co/datasets/torchgeo/eurosat/resolve/c877bcd43f099cd0196738f714544e355477f3fd/"
            "EuroSAT.zip",
            makes=("eurosat/2750",), into="eurosat", checksum="md5:c8fa014336c82ac7804f0398fcb19387",
        ),
    ),
    "fgvc-aircraft": (
        Download(f"{VGG}/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz", makes=("fgvc-aircraft-2013b",)),
    ),
    "sun397": (
        Download(
            "http://vision.princeton.edu/projects/2010/SUN/SUN397.tar.gz", makes=("SUN397",),
            checksum="md5:8ca2778205c41d23104230ba66911c7a",
        ),
    ),
    "mnist": tuple(
        Download(
            f"{MNIST}/{name}.gz", makes=(f"MNIST/raw/{name}",), into="MNIST/raw", checksum=f"md5:{md5}",
        )
        for name, md5 in (
            ("train-images-idx3-ubyte", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
            ("train-labels-idx1-ubyte", "d53e105ee54ea40749a09fcbcd1e9432"),
            ("t10k-images-idx3-ubyte", "9fb629c4189551a2d022fa330f9573f3"),
            ("t10k-labels-idx1-ubyte", "ec29112dd5afa0611ce80d1b7f02629c"),
        )
    ),
    "svhn": (
        Download(
            "http://ufldl.stanford.edu/housenumbers/test_32x32.mat", makes=("svhn/test_32x32.mat",), into="svhn",
            checksum="md5:eb5a983be6a315427106f1b164d9cef3",
        ),
    ),
    "gtsrb": (
        Download(
            f"{GTSRB}/GTSRB_Final_Test_Images.zip", makes=("gtsrb/GTSRB/Final_Test/Images",), into="gtsrb",
            checksum="md5:c7e4e6327067d32654124b0fe9e82185",
        ),
        Download(
            f"{GTSRB}/GTSRB_Final_Test_GT.zip", makes=("gtsrb/GT-final_test.csv",), into="gtsrb",
            checksum="md5:fe31e9c9270bbcd7b84b7f21a9d9d9e5",
        ),
    ),
    "pcam": tuple(
        Download(f"{PCAM}/{name}.gz", makes=(f"pcam/{name}",), into="pcam", checksum=f"md5:{md5}")
        for name, md5 in (
            ("camelyonpatch_level_2_split_test_x.h5", "d8c2d60d490dbd479f8199bdfa0cf6ec"),
            ("camelyonpatch_level_2_split_test_y.h5", "60a7035772fbdb7f34eb86d4420cf66a"),
        )
    ),
    "country211": (
        Download(
            "https://openaipublic.azureedge.net/clip/data/country211.tgz", makes=("country211",),
            checksum="md5:84988d7644798601126c29e9877aab6a",
        ),
    ),
    "imagenet-v2": (
        Download(
            "https://huggingface.co/datasets/vaishaal/ImageNetV2/resolve/main/imagenetv2-matched-frequency.tar.gz",
            makes=("imagenetv2-matched-frequency-format-val",),
        ),
    ),
    "imagenet-r": (Download(f"{HENDRYCKS}/imagenet-r.tar", makes=("imagenet-r",)),),
    "imagenet-a": (Download(f"{HENDRYCKS}/imagenet-a.tar", makes=("imagenet-a",)),),
    "imagenet-sketch": (
        Download(
            "https://huggingface.co/datasets/songweig/imagenet_sketch/resolve/main/data/ImageNet-Sketch.zip",
            makes=("sketch",),
        ),
    ),
}  # fmt: skip

"""The `data` section: where image-text pairs come from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from compressor.recipe.base import RecipePath, Section

Split = Literal["train", "val", "test"]


def _usual_fractions() -> dict[Split, float]:
    return {"train": 0.9, "val": 0.05, "test": 0.05}


def _usual_splits() -> dict[Split, str]:
    return {"train": "train", "val": "validation", "test": "test"}


class Limit(Section):
    """Use at most so many images of a split (the first ones, after a shuffle by `seed`); null = all."""

    train: int | None = Field(None, ge=1)
    val: int | None = Field(None, ge=1)
    test: int | None = Field(None, ge=1)


class DataBase(Section):
    """What every source of pairs has in common."""

    max_bad_fraction: float = Field(
        0.01, ge=0, le=1, description="Stop when more samples than this are unusable."
    )
    decoded_cache_gb: float = Field(
        20.0, ge=0, description="Bound of the decoded cache; 0 decodes at every use."
    )
    limit: Limit = Limit()


class ScenesData(DataBase):
    """Procedurally drawn scenes with five captions each: the embedded default, nothing to download."""

    kind: Literal["scenes"]
    seed: int = 0
    image_size: int = Field(64, ge=32, le=512, description="Pixels per side of a drawn scene.")
    train: int = Field(4000, ge=1, description="Scenes of the training split.")
    val: int = Field(500, ge=1)
    test: int = Field(1000, ge=1)


class ScenesQuestionsData(DataBase):
    """The drawn scenes with questions about them, one true answer each: the embedded default of VQA."""

    kind: Literal["scenes_questions"]
    seed: int = 0
    image_size: int = Field(64, ge=32, le=512, description="Pixels per side of a drawn scene.")
    train: int = Field(4000, ge=1, description="Scenes of the training split.")
    val: int = Field(300, ge=1)
    test: int = Field(500, ge=1)
    per_scene: int = Field(6, ge=1, le=20, description="Questions about each scene.")

    @property
    def scenes(self) -> ScenesData:
        """The scenes that are asked about."""
        return ScenesData(
            kind="scenes",
            seed=self.seed,
            image_size=self.image_size,
            train=self.train,
            val=self.val,
            test=self.test,
        )


class VqaData(DataBase):
    """VQA v2 as its official downloads unpack, all below `root` (arXiv 1612.00837).

    `test` is the official validation set, whose answers are public; those of the official test set are not.
    `val`, which chooses checkpoints, is a part of the training images that is not trained on.
    """

    kind: Literal["vqa"]
    root: RecipePath
    held_out: int = Field(2000, ge=2, description="Training images, chosen by hash, that are `val`.")


class KarpathyData(DataBase):
    """Karpathy's JSON (Flickr8k, Flickr30k, COCO). Train is `train` + `restval`."""

    kind: Literal["karpathy"]
    root: RecipePath
    annotations: str = Field("dataset.json", description="JSON file, relative to root unless absolute.")
    images: str = Field("images", description="Folder of images, relative to root unless absolute.")


class CocoCaptionsData(DataBase):
    """COCO's own captions JSON, one file per split."""

    kind: Literal["coco_captions"]
    root: RecipePath
    annotations: dict[Split, str]
    images: dict[Split, str]


class TableData(DataBase):
    """CSV or TSV with a header; rows with the same image path are captions of one image."""

    kind: Literal["table"]
    path: RecipePath
    images: RecipePath | None = Field(
        None, description="Folder that image paths start from; default: the table's."
    )
    image_column: str = "image"
    caption_column: str = "caption"
    split_column: str | None = "split"
    split_fractions: dict[Split, float] = Field(
        default_factory=_usual_fractions,
        description="Used when the table has no split column: a stable split by hash of the image path.",
    )


class FolderData(DataBase):
    """A folder of images with captions beside them: `photo.jpg` and `photo.txt`, one caption a line."""

    kind: Literal["folder"]
    path: RecipePath
    split_fractions: dict[Split, float] = Field(
        default_factory=_usual_fractions,
        description="Used where there are no sub-folders train/, val/, test/: a stable split by hash.",
    )


class HuggingFaceData(DataBase):
    """A Hugging Face `datasets` data set: hub name or a local folder (save_to_disk, parquet, imagefolder)."""

    kind: Literal["huggingface"]
    name: str | None = None
    path: RecipePath | None = None
    revision: str | None = None
    image_column: str = "image"
    caption_column: str = "caption"
    id_column: str | None = None
    splits: dict[Split, str] = Field(default_factory=_usual_splits)


class WebDatasetData(DataBase):
    """WebDataset shards: `000001.jpg` + `000001.txt` or `.json` in tar files, one glob per split."""

    kind: Literal["webdataset"]
    root: RecipePath
    shards: dict[Split, str] = Field(description="Glob or brace pattern per split, relative to root.")
    caption_key: str = Field(
        "txt", description="Member extension with the caption(s), one a line; or `json`."
    )
    json_field: str = "captions"


_Pairs = (
    ScenesData | KarpathyData | CocoCaptionsData | TableData | FolderData | HuggingFaceData | WebDatasetData
)
PairsData = Annotated[_Pairs, Field(discriminator="kind")]
"""Sources of images with captions."""
DataSection = Annotated[_Pairs | ScenesQuestionsData | VqaData, Field(discriminator="kind")]
QuestionsData = ScenesQuestionsData | VqaData
"""Sources of questions with answers, not of captions."""

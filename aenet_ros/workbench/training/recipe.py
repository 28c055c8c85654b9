"""What the shipped weights were trained on: the public sets and which of their pairs were left out for measuring."""

from pathlib import Path

from aenet_ros.workbench.training.data import PairFolder

_ROADSCENE = "hanna-xu/RoadScene; none given, asks to be cited (Xu et al., U2Fusion, TPAMI 2020)"
_M3SVD = "Linfeng-Tang/M3SVD; MIT, academic use"
_HARVARD = "xianming-gu/Havard-Medical-Image-Fusion-Datasets (Harvard whole brain atlas); none given"
_M3SVD_DEV = ("0114_1609*", "0115_1847*")
_M3SVD_REST = ("0111_1716", "0111_1753", "0114_1551", "0115_1831")
STUDY_HELD_OUT = "m3svd_stills/0115_1831"
"""The sequence that a study judges on and does not train on."""
_FUSIONDN = "hanna-xu/FusionDN; none given"


def shipped_sets(root: Path) -> list[PairFolder]:
    """The sets below ``root``, in the folders that docs/training.md lists; the development pairs are skipped."""
    stills, clip = root / "m3svd_stills", root / "m3svd_video/0117_1605"
    infrared = [
        PairFolder("roadscene", root / "roadscene/thermal", root / "roadscene/rgb", share=4.0, skip_every=9, terms=_ROADSCENE),
        PairFolder("m3svd_video/0117_1605", clip / "thermal", clip / "rgb", clip=True, share=0.7, terms=_M3SVD),
    ]
    # Every second frame of a camera at rest: with one clip alone the network learns not to flicker on that clip alone.
    sequences = [
        PairFolder(f"m3svd_stills/{name}", stills / "thermal", stills / "rgb", clip=True, share=1.25, only=f"{name}*", terms=_M3SVD)
        for name in _M3SVD_REST
    ]
    medical = [
        PairFolder(f"medical/{name}-mri", folder / "mri", folder / name, "medical", share=0.4, skip_every=4, terms=_HARVARD)
        for name in ("ct", "pet", "spect")
        for folder in (root / f"medical/{name}-mri",)
    ]
    stacks = [
        PairFolder(name, root / name / "a", root / name / "b", kind, share=1.5, skip_every=3, terms=_FUSIONDN)
        for name, kind in (("multi_exposure", "exposure"), ("multi_focus", "focus"))
    ]
    sharp = stills / "rgb"
    made = PairFolder("m3svd_stills/rgb defocused", sharp, sharp, "focus", share=1.5, skip=_M3SVD_DEV, terms=_M3SVD)
    return [*infrared, *sequences, *medical, *stacks, made]

"""What the shipped weights were trained on: the public sets and which of their pairs were left out for measuring."""

from pathlib import Path

from aenet_ros.training.data import PairFolder

_ROADSCENE = "hanna-xu/RoadScene; none given, asks to be cited (Xu et al., U2Fusion, TPAMI 2020)"
_M3SVD = "Linfeng-Tang/M3SVD; MIT, academic use"
_HARVARD = "xianming-gu/Havard-Medical-Image-Fusion-Datasets (Harvard whole brain atlas); none given"
_M3SVD_DEV = ("0114_1609*", "0115_1847*")
_FUSIONDN = "hanna-xu/FusionDN; none given"


def shipped_sets(root: Path) -> list[PairFolder]:
    """The sets below ``root``, in the folders that docs/training.md lists; the development pairs are skipped."""
    stills, clip = root / "m3svd_stills", root / "m3svd_video/0117_1605"
    infrared = [
        PairFolder("roadscene", root / "roadscene/thermal", root / "roadscene/rgb", share=4.0, skip_every=9, terms=_ROADSCENE),
        PairFolder("m3svd_stills", stills / "thermal", stills / "rgb", share=5.0, skip=_M3SVD_DEV, terms=_M3SVD),
        PairFolder("m3svd_video/0117_1605", clip / "thermal", clip / "rgb", clip=True, share=0.7, terms=_M3SVD),
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
    return [*infrared, *medical, *stacks, made]

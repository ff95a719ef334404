from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from study.rivals.unet import CentredUNet, UNetSettings


@pytest.mark.parametrize(("channels", "size"), [((4, 8), (18, 22)), ((4, 8, 16), (32, 20))])
def test_one_logit_a_pixel_and_images_do_not_mix(channels: tuple[int, ...], size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    model = CentredUNet(UNetSettings(channels=channels)).eval()
    image = torch.rand(3, 3, *size)
    with torch.no_grad():
        logits = model(image)
        assert logits.shape == (3, 1, *size)
        for one in range(3):  # instance normalisation, no batch statistics
            torch.testing.assert_close(model(image[one : one + 1])[0], logits[one], atol=1e-5, rtol=1e-4)
    assert logits.min() < 0 < logits.max() or logits.std() > 0


def test_channels_decide_the_size() -> None:
    def size(settings: UNetSettings) -> int:
        return sum(p.numel() for p in CentredUNet(settings).parameters())

    assert size(UNetSettings(channels=(4, 8))) < size(UNetSettings(channels=(4, 16))) < size(UNetSettings())


def test_unknown_settings_are_errors() -> None:
    with pytest.raises(ValidationError, match="depth"):
        UNetSettings(depth=3)  # type: ignore[call-arg]

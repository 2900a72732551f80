"""torchvision's video networks: ours are equal to them, and which counting rules see them."""

import pytest
import torch
from torchvision.models import video

from dfercli.config.presets import default_model
from dfercli.models.base import assemble
from dfercli.models.flops import count_by_exact_type, count_macs, measure_cost
from dfercli.models.networks.torchvision_3d import CONVOLUTIONS, VideoResNet

SEVEN = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")
WEIGHTS = {
    "r3d-18": video.R3D_18_Weights.DEFAULT,
    "mc3-18": video.MC3_18_Weights.DEFAULT,
    "r2plus1d-18": video.R2Plus1D_18_Weights.DEFAULT,
}


@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [
        ("r3d-18", 33_169_863, 40_696_352_256),
        ("mc3-18", 11_493_831, 43_342_433_792),
        ("r2plus1d-18", 31_303_716, 40_518_879_744),
    ],
)
def test_counts_are_those_of_torchvision(name, parameters, macs):
    cost = measure_cost(default_model(name), SEVEN)
    assert cost.total == cost.trainable == parameters
    assert cost.paper_macs == cost.true_macs == macs
    meta = WEIGHTS[name].meta  # with 400 classes instead of 7
    assert parameters == meta["num_params"] - 393 * 513
    assert (macs + 393 * 512) / 1e9 == pytest.approx(meta["_ops"], abs=6e-4)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_torchvisions_weights_give_its_embeddings(name):
    torch.manual_seed(0)
    theirs = getattr(video, name.replace("-", "_"))().eval()
    weights = {key: value for key, value in theirs.state_dict().items() if key[:3] != "fc."}
    model = assemble(default_model(name, image_size=48), SEVEN, weights).eval()
    theirs.fc = torch.nn.Identity()
    clips = torch.randn(1, 4, 3, 48, 48)
    with torch.no_grad():
        torch.testing.assert_close(model.encode_video(clips), theirs(clips.transpose(1, 2)))


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_narrow_network_has_a_fraction_of_the_channels(name):
    network = VideoResNet(name, width=0.125)
    assert network.features == 64
    assert network(torch.zeros(1, 8, 3, 48, 48)).shape == (1, 64)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_the_order_of_frames_matters(name):
    torch.manual_seed(0)
    network = VideoResNet(name, width=0.125).eval()
    clips = torch.randn(2, 8, 3, 48, 48)
    with torch.no_grad():
        assert not torch.allclose(network(clips), network(clips.flip(1)), rtol=1e-3)


# Four instances of four frames, as M3DFEL reads them.
STEM = 4 * (4 * 56 * 56) * 64 * (3 * 3 * 7 * 7)
SHORTCUTS = 4 * (2 * 28**2 * 128 * 64 + 14**2 * 256 * 128 + 7**2 * 512 * 256)
NORMS = 4 * (5 * 4 * 56**2 * 64 + 5 * 2 * 28**2 * 128 + 5 * 14**2 * 256 + 5 * 7**2 * 512)


def test_exact_types_miss_nearly_all_of_r3d():
    with torch.device("meta"):
        network, clips = video.r3d_18(), torch.zeros(4, 3, 4, 112, 112)
    classifier = 4 * 512 * 400
    counted = STEM + SHORTCUTS + classifier + 4 * NORMS
    assert count_by_exact_type(network, clips) == counted
    by_subclass, _ = count_macs(network, clips)
    assert by_subclass == 43_137_728_512
    assert by_subclass / counted > 26


def test_exact_types_give_the_flops_published_for_m3dfel():
    with torch.device("meta"):
        network, clips = VideoResNet("r3d-18"), torch.zeros(4, 4, 3, 112, 112)
    lstm = 4 * 2 * 2048 * ((512 + 512) + (1024 + 512))  # 2 layers of 2 x 512, over the instances
    head = lstm + 4 * 1024 * 3 * 1024 + 4 * 3 * 1024 + 1024 * 7  # attention, convolution, classes
    assert f"{(count_by_exact_type(network, clips) + head) / 1e9:.2f}" == "1.66"
    assert f"{(count_macs(network, clips)[0] + head) / 1e9:.2f}" == "43.19"

"""Up-A-L's trunk in Up-A-G's image-text model: what each part comes from, and what is refused."""

import sys
from pathlib import Path

import pytest
import small_model
import torch
from safetensors.torch import load_file
from torch import nn

from interngv.amateur.local.joined import join, main
from interngv.errors import UserError


def other_trunk() -> nn.Module:
    trunk = small_model.build().image.trunk
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in trunk.parameters():
            parameter.mul_(1 + 0.3 * torch.randn(parameter.shape, generator=generator))
    return trunk


@pytest.fixture
def stages(tmp_path: Path) -> tuple[Path, Path]:
    """Checkpoints of an image-text model and of another trunk, as Up-A-L's stands in its checkpoint."""
    torch.save({"state_dict": small_model.build().state_dict()}, tmp_path / "up_a_g.pth")
    trunk = {f"trunk.{name}": tensor for name, tensor in other_trunk().state_dict().items()}
    torch.save({"state_dict": trunk | {"target.steps": torch.ones(())}}, tmp_path / "up_a_l.pth")
    return tmp_path / "up_a_g.pth", tmp_path / "up_a_l.pth"


def test_the_joined_model_sees_with_one_and_reads_with_the_other(stages: tuple[Path, Path], tmp_path: Path) -> None:
    old, joined = small_model.build().eval(), small_model.build().eval()
    joined.load_state_dict(load_file(join(*stages, tmp_path / "joined.safetensors")))
    views, samples = small_model.batch()
    assert not torch.allclose(joined.encode_image(views[0]), old.encode_image(views[0]), atol=1e-3)
    ids = torch.stack([sample.text[0] for sample in samples])
    assert torch.equal(joined.encode_text(ids), old.encode_text(ids))
    old.image.trunk = other_trunk().eval()
    assert torch.equal(joined.encode_image(views[0]), old.encode_image(views[0]))


def test_what_does_not_belong_together_is_refused(stages: tuple[Path, Path], tmp_path: Path) -> None:
    image_text, local = stages
    state = torch.load(local, weights_only=True)["state_dict"]
    name = next(iter(state))
    for wrong in ({key: value for key, value in state.items() if key != name}, state | {name: torch.ones(1, 2, 3)}):
        torch.save({"state_dict": wrong}, tmp_path / "other.pth")
        with pytest.raises(UserError, match=f"different trunks: '{name}'"):
            join(image_text, tmp_path / "other.pth", tmp_path / "out.safetensors")
    with pytest.raises(UserError, match=r"up_a_l\.pth has no tensors 'image\.trunk\.\*'"):
        join(local, local, tmp_path / "out.safetensors")
    with pytest.raises(UserError, match=r"out\.pth: what is written is a \.safetensors file"):
        join(image_text, local, tmp_path / "out.pth")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write .*file/out\.safetensors"):
        join(image_text, local, tmp_path / "file/out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_the_command(stages: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["joined", *map(str, stages), str(tmp_path / "out.safetensors")])
    main()
    assert (tmp_path / "out.safetensors").is_file()
    monkeypatch.setattr(sys, "argv", ["joined", "absent.pth", *sys.argv[2:]])
    with pytest.raises(SystemExit, match=r"^error: .*absent\.pth"):
        main()

"""Up-A-G's image-text model with Up-A-L's trunk: what is asked for zero-shot after both.

On the command line: ``python -m interngv.amateur.local.joined UP_A_G UP_A_L OUT.safetensors``.
"""

import argparse
from pathlib import Path

from interngv.checkpoint import read_checkpoint, state_dict_of
from interngv.checkpoint.files import replaced
from interngv.checkpoint.tensors import serialize
from interngv.errors import UserError

OLD, NEW = "image.trunk.", "trunk."


def join(image_text: str | Path, local: str | Path, out: str | Path) -> Path:
    """Write the state of an :class:`interngv.amateur.ImageTextModel` with another trunk.

    Args:
        image_text: checkpoint of the image-text model, from which come both projections and the text tower.
        local: checkpoint of the :class:`interngv.amateur.local.LocalSelfSupervision` that started from it.
        out: a ``.safetensors`` file; one that is there is replaced.

    Raises:
        UserError: a checkpoint without such a trunk, or with a trunk of another form (the first tensor is named); a
            file of another kind, or that cannot be written.
    """
    out = Path(out)
    if out.suffix != ".safetensors":
        raise UserError(f"{out}: what is written is a .safetensors file; give it such a name")
    state, adapted = (dict(state_dict_of(read_checkpoint(path))) for path in (image_text, local))
    old = {name.removeprefix(OLD): tensor.shape for name, tensor in state.items() if name.startswith(OLD)}
    new = {name.removeprefix(NEW): tensor for name, tensor in adapted.items() if name.startswith(NEW)}
    if not old:
        raise UserError(f"{image_text} has no tensors '{OLD}*': expected a checkpoint of an image-text model")
    for name in sorted(old.keys() | new.keys()):
        if name not in new or name not in old or new[name].shape != old[name]:
            raise UserError(f"{local} and {image_text} have different trunks: '{NEW}{name}' is not the same in both")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with replaced(out) as file:
            for part in serialize(state | {OLD + name: tensor for name, tensor in new.items()}):
                file.write(part)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror or error}") from error
    return out


def main() -> None:
    """Write Up-A-G's model with Up-A-L's trunk."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("image_text", help="checkpoint of Up-A-G")
    parser.add_argument("local", help="checkpoint of Up-A-L")
    parser.add_argument("out", help="a .safetensors file")
    args = parser.parse_args()
    try:
        print(join(args.image_text, args.local, args.out))
    except UserError as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()

"""What autograd keeps between forward and backward, counted tensor by tensor.

The counts follow the code of trainer/model/block.py. c bytes are of the compute type; 4 bytes have
the residual's fp32 copies, outputs of layer norms and what a modulation multiplies. An RMS norm
keeps its input, in fp32 unless all is bf16; on a CPU also the normalised tensor.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from trainer.measures.flops import Sizes, num_checkpointed
from trainer.model.emphasis import DEFAULT_FORM, form_of
from trainer.model.recompute import Keeps

Precision = Literal["fp32", "autocast", "bf16"]
_FP32 = 4


@dataclass(frozen=True)
class Activations:
    """Bytes of activations of a model with this config at these sizes.

    Attributes:
        config: of ContextAnyoneTransformer3DModel.
        sizes: tokens of one micro-batch.
        precision: fp32; autocast: fp32 parameters, bf16 products; bf16.
        cuda: count the norms of CUDA rather than those of a CPU.
        sequence: processes that share the tokens; counted is what one of them keeps.
        frozen: whether modulations are not trained (LoRA): what they multiply is not kept.
    """

    config: Mapping[str, Any]
    sizes: Sizes
    precision: Precision = "autocast"
    cuda: bool = True
    sequence: int = 1
    frozen: bool = False

    def peak(self, checkpointing: int = 0, keeps: Keeps = "nothing") -> int:
        """Return what is kept when the backward pass is about to use most of it.

        Args:
            checkpointing: recompute every n-th block, the first included; 0 none.
            keeps: what such a block keeps besides its input.
        """
        layers = self.config["num_layers"]
        again = num_checkpointed(layers, checkpointing)
        shortened = self.block_input + (self.attended if keeps == "attention" else 0)
        kept = (layers - again) * self.block + again * shortened
        last_is_computed_again = again and (layers - 1) % checkpointing == 0
        return kept + (self.block if last_is_computed_again else 0) + self.outside_blocks

    @property
    def block(self) -> int:
        """Everything that one block keeps."""
        sizes, dim, c, norm = self._own, self._dim, self._compute, self._rms_norm
        image = 2 * c if sizes.image else 0
        layer_norms = 5 * _FP32 + 3 * c  # inputs, two outputs, and what projections read
        # Before the norms; query, key, value; result, projected; the result once more, sent back.
        attended = 2 * norm + 3 * c + 2 * c + (c if self.sequence > 1 else 0)
        crossed = norm + c + image  # the text's result comes on top, for who reads text
        ffn = _FP32 * dim + 2 * c * self.config["ffn_dim"]
        if self.frozen:  # both outputs of norms, and what the gates multiply
            layer_norms, attended, ffn = layer_norms - 2 * _FP32, attended - c, ffn - _FP32 * dim
        video = dim * (layer_norms + attended + crossed + c) + ffn
        # The reference's keys and values are kept twice: alone, and joined to the video's.
        reference = dim * (layer_norms + attended + 2 * c + crossed) + ffn
        read = 0
        if sizes.reference:
            of_reader, of_reference, keys = self._emphasis
            video += of_reader
            reference += of_reference
            read = keys * (self.sizes.reference - sizes.reference)  # of the other processes
        read += dim * (norm + 2 * c) * (sizes.text + sizes.image)
        statistics = 4 * _FP32 * (self.config["num_attention_heads"] + 4) * sizes.tokens
        readers = sizes.video + sizes.rebuilt
        kept = readers * video + sizes.reference * reference + read + statistics
        return sizes.batch * kept

    @property
    def _emphasis(self) -> tuple[int, int, int]:
        """Return what Emphasize-Attention keeps of a token of its readers, and of the reference.

        The last are the keys and values of a token, which every process has of all.
        """
        config, c, norm = self.config, self._compute, self._rms_norm
        form = form_of(config.get("emphasize", DEFAULT_FORM))
        if form == "none":
            return 0, 0, 0
        if form == "low_rank":  # queries and heads, what lies between down and up
            between = 2 * c * config.get("emphasize_rank", 64)
            heads = 2 * c * self._dim
            return heads + between, heads + between, heads
        width = self._dim
        if form == "few_heads":
            width = config.get("emphasize_heads", 2) * config["attention_head_dim"]
        gated = c * self._dim if form == "gated" else 0
        return width * (norm + 2 * c) + gated, width * (norm + 2 * c), width * 2 * c

    @property
    def block_input(self) -> int:
        """What a checkpointed block keeps."""
        return self._tokens * self._dim * self._compute

    @property
    def attended(self) -> int:
        """What self-attention returns: the heads' results and the logarithms of their sums."""
        return self._tokens * (
            self._dim * self._compute + _FP32 * self.config["num_attention_heads"]
        )

    @property
    def outside_blocks(self) -> int:
        """Latents, rotations, the last norm, and velocities with their loss."""
        rotations = self.sizes.tokens * 2 * _FP32 * self.config["attention_head_dim"]
        time, rows, columns = self.config["patch_size"]
        patch = self.config["in_channels"] * time * rows * columns
        norm = self._dim * (2 * _FP32 + self._compute)
        whole = self.sizes.batch * self.sizes.tokens * patch * (self._compute + 2 * _FP32)
        return rotations + self._tokens * norm + whole

    @property
    def backward(self) -> int:
        """What a block's backward pass needs for a moment: gradients of its widest tensors."""
        return self._tokens * (self._compute * self.config["ffn_dim"] + _FP32 * self._dim)

    @property
    def _own(self) -> Sizes:
        """The tokens of one process."""
        streams = ("video", "reference", "rebuilt")
        own = {name: -(-getattr(self.sizes, name) // self.sequence) for name in streams}
        return replace(self.sizes, **own)

    @property
    def _tokens(self) -> int:
        return self.sizes.batch * self._own.tokens

    @property
    def _dim(self) -> int:
        return self.config["num_attention_heads"] * self.config["attention_head_dim"]

    @property
    def _compute(self) -> int:
        return _FP32 if self.precision == "fp32" else 2

    @property
    def _rms_norm(self) -> int:
        kept = 2 if self.precision == "bf16" else _FP32
        return kept if self.cuda else kept + _FP32

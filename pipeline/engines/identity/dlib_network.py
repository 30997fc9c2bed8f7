"""dlib's face network (King 2017) for onnxruntime, which runs it 19 times as fast as dlib-bin.

dlib's Python module runs the network and does not show it. Its file has the layers one after the
other, with raw weights; what they are joined to is dlib's example dnn_face_recognition_ex, a
residual network of 14 blocks.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

SIDE = 150  # of the face, pixels
SIZE = 128  # of its vector
_MEAN = np.array([122.782, 117.001, 104.298], np.float32)  # colour that dlib takes away
_FIRST, _SIDE = 7, 3  # of the first kernel and of all others
_NAMES = rb"(con_4|affine_|avg_pool_2|add_prev_|fc_2)"
_OPERATORS, _FORMAT = 17, 8  # versions of ONNX that any onnxruntime since 2022 reads


@dataclass
class _Weights:
    """What the file says; kernels are (out, in, side, side), the affine layers taken in."""

    kernels: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    halving: list[bool] = field(default_factory=list)  # of each block: whether it halves its sides
    last: np.ndarray = field(default_factory=lambda: np.zeros((0, SIZE), np.float32))


def face_model(path: Path) -> bytes:
    """Return the network as ONNX: (N, 3, 150, 150) RGB, 0 to 255, to (N, 128) as dlib gives."""
    weights = _read(path.read_bytes())
    graph = _Graph()
    name = graph.add("Sub", "faces", _MEAN[:, None, None])
    name = graph.add("Div", name, np.float32(256))
    name = graph.add("Relu", graph.convolve(name, *weights.kernels[0], stride=2))
    name = graph.add("MaxPool", name, kernel_shape=[3, 3], strides=[2, 2])
    side = ((SIDE - _FIRST) // 2 + 1 - 3) // 2 + 1
    for block, halves in enumerate(weights.halving):
        first, second = weights.kernels[1 + 2 * block : 3 + 2 * block]
        inner = graph.add("Relu", graph.convolve(name, *first, stride=2 if halves else 1))
        inner = graph.convolve(inner, *second)
        if halves:  # what lies beside adds nothing: more channels, or a row that halving loses
            half, pooled = (side - _SIDE) // 2 + 1, (side - 2) // 2 + 1
            name = graph.add("AveragePool", name, kernel_shape=[2, 2], strides=[2, 2])
            name = graph.pad(name, channels=first[0].shape[0] - first[0].shape[1], sides=0)
            inner, side = graph.pad(inner, channels=0, sides=pooled - half), pooled
        name = graph.add("Relu", graph.add("Add", name, inner))
    name = graph.add("Flatten", graph.add("GlobalAveragePool", name))
    return graph.model(graph.add("MatMul", name, weights.last))


def _read(content: bytes) -> _Weights:
    """Read the layers, in the order in which a face goes through them."""
    weights, before, kernel = _Weights(), b"", np.zeros(0, np.float32)
    for found in re.finditer(_NAMES, content):
        name, at = found.group(), found.end()
        if name == b"con_4":
            kernel = _tensor(content, at)
        elif name == b"affine_":
            scale, shift = _tensor(content, at).reshape(2, -1)
            inputs = len(weights.kernels[-1][0]) if weights.kernels else 3
            side = _SIDE if weights.kernels else _FIRST
            shape, number = (len(scale), inputs, side, side), len(scale)
            filters, bias = kernel[:-number].reshape(shape), kernel[-number:]
            weights.kernels.append((filters * scale[:, None, None, None], bias * scale + shift))
        elif name == b"add_prev_":
            weights.halving.append(before == b"avg_pool_2")
        elif name == b"fc_2":
            for _ in range(2):  # of outputs, of inputs
                _, at = _integer(content, at)
            weights.last = _tensor(content, at).reshape(-1, SIZE)
        before = name
    return weights


def _tensor(content: bytes, at: int) -> np.ndarray:
    """Return the numbers of a tensor: version, four sides, then float32."""
    sides = []
    for _ in range(5):
        number, at = _integer(content, at)
        sides.append(number)
    return np.frombuffer(content, "<f4", int(np.prod(sides[1:])), at)


def _integer(content: bytes, at: int) -> tuple[int, int]:
    """Return a number that is not negative, whose first byte says how many follow; and the end."""
    end = at + 1 + content[at]
    return int.from_bytes(content[at + 1 : end], "little"), end


class _Graph:
    """Puts an ONNX graph together, one operator after the other."""

    def __init__(self) -> None:
        import onnx  # slow to import

        self._onnx = onnx
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def add(self, operator: str, *inputs: str | np.ndarray | np.generic, **attributes: Any) -> str:
        """Add an operator on named values and constants; return its output's name."""
        name = f"{operator} {len(self._nodes)}"
        named = [each if isinstance(each, str) else self._constant(each) for each in inputs]
        self._nodes.append(self._onnx.helper.make_node(operator, named, [name], **attributes))
        return name

    def _constant(self, value: np.ndarray | np.generic) -> str:
        name = f"constant {len(self._constants)}"
        self._constants.append(self._onnx.numpy_helper.from_array(np.asarray(value), name))
        return name

    def convolve(self, name: str, filters: np.ndarray, bias: np.ndarray, stride: int = 1) -> str:
        rim = filters.shape[-1] // 2 if stride == 1 else 0
        return self.add("Conv", name, filters, bias, strides=[stride] * 2, pads=[rim] * 4)

    def pad(self, name: str, channels: int, sides: int) -> str:
        """Add zeros after the last channel, row and column."""
        return self.add("Pad", name, np.array([0, 0, 0, 0, 0, channels, sides, sides]))

    def model(self, last: str) -> bytes:
        helper, kind = self._onnx.helper, self._onnx.TensorProto.FLOAT
        graph = helper.make_graph(
            self._nodes,
            "dlib_face",
            [helper.make_tensor_value_info("faces", kind, ["N", 3, SIDE, SIDE])],
            [helper.make_tensor_value_info(last, kind, ["N", SIZE])],
            self._constants,
        )
        versions = [helper.make_opsetid("", _OPERATORS)]
        model = helper.make_model(graph, opset_imports=versions, ir_version=_FORMAT)
        return model.SerializeToString()

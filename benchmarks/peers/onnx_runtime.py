"""The same network in ONNX Runtime, one window at a time on one thread: four LSTM nodes and the linear head."""

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from peer import HIDDEN, LAYERS, STEPS, answer, latencies

random = np.random.default_rng(0)
weights, nodes, read = [], [], "window"


def weight(name, *shape):
    """Uniform in ±1/√hidden, as torch begins."""
    bound = HIDDEN**-0.5
    weights.append(numpy_helper.from_array(random.uniform(-bound, bound, shape).astype(np.float32), name))
    return name


for layer in range(LAYERS):  # (steps, batch, inputs) to (steps, directions, batch, hidden)
    own = [
        weight(f"W{layer}", 1, 4 * HIDDEN, HIDDEN if layer else 1),
        weight(f"R{layer}", 1, 4 * HIDDEN, HIDDEN),
        weight(f"b{layer}", 1, 8 * HIDDEN),
    ]
    nodes.append(helper.make_node("LSTM", [read, *own], [f"all{layer}", f"last{layer}"], hidden_size=HIDDEN))
    nodes.append(helper.make_node("Squeeze", [f"all{layer}", "directions"], [f"states{layer}"]))
    read = f"states{layer}"
weights.append(numpy_helper.from_array(np.array([1], np.int64), "directions"))
weights.append(numpy_helper.from_array(np.array([0], np.int64), "first"))
nodes.append(helper.make_node("Squeeze", [f"last{LAYERS - 1}", "first"], ["final"]))
nodes.append(helper.make_node("Gemm", ["final", weight("head", HIDDEN, 1), weight("bias", 1)], ["answer"]))
graph = helper.make_graph(
    nodes,
    "stock",
    [helper.make_tensor_value_info("window", TensorProto.FLOAT, [STEPS, 1, 1])],
    [helper.make_tensor_value_info("answer", TensorProto.FLOAT, [1, 1])],
    weights,
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
window = random.standard_normal((STEPS, 1, 1), np.float32)

answer(lambda: latencies(lambda: session.run(None, {"window": window})), f"onnxruntime {onnxruntime.__version__}")
